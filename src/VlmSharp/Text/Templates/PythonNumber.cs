using System.Globalization;
using System.Numerics;
using System.Text;

namespace VlmSharp.Text.Templates;

/// <summary>Reading and writing numbers as Python does.</summary>
internal static class PythonNumber
{
    /// <summary>Python's limit for conversions between integers and decimal text.</summary>
    const int MaxDigits = 4300;

    /// <summary>The value of a digit in bases up to 36, or 99.</summary>
    public static int DigitValue(char c) =>
        c switch
        {
            >= '0' and <= '9' => c - '0',
            >= 'a' and <= 'z' => c - 'a' + 10,
            >= 'A' and <= 'Z' => c - 'A' + 10,
            _ => 99,
        };

    /// <summary>The value of digits that may have underscores between them.</summary>
    public static BigInteger ParseDigits(ReadOnlySpan<char> digits, int radix)
    {
        if (digits.Length > MaxDigits)
        {
            throw new EvaluationException($"Exceeds the limit ({MaxDigits} digits) for integer string conversion");
        }

        BigInteger value = 0;
        foreach (char c in digits)
        {
            value = c == '_' ? value : value * radix + DigitValue(c);
        }

        return value;
    }

    /// <summary>Python's int(text, radix); false where it raises a ValueError.</summary>
    public static bool TryParseInteger(string text, int radix, out BigInteger value)
    {
        value = default;
        ReadOnlySpan<char> digits = Strip(ToAsciiDigits(text));
        bool negative = digits.StartsWith("-");
        if (negative || digits.StartsWith("+"))
        {
            digits = digits[1..];
        }

        int prefixed =
            digits.Length > 1 && digits[0] == '0'
                ? (digits[1] | 0x20) switch
                {
                    'x' => 16,
                    'o' => 8,
                    'b' => 2,
                    _ => 0,
                }
                : 0;
        bool afterPrefix = prefixed != 0 && (radix == 0 || radix == prefixed);
        if (afterPrefix)
        {
            digits = digits[2..];
            radix = prefixed;
        }
        else if (radix == 0)
        {
            // Without a prefix, leading zeros are only for zero itself.
            if (digits.Length > 1 && digits[0] == '0' && digits.ContainsAnyExcept('0', '_'))
            {
                return false;
            }

            radix = 10;
        }

        if (digits.IsEmpty || digits.Length > MaxDigits || radix is < 2 or > 36)
        {
            return false;
        }

        bool underscoreAllowed = afterPrefix;
        foreach (char c in digits)
        {
            if (c == '_' ? !underscoreAllowed : DigitValue(c) >= radix)
            {
                return false;
            }

            underscoreAllowed = c != '_';
        }

        if (digits[^1] == '_')
        {
            return false;
        }

        value = ParseDigits(digits, radix);
        value = negative ? -value : value;
        return true;
    }

    /// <summary>Python's float(text); false where it raises a ValueError.</summary>
    public static bool TryParseFloat(string text, out double value)
    {
        value = 0;
        string trimmed = Strip(ToAsciiDigits(text)).ToString();
        string unsigned = trimmed.TrimStart('+', '-');
        if (trimmed.Length - unsigned.Length <= 1)
        {
            double sign = trimmed.StartsWith('-') ? -1 : 1;
            switch (unsigned.ToLowerInvariant())
            {
                case "inf" or "infinity":
                    value = sign * double.PositiveInfinity;
                    return true;
                case "nan":
                    value = double.NaN;
                    return true;
            }
        }

        // Underscores stand between digits only.
        for (int i = trimmed.IndexOf('_'); i >= 0; i = trimmed.IndexOf('_', i + 1))
        {
            if (
                i == 0
                || i + 1 == trimmed.Length
                || !char.IsAsciiDigit(trimmed[i - 1])
                || !char.IsAsciiDigit(trimmed[i + 1])
            )
            {
                return false;
            }
        }

        const NumberStyles style =
            NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent;
        string plain = trimmed.Replace("_", "");
        return unsigned.Length > 0
            && (char.IsAsciiDigit(unsigned[0]) || unsigned[0] == '.')
            && double.TryParse(plain, style, CultureInfo.InvariantCulture, out value);
    }

    static ReadOnlySpan<char> Strip(ReadOnlySpan<char> text)
    {
        while (!text.IsEmpty && PythonText.IsSpace(text[0]))
        {
            text = text[1..];
        }

        while (!text.IsEmpty && PythonText.IsSpace(text[^1]))
        {
            text = text[..^1];
        }

        return text;
    }

    /// <summary>Python's conversions read the decimal digits of every script.</summary>
    static string ToAsciiDigits(string text)
    {
        if (System.Text.Ascii.IsValid(text))
        {
            return text;
        }

        StringBuilder ascii = new(text.Length);
        for (int i = 0; i < text.Length; i += CodePoints.LengthAt(text, i))
        {
            int c = CodePoints.At(text, i);
            int digit = PythonText.IsDecimal(c) ? CharUnicodeInfo.GetDecimalDigitValue(text, i) : -1;
            if (digit >= 0)
            {
                ascii.Append((char)('0' + digit));
            }
            else
            {
                ascii.Append(text, i, CodePoints.LengthAt(text, i));
            }
        }

        return ascii.ToString();
    }

