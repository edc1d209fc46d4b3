using System.Runtime.CompilerServices;

namespace VlmSharp.Text.Templates;

/// <summary>A template ready to run: every name is bound to a slot.</summary>
internal sealed record TemplateProgram(
    List<Statement> Body,
    FunctionLayout Function,
    ScopeLayout Scope,
    int SelfSlot,
    Dictionary<string, BlockStatement> Blocks
);

/// <summary>Decides, as jinja2's compiler does, which variable each name means, and refuses what jinja2 refuses when it compiles.</summary>
/// <remarks>
/// The rules are those of <c>jinja2.idtracking</c>: a scope (template, loop body, macro, call block, with, captured block) is
/// looked through once before it runs. A name it reads first comes from outside; a name it sets first is its own and starts undefined,
/// unless an outer scope has it, or it is set in a branch only: then it starts with the outer value or the template's input.
/// </remarks>
internal sealed class Binder
{
    readonly Dictionary<string, BlockStatement> blocks = [];

    /// <param name="Scope">Where names are looked up.</param>
    /// <param name="Soft">Whether an unknown filter is an error only when it is reached: directly inside an if.</param>
    /// <param name="Top">Whether assignments are visible to blocks.</param>
    /// <param name="InLoop">Whether break and continue have a loop to act on.</param>
    readonly record struct Place(Scope Scope, bool Soft = false, bool Top = false, bool InLoop = false)
    {
        public Place Inner(Scope scope) => new(scope, InLoop: InLoop);
    }

    public static TemplateProgram Bind(List<Statement> body)
    {
        Binder binder = new();
        binder.FindBlocks(body);
        (FunctionLayout function, Scope scope) = Scope.NewFunction(null);
        int self = DeclareIfUsed(scope, body, "self");
        Collect(scope, body);
        binder.BindAll(body, new Place(scope, Top: true));
        foreach (BlockStatement block in binder.blocks.Values)
        {
            binder.BindBlock(block);
        }

        return new TemplateProgram(body, function, scope.Layout(), self, binder.blocks);
    }

