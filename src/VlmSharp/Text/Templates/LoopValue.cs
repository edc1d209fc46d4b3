namespace VlmSharp.Text.Templates;

/// <summary>The special variable <c>loop</c>. It looks ahead only when asked, so that a lazy sequence stays lazy.</summary>
internal sealed class LoopValue(
    TemplateValue source,
    IEnumerator<TemplateValue> items,
    int depth0,
    Func<Interpreter, TemplateValue, int, TemplateValue>? recurse
) : TemplateValue
{
    IEnumerator<TemplateValue> remaining = items;
    TemplateValue? current;
    TemplateValue? before;
    TemplateValue? after;
    TemplateValue[]? lastChanged;
    int length = -1;

    public int Index0 { get; private set; } = -1;

    public TemplateValue Current => current!;

    public bool MoveNext()
    {
        TemplateValue? next = after;
        after = null;
        if (next is null)
        {
            if (!remaining.MoveNext())
            {
                return false;
            }

            next = remaining.Current;
        }

        Index0++;
        before = current;
        current = next;
        return true;
    }

    TemplateValue? PeekNext() => after ??= remaining.MoveNext() ? remaining.Current : null;

    public int Length
    {
        get
        {
            if (length < 0)
            {
                length = source.Count;
            }

            if (length < 0)
            {
                List<TemplateValue> rest = [];
                while (remaining.MoveNext())
                {
                    rest.Add(remaining.Current);
                }

                remaining = rest.GetEnumerator();
                length = rest.Count + Index0 + 1 + (after is null ? 0 : 1);
            }

            return length;
        }
    }

    internal override string TypeName => "LoopContext";

    internal override string Description => "jinja2.runtime.LoopContext object";

    internal override int Count => Length;

    internal override bool IsTrue => Length > 0;

    internal override bool IsCallable => true;

    public TemplateValue Call(Interpreter interpreter, Arguments arguments)
    {
        if (recurse is null)
        {
            throw new EvaluationException("The loop must have the 'recursive' marker to be called recursively.");
        }

        return arguments is { Count: 1, Positional: [var inner] }
            ? recurse(interpreter, inner, depth0 + 1)
            : throw new EvaluationException("loop() takes one argument");
    }

    internal override TemplateValue? Attribute(string name) =>
        name switch
        {
            "index" => Index0 + 1,
            "index0" => Index0,
            "revindex" => Length - Index0,
            "revindex0" => Length - Index0 - 1,
            "first" => Index0 == 0,
            "last" => PeekNext() is null,
            "length" => Length,
            "depth" => depth0 + 1,
            "depth0" => depth0,
            "previtem" => Index0 == 0 ? UndefinedValue.Because("there is no previous item") : before,
            "nextitem" => PeekNext() ?? UndefinedValue.Because("there is no next item"),
            "cycle" => new FunctionValue("cycle", "method", Cycle),
            "changed" => new FunctionValue("changed", "method", Changed),
            _ => null,
        };

    TemplateValue Cycle(Interpreter interpreter, Arguments arguments) =>
        arguments.Positional.Length > 0
            ? arguments.Positional[Index0 % arguments.Positional.Length]
            : throw new EvaluationException("no items for cycling given");

    TemplateValue Changed(Interpreter interpreter, Arguments arguments)
    {
        TemplateValue[] values = arguments.Positional;
        bool same =
            lastChanged is not null
            && lastChanged.Length == values.Length
            && lastChanged.Zip(values).All(pair => interpreter.AreEqual(pair.First, pair.Second));
        lastChanged = values;
        return !same;
    }
}
