namespace VlmSharp.Text.Templates;

/// <summary>The arguments of a call.</summary>
internal readonly struct Arguments(
    TemplateValue[] positional,
    List<(string Name, TemplateValue Value)>? keywords = null
)
{
    public TemplateValue[] Positional { get; } = positional;

    public List<(string Name, TemplateValue Value)> Keywords { get; } = keywords ?? [];

    public int Count => Positional.Length + Keywords.Count;

    public TemplateValue? At(int index) => index < Positional.Length ? Positional[index] : null;

    public TemplateValue? Named(string name)
    {
        foreach ((string candidate, TemplateValue value) in Keywords)
        {
            if (candidate == name)
            {
                return value;
            }
        }

        return null;
    }

    /// <summary>The arguments without the first positional ones.</summary>
    public Arguments Skip(int count) => new(Positional[count..], Keywords);

    /// <summary>A dictionary of the keyword arguments.</summary>
    public TemplateObject KeywordObject()
    {
        TemplateObject result = [];
        foreach ((string name, TemplateValue value) in Keywords)
        {
            result[name] = value;
        }

        return result;
    }
}

/// <summary>What a filter, test or method does with its subject and the arguments, in the order of the parameters; null stands for one not given.</summary>
internal delegate TemplateValue BoundBody(Interpreter interpreter, TemplateValue subject, TemplateValue?[] arguments);

/// <summary>What a filter does that takes arguments of its own kind.</summary>
internal delegate TemplateValue FreeBody(Interpreter interpreter, TemplateValue subject, Arguments arguments);

/// <summary>A filter, a test, or a method: a subject and named parameters.</summary>
internal sealed class Filter
{
    readonly string name;
    readonly string[] parameters = [];
    readonly int required;
    readonly BoundBody? bound;
    readonly FreeBody? free;

    /// <param name="signature">The name and the parameters, those with a default followed by a question mark: <c>replace old new count?</c>.</param>
    /// <param name="body">What it does; optional parameters that are not given are null.</param>
    public Filter(string signature, BoundBody body)
    {
        string[] words = signature.Split(' ');
        name = words[0];
        required = words.Skip(1).Count(word => !word.EndsWith('?'));
        parameters = [.. words.Skip(1).Select(word => word.TrimEnd('?'))];
        bound = body;
    }

    Filter(string name, FreeBody body)
    {
        this.name = name;
        free = body;
    }

    /// <summary>A filter that looks at its arguments itself.</summary>
    public static Filter Free(string name, FreeBody body) => new(name, body);

    public static Dictionary<string, Filter> Table(params ReadOnlySpan<Filter> filters)
    {
        Dictionary<string, Filter> table = [];
        foreach (Filter filter in filters)
        {
            table.Add(filter.name, filter);
        }

        return table;
    }

    public TemplateValue Invoke(Interpreter interpreter, TemplateValue subject, Arguments arguments)
    {
        interpreter.Step();
        if (free is not null)
        {
            return free(interpreter, subject, arguments);
        }

        TemplateValue?[] values = arguments.Positional;
        if (values.Length != parameters.Length || arguments.Keywords.Count > 0)
        {
            values = Bind(arguments);
        }

        return bound!(interpreter, subject, values);
    }

    TemplateValue?[] Bind(Arguments arguments)
    {
        if (arguments.Positional.Length > parameters.Length)
        {
            throw new EvaluationException(
                $"{name}() takes at most {parameters.Length} argument(s) ({arguments.Positional.Length} given)"
            );
        }

        TemplateValue?[] values = new TemplateValue?[parameters.Length];
        arguments.Positional.CopyTo(values, 0);
        foreach ((string keyword, TemplateValue value) in arguments.Keywords)
        {
            int at = Array.IndexOf(parameters, keyword);
            if (at < 0)
            {
                throw new EvaluationException($"{name}() got an unexpected keyword argument '{keyword}'");
            }

            if (values[at] is not null)
            {
                throw new EvaluationException($"{name}() got multiple values for argument '{keyword}'");
            }

            values[at] = value;
        }

        for (int i = 0; i < required; i++)
        {
            if (values[i] is null)
            {
                throw new EvaluationException($"{name}() missing required argument '{parameters[i]}'");
            }
        }

        return values;
    }
}