    void FindBlocks(IEnumerable<Node> nodes)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        foreach (Node node in nodes)
        {
            if (node is BlockStatement block && !blocks.TryAdd(block.Name, block))
            {
                throw new TemplateSyntaxException(block.Line, $"block '{block.Name}' is defined twice");
            }

            if (node is Statement)
            {
                FindBlocks(NodeChildren.Of(node));
            }
        }
    }

    void BindBlock(BlockStatement block)
    {
        // A block sees the template's inputs and what the top level set, but no local variables.
        (block.Function, Scope scope) = Scope.NewFunction(null);
        block.SelfSlot = DeclareIfUsed(scope, block.Body, "self");
        Collect(scope, block.Body);
        block.Scope = scope.Layout();
        BindAll(block.Body, new Place(scope));
    }

    static int DeclareIfUsed(Scope scope, IEnumerable<Node> body, string name) =>
        Uses(body, name) ? scope.DeclareParameter(name) : -1;

    /// <summary>Whether the nodes read a name before they set it themselves.</summary>
    static bool Uses(IEnumerable<Node> nodes, string name)
    {
        bool hidden = false;
        return Search(nodes);

        bool Search(IEnumerable<Node> nodes)
        {
            RuntimeHelpers.EnsureSufficientExecutionStack();
            foreach (Node node in nodes)
            {
                hidden |= node is NameTarget target && target.Name == name;
                if (!hidden && node is NameExpression read && read.Name == name)
                {
                    return true;
                }

                if (node is not BlockStatement && Search(NodeChildren.Of(node)))
                {
                    return true;
                }
            }

            return false;
        }
    }

    static void Collect(Scope scope, IEnumerable<Node> nodes)
    {
        foreach (Node node in nodes)
        {
            Collect(scope, node);
        }
    }

    /// <summary>Notes in which order a scope reads and sets names; inner scopes are left for later.</summary>
    static void Collect(Scope scope, Node node)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        switch (node)
        {
            case NameExpression name:
                scope.Read(name.Name);
                break;
            case NameTarget target:
                scope.Store(target.Name);
                break;
            case SetStatement set:
                Collect(scope, set.Value);
                Collect(scope, set.Target);
                break;
            case SetBlockStatement set:
                Collect(scope, set.Target);
                break;
            case MacroStatement macro:
                scope.Store(macro.Target.Name);
                break;
            case ForStatement loop:
                Collect(scope, loop.Items);
                break;
            case CallStatement call:
                Collect(scope, call.Call);
                break;
            case FilterStatement filter:
                Collect(scope, filter.Filter);
                break;
            case WithStatement with:
                Collect(scope, with.Variables.Select(v => v.Value));
                break;
            case GenerationStatement or BlockStatement or ScopeStatement:
                break;
            case IfStatement choice:
                CollectBranches(scope, choice.Branches, 0, choice.Otherwise);
                break;
            default:
                Collect(scope, NodeChildren.Of(node));
                break;
        }
    }

    static void CollectBranches(
        Scope scope,
        List<(Expression Test, List<Statement> Body)> branches,
        int first,
        List<Statement> otherwise
    )
    {
        Collect(scope, branches[first].Test);
        Scope body = scope.Copy();
        Collect(body, branches[first].Body);
        Scope elifs = scope.Copy();
        if (first == 0)
        {
            for (int i = 1; i < branches.Count; i++)
            {
                CollectBranches(elifs, branches, i, []);
            }
        }

        Scope last = scope.Copy();
        Collect(last, otherwise);
        scope.Merge(body, elifs, last);
    }

    void BindAll(IEnumerable<Node> nodes, Place place)
    {
        foreach (Node node in nodes)
        {
            Bind(node, place);
        }
    }

    void Bind(Node node, Place place)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        Scope scope = place.Scope;
        switch (node)
        {
            case NameExpression name:
                name.Variable = scope.Reference(name.Name);
                break;
            case NameTarget target:
                target.Variable = scope.Reference(target.Name);
                target.IsExported = place.Top && blocks.Count > 0;
                break;
            case FilterExpression filter:
                CheckKnown(filter.Filter, "filter", filter.Name, filter.Line, place);
                BindAll(NodeChildren.Of(filter), place);
                break;
            case TestExpression test:
                CheckKnown(test.Test, "test", test.Name, test.Line, place);
                BindAll(NodeChildren.Of(test), place);
                break;
            case ConditionalExpression or IfStatement:
                BindAll(NodeChildren.Of(node), place with { Soft = true });
                break;
            case SetBlockStatement set:
                Scope captured = scope.Inner();
                Collect(captured, set.Body);
                Collect(captured, NodeChildren.Optional(set.Filter));
                set.Scope = captured.Layout();
                BindAll(set.Body, place.Inner(captured));
                BindAll(NodeChildren.Optional(set.Filter), place.Inner(captured));
                Bind(set.Target, place);
                break;
            case FilterStatement filter:
                Scope filtered = scope.Inner();
                Collect(filtered, NodeChildren.Of(filter));
                filter.Scope = filtered.Layout();
                BindAll(NodeChildren.Of(filter), place.Inner(filtered));
                break;
            case WithStatement with:
                BindWith(with, place);
                break;
            case ScopeStatement inner:
                Scope own = scope.Inner();
                Collect(own, NodeChildren.Of(inner));
                inner.Scope = own.Layout();
                BindAll(NodeChildren.Of(inner), place.Inner(own));
                break;
            case ForStatement loop:
                BindLoop(loop, place);
                break;
            case LoopControlStatement control when !place.InLoop:
                throw new TemplateSyntaxException(
                    control.Line,
                    $"'{(control.IsBreak ? "break" : "continue")}' outside of a loop"
                );
            case MacroStatement macro:
                BindMacro(macro.Definition, macro.Line, place);
                Bind(macro.Target, place);
                break;
            case CallStatement call:
                BindMacro(call.Caller, call.Line, place);
                Bind(call.Call, place);
                break;
            case GenerationStatement generation:
                BindMacro(generation.Body, generation.Line, place);
                break;
            case BlockStatement:
                break;
            default:
                BindAll(NodeChildren.Of(node), place);
                break;
        }
    }

    static void CheckKnown(Filter? found, string kind, string name, int line, Place place)
    {
        if (found is null && !place.Soft)
        {
            throw new TemplateSyntaxException(line, $"there is no {kind} named '{name}'");
        }
    }

    void BindWith(WithStatement with, Place place)
    {
        Scope scope = place.Scope.Inner();
        foreach ((Target target, _) in with.Variables)
        {
            DeclareTarget(scope, target);
        }

        Collect(scope, with.Body);
        with.Scope = scope.Layout();
        Place inner = place.Inner(scope);
        foreach ((Target target, Expression value) in with.Variables)
        {
            Bind(value, place);
            Bind(target, inner);
        }

        BindAll(with.Body, inner);
    }

    static void DeclareTarget(Scope scope, Target target)
    {
        switch (target)
        {
            case NameTarget name:
                scope.DeclareParameter(name.Name);
                break;
            case TupleTarget tuple:
                tuple.Items.ForEach(item => DeclareTarget(scope, item));
                break;
        }
    }

    void BindLoop(ForStatement loop, Place place)
    {
        if (Assigns([loop], "loop"))
        {
            throw new TemplateSyntaxException(loop.Line, "the special variable 'loop' cannot be set inside a loop");
        }

        Bind(loop.Items, place);
        Scope outer = place.Scope;
        if (loop.IsRecursive)
        {
            (loop.Function, outer) = Scope.NewFunction(outer);
        }

        Scope body = outer.Inner();
        loop.LoopSlot = loop.IsRecursive ? body.DeclareParameter("loop") : DeclareIfUsed(body, loop.Body, "loop");
        DeclareTarget(body, loop.Target);
        Collect(body, loop.Body);
        loop.Scope = body.Layout();
        Place inside = new(body, InLoop: true);
        Bind(loop.Target, inside);
        BindAll(loop.Body, inside);

        if (loop.Test is not null)
        {
            Scope test = outer.Inner();
            DeclareTarget(test, loop.TestTarget!);
            Collect(test, loop.Test);
            loop.TestScope = test.Layout();
            Bind(loop.TestTarget!, place.Inner(test));
            Bind(loop.Test, place.Inner(test));
        }

        Scope otherwise = outer.Inner();
        Collect(otherwise, loop.Otherwise);
        loop.OtherwiseScope = otherwise.Layout();
        BindAll(loop.Otherwise, place.Inner(otherwise) with { InLoop = place.InLoop && !loop.IsRecursive });
    }

    static bool Assigns(IEnumerable<Node> nodes, string name)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        foreach (Node node in nodes)
        {
            bool assigns = node switch
            {
                ForStatement loop => Names(loop.Target),
                SetStatement set => Names(set.Target),
                SetBlockStatement set => Names(set.Target),
                _ => false,
            };
            if (assigns || (node is Statement && Assigns(NodeChildren.Of(node), name)))
            {
                return true;
            }
        }

        return false;

        bool Names(Target target) =>
            target switch
            {
                NameTarget single => single.Name == name,
                TupleTarget tuple => tuple.Items.Exists(Names),
                _ => false,
            };
    }

    void BindMacro(MacroDefinition macro, int line, Place place)
    {
        (macro.Function, Scope scope) = Scope.NewFunction(place.Scope);
        foreach (MacroParameter parameter in macro.Parameters)
        {
            scope.DeclareParameter(parameter.Target.Name);
        }

        MacroParameter? caller = macro.Parameters.Find(p => p.Target.Name == "caller");
        if (Uses(macro.Body, "caller"))
        {
            if (caller is { Default: null })
            {
                throw new TemplateSyntaxException(line, "a parameter named 'caller' needs a default");
            }

            macro.CallerSlot = caller is null ? scope.DeclareParameter("caller") : -1;
            macro.AccessesCaller = true;
        }

        macro.KeywordsSlot = Implicit("kwargs");
        macro.VarargsSlot = Implicit("varargs");
        Collect(scope, macro.Parameters.Select(p => p.Default).OfType<Expression>());
        Collect(scope, macro.Body);
        macro.Scope = scope.Layout();
        Place inside = new(scope);
        foreach (MacroParameter parameter in macro.Parameters)
        {
            Bind(parameter.Target, inside);
            BindAll(NodeChildren.Optional(parameter.Default), inside);
        }

        BindAll(macro.Body, inside);

        int Implicit(string name) =>
            macro.Parameters.Exists(p => p.Target.Name == name) ? -1 : DeclareIfUsed(scope, macro.Body, name);
    }
}

