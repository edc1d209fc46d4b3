using System.Globalization;
using System.Text;

namespace VlmSharp.Text.Templates;

/// <summary>Python's strftime in the C locale, with glibc's flags.</summary>
internal static class PythonTime
{
    public static string Format(string format, DateTimeOffset time, Action step)
    {
        StringBuilder text = new();
        for (int i = 0; i < format.Length; i++)
        {
            step();
            if (format[i] != '%' || i + 1 == format.Length)
            {
                text.Append(format[i]);
                continue;
            }

            int start = i++;
            char flag = format[i] is '-' or '_' or '0' or '^' or '#' && i + 1 < format.Length ? format[i++] : '\0';
            text.Append(Directive(format[i], flag, time) ?? format[start..(i + 1)]);
        }

        return text.ToString();
    }

    static string? Directive(char directive, char flag, DateTimeOffset time)
    {
        int hour12 = time.Hour % 12 == 0 ? 12 : time.Hour % 12;
        int weekday = (int)time.DayOfWeek;
        (int value, int width, char pad)? number = directive switch
        {
            'd' => (time.Day, 2, '0'),
            'e' => (time.Day, 2, ' '),
            'm' => (time.Month, 2, '0'),
            'y' => (time.Year % 100, 2, '0'),
            'Y' => (time.Year, 1, '0'),
            'C' => (time.Year / 100, 2, '0'),
            'H' => (time.Hour, 2, '0'),
            'k' => (time.Hour, 2, ' '),
            'I' => (hour12, 2, '0'),
            'l' => (hour12, 2, ' '),
            'M' => (time.Minute, 2, '0'),
            'S' => (time.Second, 2, '0'),
            'f' => ((int)(time.Ticks % TimeSpan.TicksPerSecond / TimeSpan.TicksPerMicrosecond), 6, '0'),
            'j' => (time.DayOfYear, 3, '0'),
            'u' => (weekday == 0 ? 7 : weekday, 1, '0'),
            'w' => (weekday, 1, '0'),
            'U' => ((time.DayOfYear + 6 - weekday) / 7, 2, '0'),
            'W' => ((time.DayOfYear + 6 - (weekday + 6) % 7) / 7, 2, '0'),
            'V' => (ISOWeek.GetWeekOfYear(time.DateTime), 2, '0'),
            'G' => (ISOWeek.GetYear(time.DateTime), 1, '0'),
            'g' => (ISOWeek.GetYear(time.DateTime) % 100, 2, '0'),
            _ => null,
        };
        if (number is { } n)
        {
            string digits = n.value.ToString(CultureInfo.InvariantCulture);
            return flag switch
            {
                '-' => digits,
                '_' => digits.PadLeft(n.width),
                '0' => digits.PadLeft(n.width, '0'),
                _ => digits.PadLeft(n.width, n.pad),
            };
        }

        CultureInfo invariant = CultureInfo.InvariantCulture;
        string? word = directive switch
        {
            'a' => time.ToString("ddd", invariant),
            'A' => time.ToString("dddd", invariant),
            'b' or 'h' => time.ToString("MMM", invariant),
            'B' => time.ToString("MMMM", invariant),
            'p' => time.Hour < 12 ? "AM" : "PM",
            'P' => time.Hour < 12 ? "am" : "pm",
            'c' => time.ToString("ddd MMM ", invariant) + $"{time.Day, 2}" + time.ToString(" HH:mm:ss yyyy", invariant),
            'x' or 'D' => time.ToString("MM/dd/yy", invariant),
            'X' or 'T' => time.ToString("HH:mm:ss", invariant),
            'R' => time.ToString("HH:mm", invariant),
            'r' => time.ToString("hh:mm:ss tt", invariant),
            'F' => time.ToString("yyyy-MM-dd", invariant),
            's' => time.ToUnixTimeSeconds().ToString(invariant),
            'z' or 'Z' => "",
            'n' => "\n",
            't' => "\t",
            '%' => "%",
            _ => null,
        };
        return flag switch
        {
            '^' => word?.ToUpperInvariant(),
            '#' => directive is 'p' ? word?.ToLowerInvariant() : word?.ToUpperInvariant(),
            _ => word,
        };
    }
}
