using System.Numerics;
using System.Runtime.CompilerServices;

namespace VlmSharp.Text.Templates;

/// <content>Expressions: names, attributes, calls, filters, sequences.</content>
internal sealed partial class Interpreter
{
    // Attributes every Python object has; the sandbox hides them, so that they hide keys of the same name.
    static readonly HashSet<string> ObjectAttributes =
    [
        "__class__",
        "__delattr__",
        "__dir__",
        "__doc__",
        "__eq__",
        "__format__",
        "__ge__",
        "__getattribute__",
        "__getstate__",
        "__gt__",
        "__hash__",
        "__init__",
        "__init_subclass__",
        "__le__",
        "__lt__",
        "__ne__",
        "__new__",
        "__reduce__",
        "__reduce_ex__",
        "__repr__",
        "__setattr__",
        "__sizeof__",
        "__str__",
        "__subclasshook__",
    ];

    public TemplateValue Evaluate(Expression expression)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        Step();
        switch (expression)
        {
            case ConstantExpression constant:
                return constant.Value;
            case NameExpression name:
                return Find(name) ?? UndefinedValue.Named(name.Name);
            case AttributeExpression attribute:
                return GetAttribute(Evaluate(attribute.Target), attribute.NameValue);
            case ItemExpression { Index: SliceExpression slice } item:
                return EvaluateSlice(Evaluate(item.Target), slice);
            case ItemExpression item:
                return GetItem(Evaluate(item.Target), Evaluate(item.Index));
            case BinaryExpression { Operator: BinaryOperator.And } and:
                return Evaluate(and.Left) is { IsTrue: false } falsy ? falsy : Evaluate(and.Right);
            case BinaryExpression { Operator: BinaryOperator.Or } or:
                return Evaluate(or.Left) is { IsTrue: true } truthy ? truthy : Evaluate(or.Right);
            case BinaryExpression binary:
                return Calculate(binary.Operator, Evaluate(binary.Left), Evaluate(binary.Right));
            case CompareExpression compare:
                return EvaluateCompare(compare);
            case UnaryExpression { Operator: UnaryOperator.Not } not:
                return !Evaluate(not.Operand).IsTrue;
            case UnaryExpression unary:
                return Signed(unary.Operator, Evaluate(unary.Operand));
            case ConcatExpression concat:
                return Concat(concat);
            case CallExpression call:
                return EvaluateCall(call, caller: null);
            case FilterExpression filter:
                return ApplyFilter(filter, Evaluate(filter.Target!));
            case TestExpression test:
                Filter known = test.Test ?? throw new EvaluationException($"No test named '{test.Name}'.");
                return known.Invoke(this, Evaluate(test.Target), EvaluateArguments(test.Arguments));
            case ConditionalExpression choice:
                return Evaluate(choice.Test).IsTrue ? Evaluate(choice.Then)
                    : choice.Otherwise is not null ? Evaluate(choice.Otherwise)
                    : UndefinedValue.Because(
                        $"the inline if-expression on line {choice.Line} evaluated to false and no else section was defined."
                    );
            case SequenceExpression sequence:
                List<TemplateValue> items = new(sequence.Items.Count);
                foreach (Expression item in sequence.Items)
                {
                    items.Add(Evaluate(item));
                }

                return new TemplateList(items, sequence.IsTuple ? TemplateList.SequenceKind.Tuple : default);
            case DictionaryExpression dictionary:
                TemplateObject result = [];
                foreach ((Expression key, Expression value) in dictionary.Pairs)
                {
                    TemplateValue keyValue = Evaluate(key);
                    CheckKey(keyValue);
                    result.SetKey(keyValue, Evaluate(value));
                }

                return result;
            case SliceExpression:
                throw new EvaluationException("a slice must be the only subscript");
            default:
                throw new InvalidOperationException($"unknown expression {expression.GetType().Name}");
        }
    }

    TemplateValue? Find(NameExpression name) => locals.Outward(name.Variable.Hops).Slots[name.Variable.Slot];

    TextValue Concat(ConcatExpression concat)
    {
        TextBuilder text = NewBuilder();
        foreach (Expression part in concat.Parts)
        {
            PythonRepr.AppendText(this, text, Evaluate(part));
        }

        return text.ToValue();
    }

    TemplateValue ApplyFilter(FilterExpression filter, TemplateValue value)
    {
        Filter known = filter.Filter ?? throw new EvaluationException($"No filter named '{filter.Name}'.");
        return known.Invoke(this, value, EvaluateArguments(filter.Arguments));
    }

    TemplateValue EvaluateCall(CallExpression call, MacroValue? caller)
    {
        if (call.Target is AttributeExpression attribute)
        {
            // A method is called without making a value of it first.
            TemplateValue owner = Evaluate(attribute.Target);
            return Methods.Get(owner, attribute.Name) is { } method
                ? method.Invoke(this, owner, EvaluateArguments(call.Arguments, caller))
                : Call(GetAttribute(owner, attribute.NameValue), EvaluateArguments(call.Arguments, caller));
        }

        return Call(Evaluate(call.Target), EvaluateArguments(call.Arguments, caller));
    }

    public TemplateValue Call(TemplateValue function, Arguments arguments)
    {
        Step();
        switch (function)
        {
            case MacroValue macro:
                return CallMacro(macro, arguments);
            case FunctionValue builtin:
                return builtin.Call(this, arguments);
            case LoopValue loop:
                return loop.Call(this, arguments);
            case UndefinedValue undefined:
                undefined.Throw();
                return undefined;
            default:
                throw new EvaluationException($"'{function.TypeName}' object is not callable");
        }
    }

    Arguments EvaluateArguments(ArgumentExpressions expressions, MacroValue? caller = null)
    {
        if (ReferenceEquals(expressions, ArgumentExpressions.None) && caller is null)
        {
            return new Arguments([]);
        }

        TemplateValue[] positional = new TemplateValue[expressions.Positional.Count];
        for (int i = 0; i < positional.Length; i++)
        {
            positional[i] = Evaluate(expressions.Positional[i]);
        }

        List<(string Name, TemplateValue Value)>? keywords = null;
        foreach ((string name, Expression value) in expressions.Keywords)
        {
            (keywords ??= []).Add((name, Evaluate(value)));
        }

        if (caller is not null)
        {
            (keywords ??= []).Add(("caller", caller));
        }

        if (expressions.Star is not null)
        {
            positional = [.. positional, .. Iterate(Evaluate(expressions.Star))];
        }

        if (expressions.DoubleStar is not null)
        {
            TemplateObject mapping =
                Evaluate(expressions.DoubleStar) as TemplateObject
                ?? throw new EvaluationException("argument after ** must be a mapping");
            foreach ((TemplateValue key, TemplateValue value) in mapping.Entries)
            {
                string name = key is TextValue text
                    ? text.Text
                    : throw new EvaluationException("keywords must be strings");
                if (keywords?.Exists(k => k.Name == name) == true)
                {
                    throw new EvaluationException($"got multiple values for keyword argument '{name}'");
                }

                (keywords ??= []).Add((name, value));
            }
        }

        return new Arguments(positional, keywords);
    }

    /// <summary><c>value.name</c>: the attribute if there is one, else the key.</summary>
    public TemplateValue GetAttribute(TemplateValue value, TextValue name) =>
        SafeAttribute(value, name.Text) ?? Subscript(value, name) ?? UndefinedValue.Missing(value, name);

    /// <summary><c>value[key]</c>: the item if there is one, else the attribute.</summary>
    public TemplateValue GetItem(TemplateValue value, TemplateValue key) =>
        Subscript(value, key)
        ?? (key is TextValue name ? SafeAttribute(value, name.Text) : null)
        ?? UndefinedValue.Missing(value, key);

    /// <summary>The attribute, something undefined where the sandbox hides it, or null where there is none.</summary>
    static TemplateValue? SafeAttribute(TemplateValue value, string name)
    {
        if (ObjectAttributes.Contains(name) || Methods.IsMutating(value, name))
        {
            return UndefinedValue.Unsafe(value, name);
        }

        TemplateValue? attribute = value.Attribute(name);
        return attribute is not null && name.StartsWith('_') ? UndefinedValue.Unsafe(value, name) : attribute;
    }

    /// <summary>What Python's [] finds, or null.</summary>
    TemplateValue? Subscript(TemplateValue value, TemplateValue key)
    {
        switch (value)
        {
            case TemplateObject dictionary:
                return FindUnhashable(key) is null ? dictionary.Find(key) : null;
            case TemplateList list:
                return Position(key, list.Count) is { } at ? list.Items[at] : null;
            case TextValue text when Python.TryInteger(key, out _):
                ChargeText(text.HasSurrogates ? text.Text.Length : 0);
                if (Position(key, text.Count) is not { } index)
                {
                    return null;
                }

                int offset = CodePoints.Offset(text, index);
                return text.Slice(offset, CodePoints.LengthAt(text.Text, offset));
            case RangeValue range:
                return Position(key, range.Length) is { } item ? range[item] : null;
            case UndefinedValue undefined:
                undefined.Throw();
                return null;
            default:
                return null;
        }
    }

    static int? Position(TemplateValue key, int count)
    {
        if (!Python.TryInteger(key, out BigInteger index))
        {
            return null;
        }

        index += index.Sign < 0 ? count : 0;
        return index.Sign >= 0 && index < count ? (int)index : null;
    }

    TemplateValue EvaluateSlice(TemplateValue value, SliceExpression slice)
    {
        BigInteger? start = Bound(slice.Start);
        BigInteger? stop = Bound(slice.Stop);
        BigInteger step = Bound(slice.Step) ?? 1;
        switch (value)
        {
            case TemplateList or TextValue or RangeValue:
                break;
            case UndefinedValue undefined:
                undefined.Throw();
                break;
            case TemplateObject:
                throw new EvaluationException("unhashable type: 'slice'");
            default:
                throw new EvaluationException($"'{value.TypeName}' object is not subscriptable");
        }

        if (step.IsZero)
        {
            throw new EvaluationException("slice step cannot be zero");
        }

        int count = value.Count;
        bool forward = step.Sign > 0;
        int first = Clamp(start, forward ? 0 : count - 1);
        int last = Clamp(stop, forward ? count : -1);
        int length = (int)RangeValue.CountOf(first, last, step);
        switch (value)
        {
            case TemplateList list:
                Charge(length);
                List<TemplateValue> items = new(length);
                for (int i = 0; i < length; i++)
                {
                    items.Add(list.Items[first + i * (int)step]);
                }

                return new TemplateList(items, list.IsTuple ? TemplateList.SequenceKind.Tuple : default);
            case RangeValue range:
                BigInteger from = range.Start + first * range.Step;
                return CreateRange(from, range.Start + last * range.Step, range.Step * step);
            default:
                return SliceText((TextValue)value, first, length, step);
        }

        // A negative bound counts from the end; a step other than 1 walks between the same two fences.
        int Clamp(BigInteger? bound, int missing)
        {
            if (bound is not { } index)
            {
                return missing;
            }

            index += index.Sign < 0 ? count : 0;
            BigInteger low = forward ? 0 : -1;
            BigInteger high = forward ? count : count - 1;
            return (int)BigInteger.Min(BigInteger.Max(index, low), high);
        }
    }

    BigInteger? Bound(Expression? expression)
    {
        if (expression is null)
        {
            return null;
        }

        TemplateValue value = Evaluate(expression);
        return value is NoneValue ? null
            : Python.TryInteger(value, out BigInteger bound) ? bound
            : throw new EvaluationException("slice indices must be integers or None or have an __index__ method");
    }

    TextValue SliceText(TextValue text, int first, int length, BigInteger step)
    {
        if (length <= 0)
        {
            return TextValue.Empty;
        }

        ChargeText(text.Text.Length);
        if (step.IsOne)
        {
            int start = CodePoints.Offset(text, first);
            int end = text.HasSurrogates
                ? start + CodePoints.Offset(text.Slice(start, text.Text.Length - start), length)
                : first + length;
            return text.Slice(start, end - start);
        }

        int[] offsets = CodePointOffsets(text.Text);
        TextBuilder builder = NewBuilder();
        for (int i = 0; i < length; i++)
        {
            int offset = offsets[first + i * (int)step];
            builder.Append(text, offset, CodePoints.LengthAt(text.Text, offset));
        }

        TextValue result = builder.ToValue();
        return text.IsMarkup ? result.AsMarkup() : result;
    }

    static int[] CodePointOffsets(string text)
    {
        List<int> offsets = new(text.Length);
        for (int i = 0; i < text.Length; i += CodePoints.LengthAt(text, i))
        {
            offsets.Add(i);
        }

        return [.. offsets];
    }

    public static bool IsIterable(TemplateValue value) =>
        value
            is TemplateList
                or TextValue
                or TemplateObject
                or RangeValue
                or DictionaryView
                or IteratorValue
                or UndefinedValue
                or LoopValue;

    /// <summary>Walks through the items of a value; every item is counted.</summary>
    public IEnumerable<TemplateValue> Iterate(TemplateValue value) =>
        value switch
        {
            TemplateList list => IterateIndexed(list.Count, i => list.Items[i]),
            TemplateObject dictionary => IterateIndexed(dictionary.Count, i => dictionary.Entries[i].Key),
            DictionaryView view => IterateIndexed(view.Count, i => view[i]),
            RangeValue range => IterateIndexed(range.Length, i => range[i]),
            TextValue text => IterateCharacters(text),
            IteratorValue iterator => IterateRemaining(iterator),
            LoopValue loop => IterateLoop(loop),
            UndefinedValue => [],
            _ => throw new EvaluationException($"'{value.TypeName}' object is not iterable"),
        };

    IEnumerable<TemplateValue> IterateIndexed(int count, Func<int, TemplateValue> item)
    {
        for (int i = 0; i < count; i++)
        {
            Step();
            yield return item(i);
        }
    }

    IEnumerable<TemplateValue> IterateCharacters(TextValue text)
    {
        for (int i = 0; i < text.Text.Length; )
        {
            Step();
            int length = CodePoints.LengthAt(text.Text, i);
            yield return text.Slice(i, length);
            i += length;
        }
    }

    IEnumerable<TemplateValue> IterateRemaining(IteratorValue iterator)
    {
        while (true)
        {
            // A lazy sequence may read from another, and that from a third.
            RuntimeHelpers.EnsureSufficientExecutionStack();
            Step();
            if (!iterator.Items.MoveNext())
            {
                yield break;
            }

            yield return iterator.Items.Current;
        }
    }

    IEnumerable<TemplateValue> IterateLoop(LoopValue loop)
    {
        while (loop.MoveNext())
        {
            Step();
            yield return TemplateList.Tuple(loop.Current, loop);
        }
    }

    public List<TemplateValue> ToList(TemplateValue value) => [.. Iterate(value)];

    /// <summary>The part of a value that keeps it from being a key, or null; all parts are counted.</summary>
    TemplateValue? FindUnhashable(TemplateValue key)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        Step();
        switch (key)
        {
            case TemplateList { IsTuple: true } tuple:
                foreach (TemplateValue item in tuple.Items)
                {
                    if (FindUnhashable(item) is { } unhashable)
                    {
                        return unhashable;
                    }
                }

                return null;
            case TemplateList or TemplateObject or DictionaryView or NamespaceValue:
                return key;
            default:
                return null;
        }
    }

    /// <summary>Refuses what cannot be a key.</summary>
    public void CheckKey(TemplateValue key)
    {
        if (FindUnhashable(key) is { } unhashable)
        {
            throw new EvaluationException($"unhashable type: '{unhashable.TypeName}'");
        }
    }
}