    public static string Format(BigInteger value)
    {
        // 4300 digits are 14285 bits at most; the text itself is only made when it is short enough.
        string text = value.GetBitLength() <= 14300 ? value.ToString(CultureInfo.InvariantCulture) : "";
        return text.Length > 0 && text.Length <= MaxDigits + 1
            ? text
            : throw new EvaluationException($"Exceeds the limit ({MaxDigits} digits) for integer string conversion");
    }

    /// <summary>repr of a float: the shortest text that reads back the same, with an exponent below 1e-4 and from 1e16 on.</summary>
    public static string Format(double value)
    {
        if (!double.IsFinite(value))
        {
            return double.IsNaN(value) ? "nan"
                : value > 0 ? "inf"
                : "-inf";
        }

        (string digits, int exponent) = ShortestDigits(Math.Abs(value));
        string sign = double.IsNegative(value) ? "-" : "";
        if (exponent is < -4 or >= 16)
        {
            return sign + Scientific(digits, exponent);
        }

        if (exponent < 0)
        {
            return $"{sign}0.{new string('0', -exponent - 1)}{digits}";
        }

        return digits.Length <= exponent + 1
            ? $"{sign}{digits.PadRight(exponent + 1, '0')}.0"
            : $"{sign}{digits[..(exponent + 1)]}.{digits[(exponent + 1)..]}";
    }

    /// <summary>d.ddde+XX from the digits and the power of ten of the first.</summary>
    public static string Scientific(string digits, int exponent, char letter = 'e')
    {
        string mantissa = digits.Length > 1 ? $"{digits[0]}.{digits[1..]}" : digits;
        return $"{mantissa}{letter}{(exponent < 0 ? '-' : '+')}{Math.Abs(exponent):00}";
    }

    /// <summary>The significant digits of the shortest form, and the power of ten of the first.</summary>
    static (string Digits, int Exponent) ShortestDigits(double value)
    {
        string text = value.ToString("R", CultureInfo.InvariantCulture);
        int exponent = 0;
        int e = text.IndexOf('E');
        if (e >= 0)
        {
            exponent = int.Parse(text.AsSpan(e + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
            text = text[..e];
        }

        int point = text.IndexOf('.');
        string digits = text.Replace(".", "");
        exponent += (point >= 0 ? point : text.Length) - 1;
        string significant = digits.TrimStart('0');
        if (significant.Length == 0)
        {
            return ("0", 0);
        }

        return (significant.TrimEnd('0'), exponent - (digits.Length - significant.Length));
    }

    /// <summary>A finite value with so many decimals, rounded half to even on the exact binary value; without its sign.</summary>
    public static string Fixed(double value, int decimals)
    {
        // value = mantissa * 2^power, and beyond 1074 decimals there are only zeros.
        int exact = Math.Min(decimals, 1100);
        (BigInteger mantissa, int power) = Decompose(Math.Abs(value));
        BigInteger scaled = mantissa * BigInteger.Pow(10, exact);
        string digits = ShiftRounded(scaled, power).ToString(CultureInfo.InvariantCulture).PadLeft(exact + 1, '0');
        string fraction = digits[^exact..].PadRight(decimals, '0');
        return decimals == 0 ? digits : $"{digits[..^exact]}.{fraction}";
    }

    /// <summary>So many significant digits, rounded half to even on the exact binary value, and the power of ten of the first.</summary>
    public static (string Digits, int Exponent) Significant(double value, int count)
    {
        if (value == 0)
        {
            return (new string('0', count), 0);
        }

        int exact = Math.Min(count, 1100);
        (BigInteger mantissa, int power) = Decompose(Math.Abs(value));
        int exponent = (int)Math.Floor(Math.Log10(Math.Abs(value)));
        while (true)
        {
            // scaled = value * 10^(exact - 1 - exponent), which has exactly that many digits when the exponent was guessed right.
            int shift = exact - 1 - exponent;
            BigInteger numerator = shift >= 0 ? mantissa * BigInteger.Pow(10, shift) : mantissa;
            BigInteger denominator = shift >= 0 ? BigInteger.One : BigInteger.Pow(10, -shift);
            string digits = DivideRounded(numerator, denominator, power).ToString(CultureInfo.InvariantCulture);
            if (digits.Length == exact)
            {
                return (digits.PadRight(count, '0'), exponent);
            }

            exponent += digits.Length > exact ? 1 : -1;
        }
    }

    static (BigInteger Mantissa, int Power) Decompose(double value)
    {
        long bits = BitConverter.DoubleToInt64Bits(value);
        int exponent = (int)((bits >> 52) & 0x7FF);
        long fraction = bits & 0xFFFFFFFFFFFFF;
        return exponent == 0 ? (fraction, -1074) : (fraction | (1L << 52), exponent - 1075);
    }

    static BigInteger ShiftRounded(BigInteger value, int power) => DivideRounded(value, BigInteger.One, power);

    /// <summary>numerator * 2^power / denominator, rounded half to even.</summary>
    static BigInteger DivideRounded(BigInteger numerator, BigInteger denominator, int power)
    {
        if (power >= 0)
        {
            numerator <<= power;
        }
        else
        {
            denominator <<= -power;
        }

        BigInteger quotient = BigInteger.DivRem(numerator, denominator, out BigInteger rest);
        int half = (rest * 2).CompareTo(denominator);
        return half > 0 || (half == 0 && !quotient.IsEven) ? quotient + 1 : quotient;
    }
}
