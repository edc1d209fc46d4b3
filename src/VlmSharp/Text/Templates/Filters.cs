using System.Numerics;

namespace VlmSharp.Text.Templates;

/// <summary>jinja2's filters: the table, values and numbers.</summary>
internal static partial class Filters
{
    static readonly Dictionary<string, Filter> All = CreateTable();

    public static Filter? Find(string name) => All.GetValueOrDefault(name);

    static Dictionary<string, Filter> CreateTable()
    {
        Dictionary<string, Filter> table = Filter.Table([
            // Values and numbers
            new("abs", Abs),
            new("attr name", Attr),
            new("default default_value? boolean?", Default),
            new("float default?", Float),
            new("int default? base?", Int),
            new("length", (_, value, _) => Length(value)),
            new("round precision? method?", Round),
            new("filesizeformat binary?", FileSize),
            new("string", (vm, value, _) => PythonRepr.ToText(vm, value)),
            new("tojson ensure_ascii? indent? separators? sort_keys?", ToJson),
            new("pprint", PrettyPrint),
            // Text
            new("capitalize", (vm, value, _) => Mapped(vm, value, PythonText.Capitalize)),
            new("lower", (vm, value, _) => Mapped(vm, value, PythonText.Lower)),
            new("upper", (vm, value, _) => Mapped(vm, value, PythonText.Upper)),
            new("title", Title),
            new("trim chars?", (vm, value, a) => StringMethods.Strip(Soft(vm, value), a[0], left: true, right: true)),
            new(
                "center width?",
                (vm, value, a) =>
                    StringMethods.Center(vm, Soft(vm, value), a[0] is null ? 80 : StringMethods.Integer(a[0]!), null)
            ),
            new("replace old new count?", Replace),
            Filter.Free("format", Format),
            new("indent width? first? blank?", Indent),
            new("truncate length? killwords? end? leeway?", Truncate),
            new("wordcount", WordCount),
            new("wordwrap width? break_long_words? wrapstring? break_on_hyphens?", WordWrap),
            new("escape", (vm, value, _) => EscapeValue(vm, value)),
            new("forceescape", (vm, value, _) => Escape(vm, Soft(vm, value).AsPlain())),
            new("safe", (vm, value, _) => Soft(vm, value).AsMarkup()),
            new("striptags", StripTags),
            new("urlencode", UrlEncode),
            new("xmlattr autospace?", XmlAttributes),
            // Sequences
            new("batch linecount fill_with?", Batch),
            new("slice slices fill_with?", Slice),
            new("first", First),
            new("last", Last),
            new("random", RandomItem),
            new("list", (vm, value, _) => new TemplateList(vm.ToList(value))),
            new("items", (vm, value, _) => new IteratorValue(Items(vm, value))),
            new("join d? attribute?", Join),
            new("reverse", Reverse),
            new("sort reverse? case_sensitive? attribute?", Sort),
            new("dictsort case_sensitive? by? reverse?", DictionarySort),
            new("unique case_sensitive? attribute?", (vm, value, a) => new IteratorValue(Unique(vm, value, a))),
            new("min case_sensitive? attribute?", (vm, value, a) => Extreme(vm, value, a, Comparison.Less)),
            new("max case_sensitive? attribute?", (vm, value, a) => Extreme(vm, value, a, Comparison.Greater)),
            new("sum attribute? start?", Sum),
            new("groupby attribute default? case_sensitive?", GroupBy),
            Filter.Free("map", (vm, value, arguments) => new IteratorValue(Map(vm, value, arguments))),
            Filter.Free(
                "select",
                (vm, value, a) => new IteratorValue(Choose(vm, value, a, keep: true, byAttribute: false))
            ),
            Filter.Free(
                "reject",
                (vm, value, a) => new IteratorValue(Choose(vm, value, a, keep: false, byAttribute: false))
            ),
            Filter.Free(
                "selectattr",
                (vm, value, a) => new IteratorValue(Choose(vm, value, a, keep: true, byAttribute: true))
            ),
            Filter.Free(
                "rejectattr",
                (vm, value, a) => new IteratorValue(Choose(vm, value, a, keep: false, byAttribute: true))
            ),
        ]);
        table["d"] = table["default"];
        table["e"] = table["escape"];
        table["count"] = table["length"];
        return table;
    }

    /// <summary>The value as text: strings as they are, anything else as it prints.</summary>
    static TextValue Soft(Interpreter vm, TemplateValue value)
    {
        TextValue text = PythonRepr.ToText(vm, value);
        vm.ChargeText(text.Text.Length);
        return text;
    }

    static bool IsGiven(TemplateValue? value) => value is not null and not NoneValue;

    static bool Flag(TemplateValue? value) => value is { IsTrue: true };

