using System.Globalization;
using System.Numerics;

namespace VlmSharp.Text.Templates;

/// <content>Filters of sequences and dictionaries.</content>
internal static partial class Filters
{
    /// <summary>What "a.0.b" finds in a value, each part an item before an attribute.</summary>
    static Func<TemplateValue, TemplateValue> Getter(
        Interpreter vm,
        TemplateValue? attribute,
        bool ignoreCase = false,
        TemplateValue? missing = null
    )
    {
        List<TemplateValue> path = attribute switch
        {
            null or NoneValue => [],
            TextValue text => Path(text.Text),
            _ => [attribute],
        };
        bool hasDefault = IsGiven(missing);
        return value =>
        {
            foreach (TemplateValue part in path)
            {
                vm.Step();
                value = vm.GetItem(value, part);
                value = hasDefault && value is UndefinedValue ? missing! : value;
            }

            return ignoreCase ? IgnoreCase(vm, value) : value;
        };
    }

    static List<TemplateValue> Path(string attribute) =>
        [
            .. attribute
                .Split('.')
                .Select<string, TemplateValue>(part =>
                    part.Length > 0 && part.All(char.IsAsciiDigit)
                        ? IntegerValue.Create(BigInteger.Parse(part, CultureInfo.InvariantCulture))
                        : TextValue.Create(part)
                ),
        ];

    static TemplateValue IgnoreCase(Interpreter vm, TemplateValue value)
    {
        if (value is not TextValue text)
        {
            return value;
        }

        vm.ChargeText(text.Text.Length);
        return TextValue.Create(PythonText.Lower(text.Text));
    }

    static IteratorValue Batch(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        return new IteratorValue(Batches(vm, value, arguments[0]!, arguments[1]));

        static IEnumerable<TemplateValue> Batches(
            Interpreter vm,
            TemplateValue value,
            TemplateValue size,
            TemplateValue? fill
        )
        {
            BigInteger count = StringMethods.Integer(size);
            List<TemplateValue> batch = [];
            foreach (TemplateValue item in vm.Iterate(value))
            {
                if (batch.Count == count)
                {
                    yield return new TemplateList(batch);
                    batch = [];
                }

                batch.Add(item);
            }

            if (batch.Count == 0)
            {
                yield break;
            }

            if (IsGiven(fill) && batch.Count < count)
            {
                int missing = (int)vm.CheckLength(count - batch.Count);
                vm.Charge(missing);
                batch.AddRange(Enumerable.Repeat(fill!, missing));
            }

            yield return new TemplateList(batch);
        }
    }

    static IteratorValue Slice(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        return new IteratorValue(Slices(vm, value, arguments[0]!, arguments[1]));

        static IEnumerable<TemplateValue> Slices(
            Interpreter vm,
            TemplateValue value,
            TemplateValue slices,
            TemplateValue? fill
        )
        {
            List<TemplateValue> items = vm.ToList(value);
            int count = (int)vm.CheckLength(StringMethods.Integer(slices));
            if (count == 0)
            {
                throw new EvaluationException("integer division or modulo by zero");
            }

            int longer = count < 0 ? 0 : items.Count % count;
            int start = 0;
            for (int i = 0; i < count; i++)
            {
                vm.Step();
                int length = items.Count / count + (i < longer ? 1 : 0);
                List<TemplateValue> slice = items.GetRange(start, length);
                if (IsGiven(fill) && i >= longer)
                {
                    slice.Add(fill!);
                }

                start += length;
                yield return new TemplateList(slice);
            }
        }
    }

    static TemplateValue First(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        foreach (TemplateValue item in vm.Iterate(value))
        {
            return item;
        }

        return UndefinedValue.Because("No first item, sequence was empty.");
    }

    static TemplateValue Last(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        foreach (TemplateValue item in Reversed(vm, value))
        {
            return item;
        }

        return UndefinedValue.Because("No last item, sequence was empty.");
    }

    static bool IsReversible(TemplateValue value) =>
        value is TemplateList or TextValue or TemplateObject or DictionaryView or RangeValue or UndefinedValue;

    static IEnumerable<TemplateValue> Reversed(Interpreter vm, TemplateValue value)
    {
        if (!IsReversible(value))
        {
            throw new EvaluationException($"'{value.TypeName}' object is not reversible");
        }

        if (value is TextValue)
        {
            return Enumerable.Reverse(vm.ToList(value));
        }

        return Walk(
            value.Count,
            i =>
                value switch
                {
                    TemplateList list => list.Items[i],
                    TemplateObject dictionary => dictionary.Entries[i].Key,
                    DictionaryView view => view[i],
                    _ => ((RangeValue)value)[i],
                }
        );

        IEnumerable<TemplateValue> Walk(int count, Func<int, TemplateValue> at)
        {
            for (int i = count - 1; i >= 0; i--)
            {
                vm.Step();
                yield return at(i);
            }
        }
    }

