using System.Numerics;
using System.Runtime.CompilerServices;

namespace VlmSharp.Text.Templates;

/// <summary>Python's notions of equality, order and hashing for template values.</summary>
internal static class Python
{
    /// <summary>Comparing more elements than this ends in an error: shared parts can make a small template compare forever.</summary>
    const int MaxComparisons = 1_000_000;

    /// <summary>Compares dictionary keys: 1, 1.0 and true are one key, user text and trusted text too.</summary>
    public static IEqualityComparer<TemplateValue> KeyComparer { get; } =
        EqualityComparer<TemplateValue>.Create((a, b) => AreEqual(a!, b!), Hash);

    public static bool AreEqual(TemplateValue left, TemplateValue right)
    {
        int budget = MaxComparisons;
        return AreEqual(left, right, ref budget);
    }

    static bool AreEqual(TemplateValue left, TemplateValue right, ref int budget)
    {
        if (left is TextValue leftText)
        {
            return right is TextValue rightText && leftText.Text == rightText.Text;
        }

        if (IsNumber(left) && IsNumber(right))
        {
            return CompareNumbers(left, right) == 0;
        }

        if (ReferenceEquals(left, right))
        {
            return true;
        }

        switch (left, right)
        {
            case (UndefinedValue, UndefinedValue):
                return true;
            case (TemplateList a, TemplateList b):
                return a.IsTuple == b.IsTuple && a.Count == b.Count && FirstDifference(a, b, ref budget) < 0;
            case (TemplateObject a, TemplateObject b):
                return AreEqual(a, b, ref budget);
            case (RangeValue a, RangeValue b):
                return a.Length == b.Length
                    && (a.Length == 0 || a.Start == b.Start)
                    && (a.Length <= 1 || a.Step == b.Step);
            case (DictionaryView { Kind: not DictionaryView.ViewKind.Values } a, DictionaryView b):
                return a.Kind == b.Kind && a.Count == b.Count && HaveSameEntries(a, b, ref budget);
            default:
                return false;
        }
    }

    static bool AreEqual(TemplateObject left, TemplateObject right, ref int budget)
    {
        if (left.Count != right.Count)
        {
            return false;
        }

        foreach ((TemplateValue key, TemplateValue value) in left.Entries)
        {
            Spend(ref budget);
            if (right.Find(key) is not { } other || !AreSame(value, other, ref budget))
            {
                return false;
            }
        }

        return true;
    }

    static bool HaveSameEntries(DictionaryView left, DictionaryView right, ref int budget) =>
        left.Kind == DictionaryView.ViewKind.Items
            ? AreEqual(left.Dictionary, right.Dictionary, ref budget)
            : left.Dictionary.Entries.TrueForAll(entry => right.Dictionary.Find(entry.Key) is not null);

    /// <summary>Where two sequences differ first, or -1 when the shorter one is the start of the other.</summary>
    static int FirstDifference(TemplateList left, TemplateList right, ref int budget)
    {
        for (int i = 0; i < Math.Min(left.Count, right.Count); i++)
        {
            Spend(ref budget);
            if (!AreSame(left.Items[i], right.Items[i], ref budget))
            {
                return i;
            }
        }

        return -1;
    }

    // Inside containers identity counts as equality, even for NaN.
    static bool AreSame(TemplateValue left, TemplateValue right, ref int budget) =>
        ReferenceEquals(left, right) || AreEqual(left, right, ref budget);