    /// <summary>An integer argument of a size that can be held.</summary>
    static int Size(Interpreter vm, TemplateValue? value, int missing) =>
        value is null ? missing : (int)vm.CheckLength(StringMethods.Integer(value));

    static TemplateValue Abs(Interpreter vm, TemplateValue value, TemplateValue?[] arguments) =>
        value is FloatValue number ? Math.Abs(number.Value)
        : Python.TryInteger(value, out BigInteger integer) ? IntegerValue.Create(BigInteger.Abs(integer))
        : throw new EvaluationException($"bad operand type for abs(): '{value.TypeName}'");

    static TemplateValue Attr(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        TextValue name = StringMethods.Text(arguments[0]!);
        // Unlike the dot, this never looks at keys.
        return value.Attribute(name.Text) is null ? UndefinedValue.Missing(value, name) : vm.GetAttribute(value, name);
    }

    static TemplateValue Default(Interpreter vm, TemplateValue value, TemplateValue?[] arguments) =>
        value is UndefinedValue || (Flag(arguments[1]) && !value.IsTrue) ? arguments[0] ?? TextValue.Empty : value;

    static int Length(TemplateValue value) =>
        value.Count >= 0
            ? value.Count
            : throw new EvaluationException($"object of type '{value.TypeName}' has no len()");

    static TemplateValue Float(Interpreter vm, TemplateValue value, TemplateValue?[] arguments) =>
        TryFloat(vm, value, out double number) ? number : arguments[0] ?? 0.0;

    static bool TryFloat(Interpreter vm, TemplateValue value, out double number)
    {
        number = 0;
        switch (value)
        {
            case TextValue text:
                vm.ChargeText(text.Text.Length);
                return PythonNumber.TryParseFloat(text.Text, out number);
            case FloatValue or IntegerValue or BooleanValue:
                number = Interpreter.ToDouble(value);
                return true;
            case UndefinedValue undefined:
                undefined.Throw();
                return false;
            default:
                return false;
        }
    }

    static TemplateValue Int(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        switch (value)
        {
            case TextValue text:
                vm.ChargeText(text.Text.Length);
                BigInteger radix = arguments[1] is null ? 10 : StringMethods.Integer(arguments[1]!);
                if (
                    radix >= 0
                    && radix <= 36
                    && PythonNumber.TryParseInteger(text.Text, (int)radix, out BigInteger parsed)
                )
                {
                    return IntegerValue.Create(parsed);
                }

                break;
            case IntegerValue or BooleanValue:
                Python.TryInteger(value, out BigInteger integer);
                return IntegerValue.Create(integer);
            case FloatValue { Value: var infinite } when double.IsInfinity(infinite):
                throw new EvaluationException("cannot convert float infinity to integer");
        }

        // "42.23" is 42.
        return TryFloat(vm, value, out double number) && double.IsFinite(number)
            ? IntegerValue.Create(new BigInteger(number))
            : arguments[0] ?? 0;
    }

    static TemplateValue Round(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        BigInteger precision = arguments[0] is null ? 0 : StringMethods.Integer(arguments[0]!);
        string method = arguments[1] is null ? "common" : StringMethods.Text(arguments[1]!).Text;
        bool isInteger = Python.TryInteger(value, out BigInteger integer);
        if (!isInteger && value is not FloatValue)
        {
            throw new EvaluationException($"type {value.TypeName} doesn't define __round__ method");
        }

        switch (method)
        {
            case "common" when isInteger:
                return IntegerValue.Create(precision.Sign >= 0 ? integer : RoundInteger(integer, -precision));
            case "common":
                return RoundFloat(((FloatValue)value).Value, precision);
            case "ceil" or "floor":
                TemplateValue scale = vm.Calculate(BinaryOperator.Power, 10, IntegerValue.Create(precision));
                double scaled = Interpreter.ToDouble(vm.Calculate(BinaryOperator.Multiply, value, scale));
                if (!double.IsFinite(scaled))
                {
                    throw new EvaluationException("cannot convert float infinity or NaN to integer");
                }

                BigInteger rounded = new(method == "ceil" ? Math.Ceiling(scaled) : Math.Floor(scaled));
                return vm.Calculate(BinaryOperator.Divide, IntegerValue.Create(rounded), scale);
            default:
                throw new EvaluationException("method must be common, ceil or floor");
        }
    }

    static BigInteger RoundInteger(BigInteger value, BigInteger zeros)
    {
        // Beyond the size of any integer here everything rounds to zero.
        if (zeros > 5000)
        {
            return 0;
        }

        BigInteger unit = BigInteger.Pow(10, (int)zeros);
        BigInteger quotient = BigInteger.DivRem(value, unit, out BigInteger rest);
        int half = (BigInteger.Abs(rest) * 2).CompareTo(unit);
        bool up = half > 0 || (half == 0 && !quotient.IsEven);
        return (quotient + (up ? value.Sign : 0)) * unit;
    }

