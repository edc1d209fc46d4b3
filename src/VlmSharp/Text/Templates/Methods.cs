using System.Numerics;

namespace VlmSharp.Text.Templates;

/// <summary>The methods of Python's types.</summary>
internal static class Methods
{
    static readonly HashSet<string> ListMutators =
    [
        "append",
        "clear",
        "extend",
        "insert",
        "pop",
        "remove",
        "reverse",
        "sort",
    ];

    static readonly HashSet<string> DictionaryMutators = ["clear", "pop", "popitem", "setdefault", "update"];

    static readonly Dictionary<string, Filter> OfDictionaries = Filter.Table(
        new(
            "get key default?",
            (vm, self, a) =>
            {
                vm.CheckKey(a[0]!);
                return ((TemplateObject)self).Find(a[0]!) ?? a[1] ?? TemplateValue.None;
            }
        ),
        new("keys", (_, self, _) => new DictionaryView((TemplateObject)self, DictionaryView.ViewKind.Keys)),
        new("values", (_, self, _) => new DictionaryView((TemplateObject)self, DictionaryView.ViewKind.Values)),
        new("items", (_, self, _) => new DictionaryView((TemplateObject)self, DictionaryView.ViewKind.Items)),
        new(
            "copy",
            (vm, self, _) =>
            {
                vm.Charge(self.Count);
                return ((TemplateObject)self).Copy();
            }
        ),
        new(
            "fromkeys iterable value?",
            (vm, _, a) =>
            {
                TemplateObject result = [];
                foreach (TemplateValue key in vm.Iterate(a[0]!))
                {
                    vm.CheckKey(key);
                    result.SetKey(key, a[1] ?? TemplateValue.None);
                }

                return result;
            }
        )
    );

    static readonly Dictionary<string, Filter> OfTuples = Filter.Table(
        new(
            "index value start? stop?",
            (vm, self, a) =>
            {
                List<TemplateValue> items = ((TemplateList)self).Items;
                (int start, int stop) = Window(items.Count, a[1], a[2]);
                for (int i = start; i < stop; i++)
                {
                    if (vm.AreEqual(items[i], a[0]!))
                    {
                        return i;
                    }
                }

                throw new EvaluationException($"{PythonRepr.Text(a[0]!, quoted: true)} is not in {self.TypeName}");
            }
        ),
        new("count value", (vm, self, a) => vm.Iterate(self).Count(item => vm.AreEqual(item, a[0]!)))
    );

    static readonly Dictionary<string, Filter> OfLists = new(OfTuples)
    {
        ["copy"] = new("copy", (vm, self, _) => new TemplateList(vm.ToList(self))),
    };

    static readonly Dictionary<string, Filter> OfIntegers = Filter.Table(
        new("bit_length", (_, self, _) => (long)BigInteger.Abs(((IntegerValue)self).Value).GetBitLength()),
        new("conjugate", (_, self, _) => self),
        new("is_integer", (_, _, _) => true)
    );

    static readonly Dictionary<string, Filter> OfFloats = Filter.Table(
        new("is_integer", (_, self, _) => double.IsInteger(((FloatValue)self).Value)),
        new("conjugate", (_, self, _) => self)
    );

    /// <summary>A method that can be called on the value, or null.</summary>
    public static Filter? Get(TemplateValue value, string name) =>
        value switch
        {
            TextValue => StringMethods.All,
            TemplateObject => OfDictionaries,
            TemplateList { IsTuple: true } => OfTuples,
            TemplateList => OfLists,
            IntegerValue => OfIntegers,
            FloatValue => OfFloats,
            _ => null,
        }
            is { } table
        && table.TryGetValue(name, out Filter? method)
        && !IsMutating(value, name)
            ? method
            : null;

    /// <summary>The method as a value, bound to its object; or null.</summary>
    public static TemplateValue? Find(TemplateValue value, string name)
    {
        switch (value)
        {
            case IntegerValue when name is "real" or "numerator":
                return value;
            case IntegerValue when name is "imag" or "denominator":
                return name == "imag" ? 0 : 1;
        }

        return Get(value, name) is { } method
            ? new FunctionValue(
                name,
                "builtin_function_or_method",
                (vm, arguments) => method.Invoke(vm, value, arguments)
            )
            : null;
    }

    /// <summary>Whether the name is a method that would change the object: the sandbox hides those.</summary>
    public static bool IsMutating(TemplateValue value, string name) =>
        value switch
        {
            TemplateList { IsTuple: false } => ListMutators.Contains(name),
            TemplateObject => DictionaryMutators.Contains(name),
            _ => false,
        };

    /// <summary>Python's start and stop of a search in a sequence: negative ones count from the end, and both are clipped.</summary>
    public static (int Start, int Stop) Window(int count, TemplateValue? start, TemplateValue? stop)
    {
        return (Bound(start, 0), Bound(stop, count));

        int Bound(TemplateValue? value, int missing)
        {
            if (value is null or NoneValue)
            {
                return missing;
            }

            if (!Python.TryInteger(value, out BigInteger bound))
            {
                throw new EvaluationException("slice indices must be integers or None or have an __index__ method");
            }

            bound += bound.Sign < 0 ? count : 0;
            return (int)BigInteger.Min(BigInteger.Max(bound, 0), count);
        }
    }
}
