namespace VlmSharp.Text.Templates;

/// <summary>jinja2's tests, what stands behind <c>is</c>.</summary>
internal static class Tests
{
    static readonly Dictionary<string, Filter> All = CreateTable();

    public static Filter? Find(string name) => All.GetValueOrDefault(name);

    static Dictionary<string, Filter> CreateTable()
    {
        Dictionary<string, Filter> table = Filter.Table([
            new("defined", (_, value, _) => value is not UndefinedValue),
            new("undefined", (_, value, _) => value is UndefinedValue),
            new("none", (_, value, _) => value is NoneValue),
            new("boolean", (_, value, _) => value is BooleanValue),
            new("true", (_, value, _) => value is BooleanValue { Value: true }),
            new("false", (_, value, _) => value is BooleanValue { Value: false }),
            new("integer", (_, value, _) => value is IntegerValue),
            new("float", (_, value, _) => value is FloatValue),
            new("number", (_, value, _) => value is IntegerValue or FloatValue or BooleanValue),
            new("string", (_, value, _) => value is TextValue),
            new("mapping", (_, value, _) => value is TemplateObject),
            new("sequence", (_, value, _) => IsSequence(value)),
            new("iterable", (_, value, _) => Interpreter.IsIterable(value)),
            new("callable", (_, value, _) => value.IsCallable),
            new("escaped", (_, value, _) => value is TextValue { IsMarkup: true }),
            new("lower", (vm, value, _) => StringMethods.IsCase(PythonRepr.ToText(vm, value).Text, PythonText.IsLower)),
            new("upper", (vm, value, _) => StringMethods.IsCase(PythonRepr.ToText(vm, value).Text, PythonText.IsUpper)),
            new("odd", (vm, value, _) => Rest(vm, value, 2, 1)),
            new("even", (vm, value, _) => Rest(vm, value, 2, 0)),
            new("divisibleby num", (vm, value, a) => Rest(vm, value, a[0]!, 0)),
            new("sameas other", (_, value, a) => IsSame(value, a[0]!)),
            new("in seq", (vm, value, a) => vm.Contains(a[0]!, value)),
            new("filter", (_, value, _) => value is TextValue name && Filters.Find(name.Text) is not null),
            new("test", (_, value, _) => value is TextValue name && Find(name.Text) is not null),
        ]);
        Compare(Comparison.Equal, "eq", "==", "equalto");
        Compare(Comparison.NotEqual, "ne", "!=");
        Compare(Comparison.Less, "lt", "<", "lessthan");
        Compare(Comparison.LessOrEqual, "le", "<=");
        Compare(Comparison.Greater, "gt", ">", "greaterthan");
        Compare(Comparison.GreaterOrEqual, "ge", ">=");
        return table;

        void Compare(Comparison comparison, params ReadOnlySpan<string> names)
        {
            foreach (string name in names)
            {
                table[name] = new(name + " other", (vm, value, a) => vm.Compare(value, a[0]!, comparison));
            }
        }
    }

    static bool Rest(Interpreter vm, TemplateValue value, TemplateValue divisor, TemplateValue expected) =>
        vm.AreEqual(vm.Calculate(BinaryOperator.Modulo, value, divisor), expected);

    /// <summary>Sized and subscriptable: a dictionary is, a view of one is not.</summary>
    static bool IsSequence(TemplateValue value) =>
        value is TemplateList or TextValue or TemplateObject or RangeValue or UndefinedValue;

    /// <summary>Identity. Equal numbers and strings are mostly one object in Python, and are taken as such.</summary>
    static bool IsSame(TemplateValue value, TemplateValue other) =>
        ReferenceEquals(value, other)
        || (
            value is IntegerValue or FloatValue or TextValue
            && value.GetType() == other.GetType()
            && Python.AreEqual(value, other)
        );
}