/// <summary>The names of a scope while a template is bound.</summary>
internal sealed class Scope
{
    sealed record Variable(int FunctionDepth, int Slot);

    readonly record struct Origin(Variable? Source, string? Input, bool IsParameter);

    readonly Scope? parent;
    readonly FunctionLayout function;
    readonly int functionDepth;

    // Branches of an if work on copies of the scope, but agree on the slot of a name.
    readonly Dictionary<string, Variable> ownVariables;
    readonly Dictionary<string, Variable> references;
    readonly Dictionary<Variable, Origin> origins;
    readonly HashSet<string> stores;

    Scope(
        Scope? parent,
        FunctionLayout function,
        int functionDepth,
        Dictionary<string, Variable> ownVariables,
        Dictionary<string, Variable> references,
        Dictionary<Variable, Origin> origins,
        HashSet<string> stores
    )
    {
        this.parent = parent;
        this.function = function;
        this.functionDepth = functionDepth;
        this.ownVariables = ownVariables;
        this.references = references;
        this.origins = origins;
        this.stores = stores;
    }

    public static (FunctionLayout Function, Scope Scope) NewFunction(Scope? parent)
    {
        FunctionLayout layout = new();
        return (layout, new Scope(parent, layout, (parent?.functionDepth ?? -1) + 1, [], [], [], []));
    }

