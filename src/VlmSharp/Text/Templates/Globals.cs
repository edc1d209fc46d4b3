using System.Numerics;

namespace VlmSharp.Text.Templates;

/// <summary>The functions a template finds without anybody passing them: jinja2's, and those transformers adds.</summary>
internal static class Globals
{
    static readonly Dictionary<string, TemplateValue> All = new()
    {
        ["range"] = new FunctionValue("range", "function", Range),
        ["dict"] = new FunctionValue("dict", "type", (vm, arguments) => Dictionary(vm, arguments, "dict")),
        ["namespace"] = new FunctionValue(
            "namespace",
            "type",
            (vm, arguments) => new NamespaceValue(Dictionary(vm, arguments, "namespace"))
        ),
        ["cycler"] = new FunctionValue("cycler", "type", Cycler),
        ["joiner"] = new FunctionValue("joiner", "type", Joiner),
        ["lipsum"] = new FunctionValue(
            "lipsum",
            "function",
            (_, _) => throw new EvaluationException("lipsum is not supported in chat templates")
        ),
        ["raise_exception"] = new FunctionValue("raise_exception", "function", Raise),
        ["strftime_now"] = new FunctionValue("strftime_now", "function", FormatNow),
    };

    public static TemplateValue? Find(string name) => All.GetValueOrDefault(name);

    static RangeValue Range(Interpreter vm, Arguments arguments)
    {
        if (arguments.Keywords.Count > 0 || arguments.Positional.Length is 0 or > 3)
        {
            throw new EvaluationException("range takes one to three integers");
        }

        BigInteger[] bounds = Array.ConvertAll(arguments.Positional, StringMethods.Integer);
        return bounds switch
        {
            [var stop] => vm.CreateRange(0, stop, 1),
            [var start, var stop] => vm.CreateRange(start, stop, 1),
            _ => vm.CreateRange(bounds[0], bounds[1], bounds[2]),
        };
    }

    static TemplateObject Dictionary(Interpreter vm, Arguments arguments, string name)
    {
        if (arguments.Positional.Length > 1)
        {
            throw new EvaluationException($"{name} expected at most 1 argument, got {arguments.Positional.Length}");
        }

        TemplateObject result = [];
        switch (arguments.At(0))
        {
            case null:
                break;
            case TemplateObject source:
                vm.Charge(source.Count);
                result = source.Copy();
                break;
            case var pairs:
                foreach (TemplateValue pair in vm.Iterate(pairs))
                {
                    if (vm.ToList(pair) is not [var key, var value])
                    {
                        throw new EvaluationException("dictionary update sequence elements need a key and a value");
                    }

                    vm.CheckKey(key);
                    result.SetKey(key, value);
                }

                break;
        }

        foreach ((string key, TemplateValue value) in arguments.Keywords)
        {
            result[key] = value;
        }

        return result;
    }

    static FunctionValue Cycler(Interpreter vm, Arguments arguments)
    {
        TemplateValue[] items = arguments.Positional;
        if (items.Length == 0)
        {
            throw new EvaluationException("at least one item has to be provided");
        }

        int at = 0;
        return new FunctionValue(
            "cycler",
            "Cycler",
            (_, _) => throw new EvaluationException("'Cycler' object is not callable"),
            name =>
                name switch
                {
                    "current" => items[at],
                    "pos" => at,
                    "items" => TemplateList.Tuple([.. items]),
                    "next" => new FunctionValue(
                        "next",
                        "method",
                        (_, _) =>
                        {
                            TemplateValue item = items[at];
                            at = (at + 1) % items.Length;
                            return item;
                        }
                    ),
                    "reset" => new FunctionValue(
                        "reset",
                        "method",
                        (_, _) =>
                        {
                            at = 0;
                            return TemplateValue.None;
                        }
                    ),
                    _ => null,
                }
        );
    }

    static FunctionValue Joiner(Interpreter vm, Arguments arguments)
    {
        TemplateValue separator = arguments.At(0) ?? arguments.Named("sep") ?? ", ";
        bool used = false;
        return new FunctionValue(
            "joiner",
            "Joiner",
            (_, _) =>
            {
                TemplateValue result = used ? separator : TextValue.Empty;
                used = true;
                return result;
            }
        );
    }

    static TemplateValue Raise(Interpreter vm, Arguments arguments)
    {
        TemplateValue message = arguments is { Count: 1 }
            ? arguments.At(0) ?? arguments.Keywords[0].Value
            : throw new EvaluationException("raise_exception() takes one message");
        throw new EvaluationException(PythonRepr.ToText(vm, message).Text, raisedByTemplate: true);
    }

    static TextValue FormatNow(Interpreter vm, Arguments arguments)
    {
        TextValue format = arguments is { Count: 1, Positional: [TextValue given] }
            ? given
            : throw new EvaluationException("strftime_now() takes one format");
        return TextValue.Derived(PythonTime.Format(format.Text, vm.Clock.GetLocalNow(), vm.Step), format);
    }
}
