using System.Globalization;
using System.Numerics;
using System.Text.Json;

namespace VlmSharp.Text.Templates;

/// <summary>A value a chat template works with: text, number, boolean, none, list, dictionary, or one of the template's own things.</summary>
/// <remarks>Values handed to a render are not changed by it.</remarks>
public abstract class TemplateValue
{
    private protected TemplateValue() { }

    /// <summary>Python's None, JSON's null.</summary>
    public static TemplateValue None => NoneValue.Instance;

    /// <summary>Text of the application's own: special tokens in it are meant.</summary>
    public static TemplateValue Trusted(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return TextValue.Create(text);
    }

    /// <summary>Text that somebody typed: wherever it ends up in the prompt, it is reported as such.</summary>
    public static TemplateValue UserText(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return TextValue.Create(text, UserSpans.Whole);
    }

    /// <summary>
    /// Reads JSON as Python's json module would: integers of any size stay integers, numbers with a point or an exponent are floats,
    /// keys keep their order, and the last of several equal keys counts.
    /// </summary>
    /// <param name="element">The JSON to read.</param>
    /// <param name="userText">Whether its strings, keys included, are user text.</param>
    /// <exception cref="FormatException">A string holds half of a surrogate pair, a number has more than 4300 digits (both as in Python), or the JSON nests more than 500 deep.</exception>
    public static TemplateValue From(JsonElement element, bool userText) => From(element, userText, 0);

    static TemplateValue From(JsonElement element, bool userText, int depth)
    {
        const int maxDepth = 500;
        if (depth > maxDepth)
        {
            throw new FormatException($"the JSON nests more than {maxDepth} deep");
        }

        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                TemplateObject dictionary = [];
                foreach (JsonProperty property in element.EnumerateObject())
                {
                    TemplateValue key = Text(() => property.Name, userText);
                    dictionary.SetKey(key, From(property.Value, userText, depth + 1));
                }

                return dictionary;
            case JsonValueKind.Array:
                TemplateList list = [];
                foreach (JsonElement item in element.EnumerateArray())
                {
                    list.Add(From(item, userText, depth + 1));
                }

                return list;
            case JsonValueKind.String:
                return Text(() => element.GetString()!, userText);
            case JsonValueKind.Number:
                string digits = element.GetRawText();
                const int maxDigits = 4300;
                if (digits.Length > maxDigits)
                {
                    throw new FormatException($"a number in the JSON has more than {maxDigits} digits");
                }

                return digits.AsSpan().ContainsAny('.', 'e', 'E')
                    ? double.Parse(digits, NumberStyles.Float, CultureInfo.InvariantCulture)
                    : IntegerValue.Create(BigInteger.Parse(digits, CultureInfo.InvariantCulture));
            case JsonValueKind.True or JsonValueKind.False:
                return element.GetBoolean();
            case JsonValueKind.Null:
                return None;
            default:
                return UndefinedValue.Named("value");
        }
    }

    static TextValue Text(Func<string> read, bool userText)
    {
        try
        {
            return TextValue.Create(read(), userText ? UserSpans.Whole : default);
        }
        catch (InvalidOperationException e)
        {
            throw new FormatException("a JSON string holds half of a surrogate pair", e);
        }
    }

    /// <summary>Trusted text.</summary>
    public static implicit operator TemplateValue(string text) => Trusted(text);

    /// <summary>An integer.</summary>
    public static implicit operator TemplateValue(int value) => IntegerValue.Create(value);

    /// <summary>An integer.</summary>
    public static implicit operator TemplateValue(long value) => IntegerValue.Create(value);

    /// <summary>A float.</summary>
    public static implicit operator TemplateValue(double value) => new FloatValue(value);

    /// <summary>True or false.</summary>
    public static implicit operator TemplateValue(bool value) => BooleanValue.Of(value);

    /// <summary>The value as the template would print it.</summary>
    public override string ToString() => PythonRepr.Text(this);

    /// <summary>The name of the Python type, as it appears in messages.</summary>
    internal abstract string TypeName { get; }

    /// <summary>How jinja2 names the object in messages about missing attributes.</summary>
    internal virtual string Description => TypeName + " object";

    /// <summary>Python's bool().</summary>
    internal virtual bool IsTrue => true;

    /// <summary>Python's len(), or -1 where it would raise a TypeError.</summary>
    internal virtual int Count => -1;

    /// <summary>Python's callable().</summary>
    internal virtual bool IsCallable => false;

    /// <summary>Python's getattr(), or null where it would raise an AttributeError.</summary>
    internal virtual TemplateValue? Attribute(string name) => null;
}
