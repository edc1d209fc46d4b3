using System.Diagnostics.CodeAnalysis;
using System.Numerics;

namespace VlmSharp.Text.Templates;

/// <summary>A string. Positions in templates are code points, as in Python; here they are UTF-16 units.</summary>
internal sealed class TextValue : TemplateValue
{
    public static readonly TextValue Empty = new("", default, isMarkup: false);

    enum Surrogates : byte
    {
        Unknown,
        None,
        Some,
    }

    // One byte, so that threads that share a string see it whole.
    Surrogates surrogates;

    TextValue(string text, UserSpans spans, bool isMarkup)
    {
        Text = text;
        Spans = spans;
        IsMarkup = isMarkup;
    }

    public static TextValue Create(string text, UserSpans spans = default, bool isMarkup = false) =>
        text.Length == 0 && !isMarkup ? Empty : new(text, spans, isMarkup);

    /// <summary>The result of an operation that keeps no track of positions: all of it is user text if any input had some.</summary>
    public static TextValue Derived(string text, params ReadOnlySpan<TextValue?> inputs)
    {
        foreach (TextValue? input in inputs)
        {
            if (input is not null && input.Spans.Any)
            {
                return Create(text, UserSpans.Whole);
            }
        }

        return Create(text);
    }

    public string Text { get; }

    public UserSpans Spans { get; }

    /// <summary>Whether this is markupsafe's Markup, the result of <c>escape</c> and <c>safe</c>: what is added to it with + is escaped.</summary>
    public bool IsMarkup { get; }

    /// <summary>Whether code points and UTF-16 units differ.</summary>
    public bool HasSurrogates
    {
        get
        {
            if (surrogates == Surrogates.Unknown)
            {
                bool any = Text.AsSpan().IndexOfAnyInRange('\uD800', '\uDFFF') >= 0;
                surrogates = any ? Surrogates.Some : Surrogates.None;
            }

            return surrogates == Surrogates.Some;
        }
    }

    public TextValue AsMarkup() => IsMarkup ? this : Create(Text, Spans, isMarkup: true);

    public TextValue AsPlain() => IsMarkup ? Create(Text, Spans) : this;

    /// <summary>The part [start, start + length) in UTF-16 units.</summary>
    public TextValue Slice(int start, int length) =>
        length == Text.Length ? this : Create(Text.Substring(start, length), Spans.Slice(start, length), IsMarkup);

    internal override string TypeName => IsMarkup ? "Markup" : "str";

    internal override string Description => IsMarkup ? "markupsafe.Markup object" : "str object";

    internal override bool IsTrue => Text.Length > 0;

    internal override int Count => HasSurrogates ? CodePoints.Count(Text) : Text.Length;

    internal override TemplateValue? Attribute(string name) => Methods.Find(this, name);
}

internal sealed class NoneValue : TemplateValue
{
    public static readonly NoneValue Instance = new();

    internal override string TypeName => "NoneType";

    internal override string Description => "None";

    internal override bool IsTrue => false;
}

internal sealed class BooleanValue : TemplateValue
{
    static readonly BooleanValue True = new(value: true);
    static readonly BooleanValue False = new(value: false);

    BooleanValue(bool value) => Value = value;

    public static BooleanValue Of(bool value) => value ? True : False;

    public bool Value { get; }

    internal override string TypeName => "bool";

    internal override bool IsTrue => Value;

    internal override TemplateValue? Attribute(string name) => Methods.Find(IntegerValue.Create(Value ? 1 : 0), name);
}

internal sealed class IntegerValue : TemplateValue
{
    /// <summary>Larger results are an error. Python's limit is for printing: 4300 digits, a little less than this.</summary>
    const int MaxBits = 1 << 14;

    const int CachedFrom = -16;
    static readonly IntegerValue[] Cached = [.. Enumerable.Range(CachedFrom, 1024).Select(i => new IntegerValue(i))];

    IntegerValue(BigInteger value) => Value = value;

    public static IntegerValue Create(BigInteger value)
    {
        if (value >= CachedFrom && value < CachedFrom + Cached.Length)
        {
            return Cached[(int)value - CachedFrom];
        }

        return value.GetBitLength() <= MaxBits
            ? new IntegerValue(value)
            : throw new EvaluationException($"an integer of more than {MaxBits} bits is beyond the limit");
    }

    public BigInteger Value { get; }

    internal override string TypeName => "int";

    internal override bool IsTrue => !Value.IsZero;

    internal override TemplateValue? Attribute(string name) => Methods.Find(this, name);
}

internal sealed class FloatValue(double value) : TemplateValue
{
    public double Value { get; } = value;

    internal override string TypeName => "float";

    internal override bool IsTrue => Value != 0;

    internal override TemplateValue? Attribute(string name) => Methods.Find(this, name);
}

/// <summary>jinja2's Undefined: prints as nothing, is false and empty, equals only another undefined; anything else is an error.</summary>
internal sealed class UndefinedValue : TemplateValue
{
    readonly Func<string> message;

    UndefinedValue(Func<string> message) => this.message = message;

    public string Message => message();

    public static UndefinedValue Named(string name) => new(() => $"'{name}' is undefined");

    /// <param name="hint">The whole message of the error that using the value raises.</param>
    public static UndefinedValue Because(string hint) => new(() => hint);

