using System.Globalization;
using System.Numerics;
using System.Text;

namespace VlmSharp.Text.Templates;

/// <summary>How a number is written by <c>%</c> and by <c>format()</c>.</summary>
/// <param name="Type">The letter of the conversion; '\0' for the type's own.</param>
/// <param name="Precision">Decimals, significant digits or minimal digits, by the type.</param>
/// <param name="Sign">'+', ' ' or '-': what stands before a positive number.</param>
/// <param name="Alternate">The flag #.</param>
/// <param name="Grouping">What stands between groups of digits, or '\0'.</param>
internal readonly record struct NumberStyle(char Type, int? Precision, char Sign, bool Alternate, char Grouping = '\0')
{
    /// <summary>The sign and base prefix, and the digits.</summary>
    public (string Prefix, string Digits) Format(BigInteger value)
    {
        (int radix, string mark) = Type switch
        {
            'x' => (16, "0x"),
            'X' => (16, "0X"),
            'o' => (8, "0o"),
            'b' => (2, "0b"),
            _ => (10, ""),
        };
        BigInteger magnitude = BigInteger.Abs(value);
        string digits = radix == 10 ? PythonNumber.Format(magnitude) : ToRadix(magnitude, radix);
        digits = Type == 'X' ? digits.ToUpperInvariant() : digits;
        if (Grouping != '\0')
        {
            digits = Group(digits, Grouping, radix == 10 ? 3 : 4);
        }

        return (SignOf(value.Sign < 0, Sign) + (Alternate ? mark : ""), digits);
    }

    static string ToRadix(BigInteger value, int radix)
    {
        StringBuilder digits = new();
        do
        {
            digits.Insert(0, "0123456789abcdef"[(int)(value % radix)]);
            value /= radix;
        } while (!value.IsZero);

        return digits.ToString();
    }

    static string SignOf(bool negative, char style) =>
        negative ? "-"
        : style is '+' or ' ' ? style.ToString()
        : "";

    static string Group(string digits, char separator, int size)
    {
        StringBuilder grouped = new();
        for (int i = 0; i < digits.Length; i++)
        {
            if (i > 0 && (digits.Length - i) % size == 0)
            {
                grouped.Append(separator);
            }

            grouped.Append(digits[i]);
        }

        return grouped.ToString();
    }

    /// <summary>The sign, and the digits with point and exponent.</summary>
    public (string Prefix, string Digits) Format(double value)
    {
        bool upper = Type is 'E' or 'F' or 'G';
        string digits;
        if (!double.IsFinite(value))
        {
            digits = (double.IsNaN(value) ? "nan" : "inf") + (Type == '%' ? "%" : "");
        }
        else
        {
            int precision = Precision ?? 6;
            digits = char.ToLowerInvariant(Type) switch
            {
                'f' => PythonNumber.Fixed(value, precision) + (Alternate && precision == 0 ? "." : ""),
                '%' => PythonNumber.Fixed(value * 100, precision) + "%",
                'e' => Scientific(value, precision),
                '\0' when Precision is null => PythonNumber.Format(Math.Abs(value)),
                _ => General(value, Math.Max(precision, 1), Alternate, keepPoint: Type == '\0'),
            };
            if (Grouping != '\0')
            {
                int point = digits.AsSpan().IndexOfAny(".e%");
                point = point < 0 ? digits.Length : point;
                digits = Group(digits[..point], Grouping, 3) + digits[point..];
            }
        }

        return (SignOf(double.IsNegative(value), Sign), upper ? digits.ToUpperInvariant() : digits);
    }

    static string Scientific(double value, int precision)
    {
        (string digits, int exponent) = PythonNumber.Significant(value, precision + 1);
        return PythonNumber.Scientific(digits, exponent);
    }

    static string General(double value, int precision, bool alternate, bool keepPoint)
    {
        (string digits, int exponent) = PythonNumber.Significant(value, precision);
        string significant = alternate ? digits : digits.TrimEnd('0');
        significant = significant.Length == 0 ? "0" : significant;
        // Without a type letter, one digit after the point must fit as well.
        if (exponent < -4 || exponent >= (keepPoint ? precision - 1 : precision))
        {
            return PythonNumber.Scientific(significant, exponent);
        }

        if (exponent < 0)
        {
            return $"0.{new string('0', -exponent - 1)}{significant}";
        }

        string whole =
            significant.Length > exponent + 1 ? significant[..(exponent + 1)] : significant.PadRight(exponent + 1, '0');
        string fraction =
            significant.Length > exponent + 1 ? significant[(exponent + 1)..]
            : keepPoint ? "0"
            : "";
        return fraction.Length > 0 ? $"{whole}.{fraction}" : whole + (alternate ? "." : "");
    }
}