    public Scope Inner() => new(this, function, functionDepth, [], [], [], []);

    public Scope Copy() =>
        new(parent, function, functionDepth, ownVariables, new(references), new(origins), new(stores));

    Variable Define(string name, Origin origin)
    {
        if (!ownVariables.TryGetValue(name, out Variable? variable))
        {
            variable = new Variable(functionDepth, function.SlotCount++);
            ownVariables.Add(name, variable);
        }

        references[name] = variable;
        origins[variable] = origin;
        return variable;
    }

    Variable? Find(string name) => references.TryGetValue(name, out Variable? variable) ? variable : parent?.Find(name);

    public int DeclareParameter(string name)
    {
        stores.Add(name);
        return Define(name, new Origin(null, null, IsParameter: true)).Slot;
    }

    public void Store(string name)
    {
        stores.Add(name);
        if (!references.ContainsKey(name))
        {
            Define(name, new Origin(parent?.Find(name), null, IsParameter: false));
        }
    }

    public void Read(string name)
    {
        if (Find(name) is null)
        {
            Define(name, new Origin(null, name, IsParameter: false));
        }
    }

    /// <summary>Takes over what the branches of an if did: what only they set starts with the value from outside.</summary>
    public void Merge(params ReadOnlySpan<Scope> branches)
    {
        HashSet<string> conditional = [];
        foreach (Scope branch in branches)
        {
            conditional.UnionWith(branch.stores);
        }

        conditional.ExceptWith(stores);
        foreach (Scope branch in branches)
        {
            foreach ((string name, Variable variable) in branch.references)
            {
                references[name] = variable;
            }

            foreach ((Variable variable, Origin origin) in branch.origins)
            {
                origins[variable] = origin;
            }

            stores.UnionWith(branch.stores);
        }

        foreach (string name in conditional)
        {
            Variable? outside = parent?.Find(name);
            origins[Find(name)!] = new Origin(outside, outside is null ? name : null, IsParameter: false);
        }
    }

