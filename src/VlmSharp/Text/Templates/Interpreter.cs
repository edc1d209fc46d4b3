using System.Numerics;
using System.Runtime.CompilerServices;

namespace VlmSharp.Text.Templates;

/// <summary>Runs one template once: statements, calls and limits.</summary>
internal sealed partial class Interpreter
{
    enum Flow
    {
        Normal,
        Break,
        Continue,
    }

    readonly TemplateProgram program;
    readonly TemplateObject variables;
    readonly RenderLimits limits;
    readonly TextBuilder main;
    readonly List<Range> generation = [];

    // What the top level has set, for blocks; only filled where the template has blocks.
    readonly Dictionary<string, TemplateValue> exports = [];

    TextBuilder output;
    Locals locals;
    long steps;
    int callDepth;
    bool hasOutput;

    public Interpreter(TemplateProgram program, TemplateObject variables, RenderLimits limits, TimeProvider clock)
    {
        this.program = program;
        this.variables = variables;
        this.limits = limits;
        Clock = clock;
        main = output = NewBuilder();
        locals = new Locals(program.Function.SlotCount, null);
    }

    public TimeProvider Clock { get; }

    /// <summary>The line being evaluated, for messages.</summary>
    public int Line { get; private set; } = 1;

    public RenderedPrompt Run()
    {
        if (program.SelfSlot >= 0)
        {
            locals.Slots[program.SelfSlot] = SelfReference();
        }

        Enter(program.Scope);
        Execute(program.Body);
        return new RenderedPrompt(main.ToString(), main.UserRanges(), generation);
    }

    public TextBuilder NewBuilder() => new(limits.MaxTextLength);

    /// <summary>Counts one unit of work.</summary>
    public void Step()
    {
        if (++steps > limits.MaxSteps)
        {
            throw new EvaluationException($"rendering takes more than the limit of {limits.MaxSteps} steps");
        }
    }

    /// <summary>Counts so many units of work.</summary>
    public void Charge(long units)
    {
        steps += units;
        Step();
    }

    /// <summary>Counts the work of making or searching so many characters.</summary>
    public void ChargeText(long characters)
    {
        if (characters >= 16)
        {
            Charge(characters / 16);
        }
    }

    /// <summary>Counts the work of arithmetic with a large integer.</summary>
    public void ChargeInteger(TemplateValue value)
    {
        if (value is IntegerValue integer && integer.Value.GetBitLength() is > 64 and var bits)
        {
            Charge(bits / 4);
        }
    }

    /// <summary>Checks a length that a template asks for before anything of that size is made.</summary>
    public long CheckLength(BigInteger length)
    {
        if (length > limits.MaxTextLength)
        {
            throw new EvaluationException($"a length of {length} is beyond the limit of {limits.MaxTextLength}");
        }

        ChargeText((long)BigInteger.Max(length, 0));
        return (long)BigInteger.Max(length, int.MinValue);
    }

    public RangeValue CreateRange(BigInteger start, BigInteger stop, BigInteger step)
    {
        if (step.IsZero)
        {
            throw new EvaluationException("range() arg 3 must not be zero");
        }

        BigInteger count = RangeValue.CountOf(start, stop, step);
        return count <= limits.MaxRange
            ? new RangeValue(start, stop, step, (int)count)
            : throw new EvaluationException(
                $"Range too big. The sandbox blocks ranges larger than MAX_RANGE ({limits.MaxRange})."
            );
    }