    static TemplateValue RoundFloat(double value, BigInteger precision)
    {
        if (!double.IsFinite(value) || precision > 400)
        {
            return value;
        }

        if (precision < -400)
        {
            return Math.CopySign(0.0, value);
        }

        double rounded =
            precision >= 0
                ? double.Parse(
                    PythonNumber.Fixed(value, (int)precision),
                    System.Globalization.CultureInfo.InvariantCulture
                )
                : RoundLeft(Math.Abs(value), (int)-precision);
        return Math.CopySign(rounded, value);
    }

    /// <summary>Rounds to a power of ten above one, half to even on the exact value.</summary>
    static double RoundLeft(double value, int zeros)
    {
        BigInteger unit = BigInteger.Pow(10, zeros);
        BigInteger whole = new(Math.Floor(value));
        BigInteger quotient = BigInteger.DivRem(whole, unit, out BigInteger rest);
        int half = (rest * 2).CompareTo(unit);
        bool exactHalf = half == 0 && value == Math.Floor(value);
        bool up = half > 0 || (half == 0 && (!exactHalf || !quotient.IsEven));
        return (double)((quotient + (up ? 1 : 0)) * unit);
    }

    static TemplateValue FileSize(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        if (!TryFloat(vm, value, out double bytes))
        {
            throw new EvaluationException($"could not convert to float: {PythonRepr.Text(value, quoted: true)}");
        }

        bool binary = Flag(arguments[0]);
        double unit = binary ? 1024 : 1000;
        if (bytes == 1)
        {
            return "1 Byte";
        }

        if (bytes < unit)
        {
            return $"{new BigInteger(bytes)} Bytes";
        }

        const string prefixes = "kMGTPEZY";
        double size = unit;
        int at = 0;
        while (at < prefixes.Length - 1 && bytes >= size * unit)
        {
            size *= unit;
            at++;
        }

        char prefix = binary ? char.ToUpperInvariant(prefixes[at]) : prefixes[at];
        string number = double.IsFinite(bytes)
            ? PythonNumber.Fixed(unit * bytes / (size * unit), 1)
            : PythonNumber.Format(bytes);
        return $"{number} {prefix}{(binary ? "iB" : "B")}";
    }

    static TextValue ToJson(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        string? indent = arguments[1] switch
        {
            null or NoneValue => null,
            TextValue text => text.Text,
            var number => new string(' ', (int)Math.Max(vm.CheckLength(StringMethods.Integer(number)), 0)),
        };
        TextValue item = TextValue.Create(indent is null ? ", " : ",");
        TextValue key = TextValue.Create(": ");
        if (IsGiven(arguments[2]))
        {
            List<TemplateValue> separators = vm.ToList(arguments[2]!);
            if (separators.Count != 2)
            {
                throw new EvaluationException("tojson: separators are two strings");
            }

            (item, key) = (StringMethods.Text(separators[0]), StringMethods.Text(separators[1]));
        }

        TextBuilder builder = vm.NewBuilder();
        PythonJson json = new(vm, builder)
        {
            EnsureAscii = Flag(arguments[0]),
            Indent = indent,
            ItemSeparator = item,
            KeySeparator = key,
            SortKeys = Flag(arguments[3]),
        };
        json.Append(value);
        return builder.ToValue();
    }

    static TextValue PrettyPrint(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        TextBuilder builder = vm.NewBuilder();
        PythonRepr.AppendRepr(vm, builder, SortedKeys(vm, value));
        const int lineWidth = 80;
        return builder.Length <= lineWidth
            ? builder.ToValue()
            : throw new EvaluationException(
                $"pprint is not supported for values of more than {lineWidth} characters; use tojson"
            );
    }

    static TemplateValue SortedKeys(Interpreter vm, TemplateValue value)
    {
        System.Runtime.CompilerServices.RuntimeHelpers.EnsureSufficientExecutionStack();
        vm.Step();
        switch (value)
        {
            case TemplateList list:
                return new TemplateList(list.Items.ConvertAll(item => SortedKeys(vm, item)), list.Kind);
            case TemplateObject dictionary:
                TemplateObject sorted = [];
                List<TemplateValue> keys = dictionary.Entries.ConvertAll(entry => entry.Key);
                foreach (TemplateValue key in Python.Sort(vm, keys, key => key, reverse: false))
                {
                    sorted.SetKey(key, SortedKeys(vm, dictionary.Find(key)!));
                }

                return sorted;
            default:
                return value;
        }
    }
}