    public VariableReference Reference(string name)
    {
        Variable variable = Find(name) ?? throw new InvalidOperationException($"'{name}' was not collected");
        return new VariableReference(functionDepth - variable.FunctionDepth, variable.Slot);
    }

    public ScopeLayout Layout()
    {
        List<ScopeEntry> entries = [];
        foreach ((Variable variable, Origin origin) in origins)
        {
            if (!origin.IsParameter)
            {
                VariableReference? source = origin.Source is { } from
                    ? new VariableReference(functionDepth - from.FunctionDepth, from.Slot)
                    : null;
                entries.Add(new ScopeEntry(variable.Slot, source, origin.Input));
            }
        }

        return entries.Count == 0 ? ScopeLayout.Empty : new ScopeLayout([.. entries]);
    }
}

/// <summary>The direct parts of a node, in source order.</summary>
internal static class NodeChildren
{
    public static IEnumerable<Node> Optional(Node? node) => node is null ? [] : [node];

    public static IEnumerable<Node> Of(Node node) =>
        node switch
        {
            SequenceExpression sequence => sequence.Items,
            DictionaryExpression dictionary => dictionary.Pairs.SelectMany(p => new Node[] { p.Key, p.Value }),
            AttributeExpression attribute => [attribute.Target],
            ItemExpression item => [item.Target, item.Index],
            SliceExpression slice => [.. Optional(slice.Start), .. Optional(slice.Stop), .. Optional(slice.Step)],
            CallExpression call => call.Arguments.All().Prepend(call.Target),
            FilterExpression filter => [.. Optional(filter.Target), .. filter.Arguments.All()],
            TestExpression test => test.Arguments.All().Prepend(test.Target),
            UnaryExpression unary => [unary.Operand],
            BinaryExpression binary => [binary.Left, binary.Right],
            ConcatExpression concat => concat.Parts,
            CompareExpression compare => compare.Rest.Select(r => r.Right).Prepend(compare.First),
            ConditionalExpression choice => [choice.Test, choice.Then, .. Optional(choice.Otherwise)],
            NamespaceTarget target => [target.Owner],
            TupleTarget tuple => tuple.Items,
            PrintStatement print => [print.Value],
            SetStatement set => [set.Target, set.Value],
            SetBlockStatement set => [set.Target, .. Optional(set.Filter), .. set.Body],
            FilterStatement filter => [.. filter.Body, filter.Filter],
            IfStatement choice =>
            [
                .. choice.Branches.SelectMany(b => b.Body.Prepend<Node>(b.Test)),
                .. choice.Otherwise,
            ],
            ForStatement loop => [loop.Target, loop.Items, .. loop.Body, .. loop.Otherwise, .. Optional(loop.Test)],
            MacroStatement macro => Of(macro.Definition),
            CallStatement call => Of(call.Caller).Prepend(call.Call),
            GenerationStatement generation => Of(generation.Body),
            WithStatement with =>
            [
                .. with.Variables.Select(v => v.Target),
                .. with.Variables.Select(v => v.Value),
                .. with.Body,
            ],
            BlockStatement block => block.Body,
            LoadStatement load => [load.Template, .. load.Targets],
            ScopeStatement scope => [scope.Option, .. scope.Body],
            _ => [],
        };

    static IEnumerable<Node> Of(MacroDefinition macro) =>
        [
            .. macro.Parameters.Select(p => p.Target),
            .. macro.Parameters.Select(p => p.Default).OfType<Expression>(),
            .. macro.Body,
        ];
}