    static void Spend(ref int budget)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        if (--budget < 0)
        {
            throw new EvaluationException($"a comparison of more than {MaxComparisons} elements is beyond the limit");
        }
    }

    static bool IsNumber(TemplateValue value) => value is IntegerValue or FloatValue or BooleanValue;

    /// <summary>An integer or a boolean as an integer.</summary>
    public static bool TryInteger(TemplateValue value, out BigInteger integer)
    {
        switch (value)
        {
            case IntegerValue i:
                integer = i.Value;
                return true;
            case BooleanValue b:
                integer = b.Value ? 1 : 0;
                return true;
            default:
                integer = default;
                return false;
        }
    }

    /// <summary>Negative, zero or positive; null when one is not a number.</summary>
    static int? CompareNumbers(TemplateValue left, TemplateValue right)
    {
        bool leftIsInteger = TryInteger(left, out BigInteger a);
        bool rightIsInteger = TryInteger(right, out BigInteger b);
        if (leftIsInteger && rightIsInteger)
        {
            return a.CompareTo(b);
        }

        if (!leftIsInteger && !rightIsInteger)
        {
            (double x, double y) = (((FloatValue)left).Value, ((FloatValue)right).Value);
            return double.IsNaN(x) || double.IsNaN(y) ? null : x.CompareTo(y);
        }

        return leftIsInteger ? Compare(a, ((FloatValue)right).Value) : -Compare(b, ((FloatValue)left).Value);
    }

    /// <summary>An integer of any size against a double, exactly.</summary>
    static int? Compare(BigInteger integer, double number)
    {
        if (!double.IsFinite(number))
        {
            return double.IsNaN(number) ? null : -Math.Sign(number);
        }

        double floor = Math.Floor(number);
        int whole = integer.CompareTo(new BigInteger(floor));
        return whole == 0 && number > floor ? -1 : whole;
    }

    /// <summary>Python's ordering operators.</summary>
    /// <exception cref="EvaluationException">The types have no order.</exception>
    public static bool Compare(TemplateValue left, TemplateValue right, Comparison comparison)
    {
        int budget = MaxComparisons;
        return Compare(left, right, comparison, ref budget);
    }

    static bool Compare(TemplateValue left, TemplateValue right, Comparison comparison, ref int budget)
    {
        switch (left, right)
        {
            case (UndefinedValue undefined, _):
                undefined.Throw();
                return false;
            case (_, UndefinedValue undefined):
                undefined.Throw();
                return false;
            case (TextValue a, TextValue b):
                return Holds(CompareText(a.Text, b.Text), comparison);
            case (TemplateList a, TemplateList b) when a.IsTuple == b.IsTuple:
                int at = FirstDifference(a, b, ref budget);
                return at < 0
                    ? Holds(a.Count.CompareTo(b.Count), comparison)
                    : Compare(a.Items[at], b.Items[at], comparison, ref budget);
            default:
                if (IsNumber(left) && IsNumber(right))
                {
                    return CompareNumbers(left, right) is { } order && Holds(order, comparison);
                }

                string op = comparison switch
                {
                    Comparison.Less => "<",
                    Comparison.LessOrEqual => "<=",
                    Comparison.Greater => ">",
                    _ => ">=",
                };
                throw new EvaluationException(
                    $"'{op}' not supported between instances of '{left.TypeName}' and '{right.TypeName}'"
                );
        }
    }

    static bool Holds(int order, Comparison comparison) =>
        comparison switch
        {
            Comparison.Less => order < 0,
            Comparison.LessOrEqual => order <= 0,
            Comparison.Greater => order > 0,
            _ => order >= 0,
        };

    /// <summary>Compares by code points; UTF-16 order differs where surrogates meet the characters above them.</summary>
    public static int CompareText(string left, string right)
    {
        int common = left.AsSpan().CommonPrefixLength(right);
        if (common == left.Length || common == right.Length)
        {
            return left.Length.CompareTo(right.Length);
        }

        return Rank(left[common]).CompareTo(Rank(right[common]));

        static int Rank(char c) => char.IsSurrogate(c) ? c + 0x10000 : c;
    }

    /// <summary>A stable sort by keys that may throw; unlike the library's, it lets the exception through as it is.</summary>
    public static List<TemplateValue> Sort(
        Interpreter interpreter,
        List<TemplateValue> values,
        Func<TemplateValue, TemplateValue> key,
        bool reverse
    )
    {
        (TemplateValue Key, TemplateValue Value)[] items = [.. values.Select(value => (key(value), value))];
        if (reverse)
        {
            // Equal values keep their order in a reversed sort too.
            Array.Reverse(items);
        }

        MergeSort(interpreter, items, new (TemplateValue, TemplateValue)[items.Length], 0, items.Length);
        if (reverse)
        {
            Array.Reverse(items);
        }

        return [.. items.Select(item => item.Value)];
    }

    static void MergeSort(
        Interpreter interpreter,
        (TemplateValue Key, TemplateValue Value)[] items,
        (TemplateValue Key, TemplateValue Value)[] scratch,
        int start,
        int end
    )
    {
        if (end - start < 2)
        {
            return;
        }

        int middle = (start + end) / 2;
        MergeSort(interpreter, items, scratch, start, middle);
        MergeSort(interpreter, items, scratch, middle, end);
        Array.Copy(items, start, scratch, start, end - start);
        for (int i = start, left = start, right = middle; i < end; i++)
        {
            interpreter.Step();
            bool takeRight =
                left >= middle || (right < end && interpreter.IsLess(scratch[right].Key, scratch[left].Key));
            items[i] = takeRight ? scratch[right++] : scratch[left++];
        }
    }

    static int Hash(TemplateValue value)
    {
        switch (value)
        {
            case TextValue text:
                return text.Text.GetHashCode(StringComparison.Ordinal);
            case IntegerValue or BooleanValue:
                TryInteger(value, out BigInteger integer);
                return HashInteger(integer);
            case FloatValue number:
                return double.IsInteger(number.Value)
                    ? HashInteger(new BigInteger(number.Value))
                    : HashCode.Combine(number.Value);
            case TemplateList list:
                // A few elements are enough: the rest is for the comparison.
                HashCode hash = new();
                for (int i = 0; i < Math.Min(list.Count, 4); i++)
                {
                    hash.Add(list.Items[i] is TemplateList inner ? inner.Count : Hash(list.Items[i]));
                }

                return hash.ToHashCode();
            case NoneValue:
                return 1;
            case UndefinedValue:
                return 2;
            default:
                return RuntimeHelpers.GetHashCode(value);
        }
    }

    // HashCode is seeded, so that nobody can prepare integers that collide.
    static int HashInteger(BigInteger value) =>
        value >= long.MinValue && value <= long.MaxValue
            ? HashCode.Combine(unchecked((int)(long)value), (int)((long)value >> 32))
            : value.GetHashCode();
}