    static TemplateValue Reverse(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        if (value is TextValue text)
        {
            TextBuilder builder = vm.NewBuilder();
            foreach (TextValue character in Reversed(vm, text).Cast<TextValue>())
            {
                builder.Append(character);
            }

            return builder.ToValue();
        }

        if (IsReversible(value))
        {
            string name = value switch
            {
                TemplateList { IsTuple: false } => "list_reverseiterator",
                TemplateObject => "dict_reversekeyiterator",
                RangeValue => "range_iterator",
                _ => "reversed",
            };
            return new IteratorValue(Reversed(vm, value), name);
        }

        List<TemplateValue> items = vm.ToList(value);
        items.Reverse();
        return new TemplateList(items);
    }

    // A template that asks for chance gets it: the prompt then differs from render to render, as in jinja2.
    static TemplateValue RandomItem(Interpreter vm, TemplateValue value, TemplateValue?[] arguments) =>
        Length(value) == 0
            ? UndefinedValue.Because("No random item, sequence was empty.")
            : vm.GetItem(value, Random.Shared.Next(value.Count));

    static IEnumerable<TemplateValue> Items(Interpreter vm, TemplateValue value)
    {
        if (value is UndefinedValue)
        {
            yield break;
        }

        if (value is not TemplateObject dictionary)
        {
            throw new EvaluationException("Can only get item pairs from a mapping.");
        }

        foreach (TemplateValue item in vm.Iterate(new DictionaryView(dictionary, DictionaryView.ViewKind.Items)))
        {
            yield return item;
        }
    }

    static TextValue Join(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        TextValue separator = arguments[0] is null ? TextValue.Empty : Soft(vm, arguments[0]!);
        Func<TemplateValue, TemplateValue> getter = Getter(vm, arguments[1]);
        TextBuilder builder = vm.NewBuilder();
        bool first = true;
        foreach (TemplateValue item in vm.Iterate(value))
        {
            if (!first)
            {
                vm.ChargeText(separator.Text.Length);
                builder.Append(separator);
            }

            first = false;
            PythonRepr.AppendText(vm, builder, getter(item));
        }

        return builder.ToValue();
    }

    static TemplateList Sort(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        bool ignoreCase = !Flag(arguments[1]);
        // Several attributes have commas between; the key is then a list, as it is in jinja2 for one attribute too.
        List<Func<TemplateValue, TemplateValue>> getters = arguments[2] is TextValue several
            ? [.. several.Text.Split(',').Select(name => Getter(vm, TextValue.Create(name), ignoreCase))]
            : [Getter(vm, arguments[2], ignoreCase)];
        List<TemplateValue> sorted = Python.Sort(
            vm,
            vm.ToList(value),
            item => new TemplateList(getters.ConvertAll(getter => getter(item))),
            Flag(arguments[0])
        );
        return new TemplateList(sorted);
    }

    static TemplateList DictionarySort(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        bool ignoreCase = !Flag(arguments[0]);
        string by = arguments[1] is null ? "key" : StringMethods.Text(arguments[1]!).Text;
        if (by is not ("key" or "value"))
        {
            throw new EvaluationException("You can only sort by either \"key\" or \"value\"");
        }

        if (value is UndefinedValue undefined)
        {
            undefined.Throw();
        }

        if (value is not TemplateObject dictionary)
        {
            throw new EvaluationException($"dictsort needs a mapping, not '{value.TypeName}'");
        }

        List<TemplateValue> items = vm.ToList(new DictionaryView(dictionary, DictionaryView.ViewKind.Items));
        int at = by == "key" ? 0 : 1;
        return new TemplateList(Python.Sort(vm, items, Key, Flag(arguments[2])));

        TemplateValue Key(TemplateValue item)
        {
            TemplateValue key = ((TemplateList)item).Items[at];
            return ignoreCase ? IgnoreCase(vm, key) : key;
        }
    }

    static IEnumerable<TemplateValue> Unique(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        Func<TemplateValue, TemplateValue> getter = Getter(vm, arguments[1], ignoreCase: !Flag(arguments[0]));
        HashSet<TemplateValue> seen = new(Python.KeyComparer);
        foreach (TemplateValue item in vm.Iterate(value))
        {
            TemplateValue key = getter(item);
            vm.CheckKey(key);
            if (seen.Add(key))
            {
                yield return item;
            }
        }
    }