    public static UndefinedValue Missing(TemplateValue owner, TemplateValue name) =>
        new(() =>
            name is TextValue text
                ? $"{PythonRepr.Quote(owner.Description)} has no attribute {PythonRepr.Quote(text.Text)}"
                : $"{owner.Description} has no element {PythonRepr.Text(name, quoted: true)}"
        );

    public static UndefinedValue Unsafe(TemplateValue owner, string name) =>
        new(() => $"access to attribute {PythonRepr.Quote(name)} of '{owner.TypeName}' object is unsafe.");

    [DoesNotReturn]
    public void Throw() => throw new EvaluationException(Message);

    internal override string TypeName => "Undefined";

    internal override string Description => "Undefined object";

    internal override bool IsTrue => false;

    // It has a call operator: the one that raises.
    internal override bool IsCallable => true;

    internal override int Count => 0;

    internal override TemplateValue? Attribute(string name)
    {
        Throw();
        return null;
    }
}

/// <summary>Python's range.</summary>
internal sealed class RangeValue(BigInteger start, BigInteger stop, BigInteger step, int length) : TemplateValue
{
    public BigInteger Start { get; } = start;

    public BigInteger Stop { get; } = stop;

    public BigInteger Step { get; } = step;

    public int Length { get; } = length;

    public IntegerValue this[int index] => IntegerValue.Create(Start + Step * index);

    /// <summary>The number of values, which may be too many to hold in an integer.</summary>
    public static BigInteger CountOf(BigInteger start, BigInteger stop, BigInteger step)
    {
        BigInteger distance = step.Sign > 0 ? stop - start : start - stop;
        BigInteger size = BigInteger.Abs(step);
        return distance.Sign <= 0 ? 0 : (distance + size - 1) / size;
    }

    internal override string TypeName => "range";

    internal override bool IsTrue => Length > 0;

    internal override int Count => Length;

    internal override TemplateValue? Attribute(string name) =>
        name switch
        {
            "start" => IntegerValue.Create(Start),
            "stop" => IntegerValue.Create(Stop),
            "step" => IntegerValue.Create(Step),
            _ => null,
        };
}

/// <summary>What <c>keys()</c>, <c>values()</c> and <c>items()</c> return: sized and iterable, but no list.</summary>
internal sealed class DictionaryView(TemplateObject dictionary, DictionaryView.ViewKind kind) : TemplateValue
{
    internal enum ViewKind
    {
        Keys,
        Values,
        Items,
    }

    public TemplateObject Dictionary { get; } = dictionary;

    public ViewKind Kind { get; } = kind;

    public TemplateValue this[int index]
    {
        get
        {
            (TemplateValue key, TemplateValue value) = Dictionary.Entries[index];
            return Kind switch
            {
                ViewKind.Keys => key,
                ViewKind.Values => value,
                _ => TemplateList.Tuple(key, value),
            };
        }
    }

    internal override string TypeName =>
        Kind switch
        {
            ViewKind.Keys => "dict_keys",
            ViewKind.Values => "dict_values",
            _ => "dict_items",
        };

    internal override bool IsTrue => Dictionary.Count > 0;

    internal override int Count => Dictionary.Count;
}

/// <summary>A lazy sequence that can be walked once, such as the result of <c>map</c>: always true, without a length.</summary>
internal sealed class IteratorValue(IEnumerable<TemplateValue> items, string typeName = "generator") : TemplateValue
{
    public IEnumerator<TemplateValue> Items { get; } = items.GetEnumerator();

    internal override string TypeName => typeName;
}

/// <summary>The result of <c>namespace()</c>: the one thing whose attributes a template can set.</summary>
internal sealed class NamespaceValue(TemplateObject values) : TemplateValue
{
    public TemplateObject Values { get; } = values;

    internal override string TypeName => "Namespace";

    internal override string Description => "jinja2.utils.Namespace object";

    internal override TemplateValue? Attribute(string name) => Values.Find(name);
}

/// <summary>A value that templates can call: global functions, methods bound to their object.</summary>
internal sealed class FunctionValue(
    string name,
    string typeName,
    Func<Interpreter, Arguments, TemplateValue> call,
    Func<string, TemplateValue?>? attributes = null
) : TemplateValue
{
    public string Name { get; } = name;

    public TemplateValue Call(Interpreter interpreter, Arguments arguments) => call(interpreter, arguments);

    internal override string TypeName => typeName;

    internal override bool IsCallable => true;

    internal override TemplateValue? Attribute(string name) => attributes?.Invoke(name);
}

/// <summary>A macro, or the body of a call block, with the variables that were in view where it was defined.</summary>
internal sealed class MacroValue(MacroDefinition definition, Locals closure) : TemplateValue
{
    public MacroDefinition Definition { get; } = definition;

    public Locals Closure { get; } = closure;

    internal override string TypeName => "Macro";

    internal override string Description => "jinja2.runtime.Macro object";

    internal override bool IsCallable => true;

    internal override TemplateValue? Attribute(string name) =>
        name switch
        {
            "name" => Definition.Name is { } macro ? TextValue.Create(macro) : None,
            "arguments" => TemplateList.Tuple([.. Definition.Parameters.Select(p => TextValue.Create(p.Target.Name))]),
            "catch_kwargs" => BooleanValue.Of(Definition.KeywordsSlot >= 0),
            "catch_varargs" => BooleanValue.Of(Definition.VarargsSlot >= 0),
            "caller" => BooleanValue.Of(Definition.AccessesCaller),
            _ => null,
        };
}