    void EnterCall()
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        Step();
        if (++callDepth > limits.MaxCallDepth)
        {
            throw new EvaluationException(
                $"calls nest more than {limits.MaxCallDepth} deep (maximum recursion depth exceeded)"
            );
        }
    }

    /// <summary>Gives the variables of a scope their first values.</summary>
    void Enter(ScopeLayout scope)
    {
        foreach (ScopeEntry entry in scope.Entries)
        {
            locals.Slots[entry.Slot] =
                entry.Source is { } source ? locals.Outward(source.Hops).Slots[source.Slot]
                : entry.Name is not null ? Resolve(entry.Name)
                : null;
        }
    }

    TemplateValue? Resolve(string name) =>
        (exports.Count > 0 && exports.TryGetValue(name, out TemplateValue? exported) ? exported : null)
        ?? variables.Find(name)
        ?? Globals.Find(name);

    Flow Execute(List<Statement> body)
    {
        foreach (Statement statement in body)
        {
            Flow flow = Execute(statement);
            if (flow != Flow.Normal)
            {
                return flow;
            }
        }

        return Flow.Normal;
    }

    Flow Execute(Statement statement)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        Step();
        Line = statement.Line;
        switch (statement)
        {
            case TextStatement text:
                output.Append(text.Text, user: false);
                NoteOutput();
                return Flow.Normal;
            case PrintStatement print:
                PythonRepr.AppendText(this, output, Evaluate(print.Value));
                NoteOutput();
                return Flow.Normal;
            case SetStatement set:
                CheckNamespace(set.Target);
                Assign(set.Target, Evaluate(set.Value));
                return Flow.Normal;
            case IfStatement choice:
                foreach ((Expression test, List<Statement> body) in choice.Branches)
                {
                    if (Evaluate(test).IsTrue)
                    {
                        return Execute(body);
                    }
                }

                return Execute(choice.Otherwise);
            case ForStatement loop:
                return ExecuteFor(loop);
            case LoopControlStatement control:
                return control.IsBreak ? Flow.Break : Flow.Continue;
            case MacroStatement macro:
                Assign(macro.Target, new MacroValue(macro.Definition, locals));
                return Flow.Normal;
            case CallStatement call:
                MacroValue caller = new(call.Caller, locals);
                PythonRepr.AppendText(this, output, EvaluateCall(call.Call, caller));
                NoteOutput();
                return Flow.Normal;
            case GenerationStatement block:
                ExecuteGeneration(block);
                return Flow.Normal;
            case SetBlockStatement set:
                return ExecuteCapture(
                    set.Scope,
                    set.Body,
                    set.Filter,
                    text =>
                    {
                        CheckNamespace(set.Target);
                        Assign(set.Target, text);
                    }
                );
            case FilterStatement filter:
                return ExecuteCapture(
                    filter.Scope,
                    filter.Body,
                    filter.Filter,
                    text =>
                    {
                        PythonRepr.AppendText(this, output, text);
                        NoteOutput();
                    }
                );
            case WithStatement with:
                // The values are those of the surrounding scope, the targets are already inside.
                Enter(with.Scope);
                foreach ((Target target, Expression value) in with.Variables)
                {
                    Assign(target, Evaluate(value));
                }

                return Execute(with.Body);
            case ScopeStatement scope:
                Enter(scope.Scope);
                if (Evaluate(scope.Option).IsTrue)
                {
                    throw new EvaluationException("autoescape is not supported: prompts are not HTML");
                }

                return Execute(scope.Body);
            case BlockStatement block:
                if (block.IsRequired)
                {
                    throw new EvaluationException($"Required block '{block.Name}' not found");
                }

                output.Append(RenderBlock(block));
                NoteOutput();
                return Flow.Normal;
            case LoadStatement load:
                Evaluate(load.Template);
                throw new EvaluationException(
                    "there is no loader: a chat template cannot include, import or extend another"
                );
            default:
                throw new InvalidOperationException($"unknown statement {statement.GetType().Name}");
        }
    }

    void NoteOutput() => hasOutput |= ReferenceEquals(output, main);

    Flow ExecuteFor(ForStatement loop)
    {
        TemplateValue items = Evaluate(loop.Items);
        if (!loop.IsRecursive)
        {
            return RunLoop(loop, items, 0, null);
        }

        output.Append(RenderRecursive(loop, locals, items, 0));
        NoteOutput();
        return Flow.Normal;
    }

    TextValue RenderRecursive(ForStatement loop, Locals closure, TemplateValue items, int depth0)
    {
        EnterCall();
        (Locals savedLocals, TextBuilder savedOutput) = (locals, output);
        locals = new Locals(loop.Function!.SlotCount, closure);
        output = NewBuilder();
        RunLoop(loop, items, depth0, (vm, inner, depth) => vm.RenderRecursive(loop, closure, inner, depth));
        TextValue text = output.ToValue();
        (locals, output) = (savedLocals, savedOutput);
        callDepth--;
        return text;
    }

    Flow RunLoop(
        ForStatement loop,
        TemplateValue source,
        int depth0,
        Func<Interpreter, TemplateValue, int, TemplateValue>? recurse
    )
    {
        if (loop.Test is not null)
        {
            source = new IteratorValue(Filtered(loop, Iterate(source), locals));
        }

        bool completed = false;
        Flow flow = Flow.Normal;
        using IEnumerator<TemplateValue> items = Iterate(source).GetEnumerator();
        LoopValue? state = loop.LoopSlot >= 0 ? new LoopValue(source, items, depth0, recurse) : null;
        while (flow != Flow.Break && (state?.MoveNext() ?? items.MoveNext()))
        {
            Step();
            if (state is not null)
            {
                locals.Slots[loop.LoopSlot] = state;
            }

            Assign(loop.Target, state is null ? items.Current : state.Current);
            Enter(loop.Scope);
            flow = Execute(loop.Body);
            // As in jinja2, the else branch asks whether any round got to its end.
            completed |= flow == Flow.Normal;
        }

        if (loop.Otherwise.Count > 0 && !completed)
        {
            Enter(loop.OtherwiseScope);
            return Execute(loop.Otherwise);
        }

        return Flow.Normal;
    }

    /// <summary>The items that pass the loop's test, which runs in a scope of its own, whenever the next item is asked for.</summary>
    IEnumerable<TemplateValue> Filtered(ForStatement loop, IEnumerable<TemplateValue> items, Locals home)
    {
        bool entered = false;
        foreach (TemplateValue item in items)
        {
            Locals saved = locals;
            locals = home;
            if (!entered)
            {
                Enter(loop.TestScope);
                entered = true;
            }

            Assign(loop.TestTarget!, item);
            bool passes = Evaluate(loop.Test!).IsTrue;
            locals = saved;
            if (passes)
            {
                yield return item;
            }
        }
    }

    Flow ExecuteCapture(ScopeLayout scope, List<Statement> body, Expression? filter, Action<TemplateValue> use)
    {
        TextBuilder saved = output;
        output = NewBuilder();
        Enter(scope);
        Flow flow = Execute(body);
        TemplateValue text = output.ToValue();
        output = saved;
        if (flow == Flow.Normal)
        {
            use(filter is null ? text : EvaluateBlockFilter(filter, text));
        }

        return flow;
    }

    /// <summary>The filters of a block; the innermost has no target of its own.</summary>
    TemplateValue EvaluateBlockFilter(Expression filter, TemplateValue text)
    {
        FilterExpression expression = (FilterExpression)filter;
        TemplateValue target = expression.Target is null ? text : EvaluateBlockFilter(expression.Target, text);
        return ApplyFilter(expression, target);
    }

    void ExecuteGeneration(GenerationStatement block)
    {
        TextValue text = CallMacro(new MacroValue(block.Body, locals), new Arguments([]));
        // transformers asks whether it has any output or block yet, and counts what has left the template.
        if (hasOutput || generation.Count > 0)
        {
            generation.Add(main.Length..(main.Length + text.Text.Length));
        }

        output.Append(text);
        NoteOutput();
    }

    TextValue RenderBlock(BlockStatement block)
    {
        EnterCall();
        (Locals savedLocals, TextBuilder savedOutput) = (locals, output);
        locals = new Locals(block.Function.SlotCount, null);
        output = NewBuilder();
        if (block.SelfSlot >= 0)
        {
            locals.Slots[block.SelfSlot] = SelfReference();
        }

        Enter(block.Scope);
        Execute(block.Body);
        TextValue text = output.ToValue();
        (locals, output) = (savedLocals, savedOutput);
        callDepth--;
        return text;
    }

    FunctionValue SelfReference() =>
        new(
            "None",
            "TemplateReference",
            (_, _) => throw new EvaluationException("'TemplateReference' object is not callable"),
            name =>
                program.Blocks.TryGetValue(name, out BlockStatement? block)
                    ? new FunctionValue(name, "BlockReference", (vm, _) => vm.RenderBlock(block))
                    : null
        );

    public TextValue CallMacro(MacroValue macro, Arguments arguments)
    {
        EnterCall();
        MacroDefinition definition = macro.Definition;
        Locals inside = new(definition.Function.SlotCount, macro.Closure);
        BindMacroArguments(definition, inside, arguments);

        (Locals savedLocals, TextBuilder savedOutput, int savedLine) = (locals, output, Line);
        locals = inside;
        output = NewBuilder();
        Enter(definition.Scope);
        foreach (MacroParameter parameter in definition.Parameters)
        {
            ref TemplateValue? slot = ref inside.Slots[parameter.Target.Variable.Slot];
            if (slot is null)
            {
                TemplateValue value = parameter.Default is null
                    ? UndefinedValue.Because($"parameter '{parameter.Target.Name}' was not provided")
                    : Evaluate(parameter.Default);
                slot = value;
            }
        }

        Execute(definition.Body);
        TextValue text = output.ToValue();
        (locals, output, Line) = (savedLocals, savedOutput, savedLine);
        callDepth--;
        return text;
    }

    static void BindMacroArguments(MacroDefinition macro, Locals inside, Arguments arguments)
    {
        int count = macro.Parameters.Count;
        TemplateValue[] positional = arguments.Positional;
        List<(string Name, TemplateValue Value)> keywords =
            arguments.Keywords.Count == 0 ? [] : [.. arguments.Keywords];
        for (int i = 0; i < count; i++)
        {
            inside.Slots[macro.Parameters[i].Target.Variable.Slot] =
                i < positional.Length ? positional[i] : Take(macro.Parameters[i].Target.Name);
        }

        if (macro.CallerSlot >= 0)
        {
            inside.Slots[macro.CallerSlot] = Take("caller") is { } caller and not NoneValue
                ? caller
                : UndefinedValue.Because("No caller defined");
        }

        string shown = macro.Name is null ? "None" : PythonRepr.Quote(macro.Name);
        if (macro.KeywordsSlot >= 0)
        {
            inside.Slots[macro.KeywordsSlot] = new Arguments([], keywords).KeywordObject();
        }
        else if (keywords.Count > 0)
        {
            throw new EvaluationException($"macro {shown} takes no keyword argument '{keywords[0].Name}'");
        }

        if (macro.VarargsSlot >= 0)
        {
            inside.Slots[macro.VarargsSlot] = TemplateList.Tuple([.. positional.Skip(count)]);
        }
        else if (positional.Length > count)
        {
            throw new EvaluationException($"macro {shown} takes not more than {count} argument(s)");
        }

        TemplateValue? Take(string name)
        {
            int at = keywords.FindIndex(k => k.Name == name);
            if (at < 0)
            {
                return null;
            }

            TemplateValue value = keywords[at].Value;
            keywords.RemoveAt(at);
            return value;
        }
    }

    void CheckNamespace(Target target)
    {
        switch (target)
        {
            case NamespaceTarget attribute when Find(attribute.Owner) is not NamespaceValue:
                throw new EvaluationException("cannot assign attribute on non-namespace object");
            case TupleTarget tuple:
                tuple.Items.ForEach(CheckNamespace);
                break;
        }
    }

    void Assign(Target target, TemplateValue value)
    {
        switch (target)
        {
            case NameTarget name:
                locals.Outward(name.Variable.Hops).Slots[name.Variable.Slot] = value;
                if (name.IsExported)
                {
                    exports[name.Name] = value;
                }

                break;
            case NamespaceTarget attribute:
                ((NamespaceValue)Find(attribute.Owner)!).Values[attribute.Attribute] = value;
                break;
            case TupleTarget tuple:
                AssignAll(tuple, value);
                break;
        }
    }

    void AssignAll(TupleTarget tuple, TemplateValue value)
    {
        if (!IsIterable(value))
        {
            throw new EvaluationException($"cannot unpack non-iterable {value.TypeName} object");
        }

        List<TemplateValue> values = [];
        foreach (TemplateValue item in Iterate(value))
        {
            values.Add(item);
            if (values.Count > tuple.Items.Count)
            {
                throw new EvaluationException($"too many values to unpack (expected {tuple.Items.Count})");
            }
        }

        if (values.Count < tuple.Items.Count)
        {
            throw new EvaluationException(
                $"not enough values to unpack (expected {tuple.Items.Count}, got {values.Count})"
            );
        }

        for (int i = 0; i < values.Count; i++)
        {
            Assign(tuple.Items[i], values[i]);
        }
    }
}