    static TemplateValue Extreme(Interpreter vm, TemplateValue value, TemplateValue?[] arguments, Comparison comparison)
    {
        Func<TemplateValue, TemplateValue> getter = Getter(vm, arguments[1], ignoreCase: !Flag(arguments[0]));
        (TemplateValue Item, TemplateValue Key)? best = null;
        foreach (TemplateValue item in vm.Iterate(value))
        {
            TemplateValue key = getter(item);
            if (best is not { } known || vm.Compare(key, known.Key, comparison))
            {
                best = (item, key);
            }
        }

        return best?.Item ?? UndefinedValue.Because("No aggregated item, sequence was empty.");
    }

    static TemplateValue Sum(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        Func<TemplateValue, TemplateValue> getter = Getter(vm, arguments[0]);
        TemplateValue sum = arguments[1] ?? 0;
        if (sum is TextValue)
        {
            throw new EvaluationException("sum() can't sum strings [use ''.join(seq) instead]");
        }

        foreach (TemplateValue item in vm.Iterate(value))
        {
            sum = vm.Calculate(BinaryOperator.Add, sum, getter(item));
        }

        return sum;
    }

    static TemplateList GroupBy(Interpreter vm, TemplateValue value, TemplateValue?[] arguments)
    {
        bool ignoreCase = !Flag(arguments[2]);
        Func<TemplateValue, TemplateValue> key = Getter(vm, arguments[0], ignoreCase, arguments[1]);
        Func<TemplateValue, TemplateValue> shown = Getter(vm, arguments[0], ignoreCase: false, arguments[1]);
        List<TemplateValue> groups = [];
        List<TemplateValue> members = [];
        TemplateValue? current = null;
        foreach (TemplateValue item in Python.Sort(vm, vm.ToList(value), key, reverse: false))
        {
            TemplateValue next = key(item);
            if (current is null || !vm.AreEqual(current, next))
            {
                members = [];
                groups.Add(new TemplateList([shown(item), new TemplateList(members)], TemplateList.SequenceKind.Group));
                current = next;
            }

            members.Add(item);
        }

        return new TemplateList(groups);
    }

    static IEnumerable<TemplateValue> Map(Interpreter vm, TemplateValue value, Arguments arguments)
    {
        if (!value.IsTrue)
        {
            yield break;
        }

        Func<TemplateValue, TemplateValue> map;
        if (arguments.Positional.Length == 0 && arguments.Named("attribute") is { } attribute)
        {
            if (arguments.Keywords.Find(k => k.Name is not ("attribute" or "default")) is { Name: { } unexpected })
            {
                throw new EvaluationException($"Unexpected keyword argument '{unexpected}'");
            }

            map = Getter(vm, attribute, missing: arguments.Named("default"));
        }
        else if (arguments.Positional.Length == 0)
        {
            throw new EvaluationException("map requires a filter argument");
        }
        else
        {
            string name = PythonRepr.Text(arguments.Positional[0]);
            Filter filter = Find(name) ?? throw new EvaluationException($"No filter named '{name}'.");
            Arguments rest = arguments.Skip(1);
            map = item => filter.Invoke(vm, item, rest);
        }

        foreach (TemplateValue item in vm.Iterate(value))
        {
            yield return map(item);
        }
    }

    static IEnumerable<TemplateValue> Choose(
        Interpreter vm,
        TemplateValue value,
        Arguments arguments,
        bool keep,
        bool byAttribute
    )
    {
        if (!value.IsTrue)
        {
            yield break;
        }

        Func<TemplateValue, TemplateValue> getter = item => item;
        if (byAttribute)
        {
            TemplateValue attribute =
                arguments.At(0) ?? throw new EvaluationException("Missing parameter for attribute name");
            getter = Getter(vm, attribute);
            arguments = arguments.Skip(1);
        }

        Filter? test = null;
        if (arguments.At(0) is { } given)
        {
            string name = PythonRepr.Text(given);
            test = Tests.Find(name) ?? throw new EvaluationException($"No test named '{name}'.");
            arguments = arguments.Skip(1);
        }

        foreach (TemplateValue item in vm.Iterate(value))
        {
            TemplateValue subject = getter(item);
            bool passes = test is null ? subject.IsTrue : test.Invoke(vm, subject, arguments).IsTrue;
            if (passes == keep)
            {
                yield return item;
            }
        }
    }
}
