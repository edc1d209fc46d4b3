namespace VlmSharp.Text.Templates;

/// <summary>A part of a parsed template.</summary>
internal abstract class Node(int line)
{
    public int Line { get; } = line;
}

internal abstract class Expression(int line) : Node(line);

internal abstract class Statement(int line) : Node(line);

internal sealed class ConstantExpression(int line, TemplateValue value) : Expression(line)
{
    public TemplateValue Value { get; } = value;
}

internal sealed class NameExpression(int line, string name) : Expression(line)
{
    public string Name { get; } = name;

    public VariableReference Variable { get; set; }
}

internal sealed class SequenceExpression(int line, List<Expression> items, bool isTuple) : Expression(line)
{
    public List<Expression> Items { get; } = items;

    public bool IsTuple { get; } = isTuple;
}

internal sealed class DictionaryExpression(int line, List<(Expression Key, Expression Value)> pairs) : Expression(line)
{
    public List<(Expression Key, Expression Value)> Pairs { get; } = pairs;
}

/// <summary><c>target.name</c>: attributes before keys.</summary>
internal sealed class AttributeExpression(int line, Expression target, string name) : Expression(line)
{
    public Expression Target { get; } = target;

    public string Name { get; } = name;

    public TextValue NameValue { get; } = TextValue.Create(name);
}

/// <summary><c>target[index]</c>: keys before attributes.</summary>
internal sealed class ItemExpression(int line, Expression target, Expression index) : Expression(line)
{
    public Expression Target { get; } = target;

    public Expression Index { get; } = index;
}

internal sealed class SliceExpression(int line, Expression? start, Expression? stop, Expression? step)
    : Expression(line)
{
    public Expression? Start { get; } = start;

    public Expression? Stop { get; } = stop;

    public Expression? Step { get; } = step;
}

internal sealed record ArgumentExpressions(
    List<Expression> Positional,
    List<(string Name, Expression Value)> Keywords,
    Expression? Star,
    Expression? DoubleStar
)
{
    public static readonly ArgumentExpressions None = new([], [], null, null);

    public IEnumerable<Expression> All()
    {
        IEnumerable<Expression> all = Positional.Concat(Keywords.Select(k => k.Value));
        all = Star is null ? all : all.Append(Star);
        return DoubleStar is null ? all : all.Append(DoubleStar);
    }
}

internal sealed class CallExpression(int line, Expression target, ArgumentExpressions arguments) : Expression(line)
{
    public Expression Target { get; } = target;

    public ArgumentExpressions Arguments { get; } = arguments;
}

/// <summary><c>target | name(arguments)</c>. In <c>{% filter %}</c> and <c>{% set %}</c> blocks the innermost target is missing: it is the block's text.</summary>
internal sealed class FilterExpression(int line, Expression? target, string name, ArgumentExpressions arguments)
    : Expression(line)
{
    public Expression? Target { get; } = target;

    public string Name { get; } = name;

    public Filter? Filter { get; } = Filters.Find(name);

    public ArgumentExpressions Arguments { get; } = arguments;
}

internal sealed class TestExpression(int line, Expression target, string name, ArgumentExpressions arguments)
    : Expression(line)
{
    public Expression Target { get; } = target;

    public string Name { get; } = name;

    public Filter? Test { get; } = Tests.Find(name);

    public ArgumentExpressions Arguments { get; } = arguments;
}

internal enum UnaryOperator
{
    Not,
    Minus,
    Plus,
}

internal sealed class UnaryExpression(int line, UnaryOperator op, Expression operand) : Expression(line)
{
    public UnaryOperator Operator { get; } = op;

    public Expression Operand { get; } = operand;
}

internal enum BinaryOperator
{
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    Power,
    And,
    Or,
}

internal sealed class BinaryExpression(int line, BinaryOperator op, Expression left, Expression right)
    : Expression(line)
{
    public BinaryOperator Operator { get; } = op;

    public Expression Left { get; } = left;

    public Expression Right { get; } = right;
}

/// <summary><c>a ~ b ~ c</c>.</summary>
internal sealed class ConcatExpression(int line, List<Expression> parts) : Expression(line)
{
    public List<Expression> Parts { get; } = parts;
}

internal enum Comparison
{
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

internal sealed class CompareExpression(int line, Expression first, List<(Comparison Operator, Expression Right)> rest)
    : Expression(line)
{
    public Expression First { get; } = first;

    public List<(Comparison Operator, Expression Right)> Rest { get; } = rest;
}

internal sealed class ConditionalExpression(int line, Expression test, Expression then, Expression? otherwise)
    : Expression(line)
{
    public Expression Test { get; } = test;

    public Expression Then { get; } = then;

    public Expression? Otherwise { get; } = otherwise;
}

/// <summary>A place to assign to: a name, an attribute of a namespace, or several of these.</summary>
internal abstract class Target(int line) : Node(line);

internal sealed class NameTarget(int line, string name) : Target(line)
{
    public string Name { get; } = name;

    public VariableReference Variable { get; set; }

    /// <summary>Whether the assignment is at the top of the template, where blocks see it.</summary>
    public bool IsExported { get; set; }
}

internal sealed class NamespaceTarget(int line, NameExpression owner, string attribute) : Target(line)
{
    public NameExpression Owner { get; } = owner;

    public string Attribute { get; } = attribute;
}

internal sealed class TupleTarget(int line, List<Target> items) : Target(line)
{
    public List<Target> Items { get; } = items;
}

internal sealed class TextStatement(int line, string text) : Statement(line)
{
    public string Text { get; } = text;
}

internal sealed class PrintStatement(int line, Expression value) : Statement(line)
{
    public Expression Value { get; } = value;
}

internal sealed class SetStatement(int line, Target target, Expression value) : Statement(line)
{
    public Target Target { get; } = target;

    public Expression Value { get; } = value;
}

/// <summary><c>{% set x | filter %}...{% endset %}</c>.</summary>
internal sealed class SetBlockStatement(int line, Target target, Expression? filter, List<Statement> body)
    : Statement(line)
{
    public Target Target { get; } = target;

    public Expression? Filter { get; } = filter;

    public List<Statement> Body { get; } = body;

    public ScopeLayout Scope { get; set; } = ScopeLayout.Empty;
}

internal sealed class FilterStatement(int line, Expression filter, List<Statement> body) : Statement(line)
{
    public Expression Filter { get; } = filter;

    public List<Statement> Body { get; } = body;

    public ScopeLayout Scope { get; set; } = ScopeLayout.Empty;
}

internal sealed class IfStatement(
    int line,
    List<(Expression Test, List<Statement> Body)> branches,
    List<Statement> otherwise
) : Statement(line)
{
    public List<(Expression Test, List<Statement> Body)> Branches { get; } = branches;

    public List<Statement> Otherwise { get; } = otherwise;
}

internal sealed class ForStatement(int line, Target target, Expression items, List<Statement> body) : Statement(line)
{
    public Target Target { get; } = target;

    public Expression Items { get; } = items;

    public List<Statement> Body { get; } = body;

    public Expression? Test { get; init; }

    /// <summary>The same target with the variables of the test's own scope.</summary>
    public Target? TestTarget { get; init; }

    public bool IsRecursive { get; init; }

    public List<Statement> Otherwise { get; init; } = [];

    /// <summary>The slot of <c>loop</c>, or -1 when the body does not use it.</summary>
    public int LoopSlot { get; set; } = -1;

    public ScopeLayout Scope { get; set; } = ScopeLayout.Empty;

    public ScopeLayout TestScope { get; set; } = ScopeLayout.Empty;

    public ScopeLayout OtherwiseScope { get; set; } = ScopeLayout.Empty;

    /// <summary>The variables of a recursive loop, whose body is a function of its own.</summary>
    public FunctionLayout? Function { get; set; }
}

internal sealed class LoopControlStatement(int line, bool isBreak) : Statement(line)
{
    public bool IsBreak { get; } = isBreak;
}

internal sealed record MacroParameter(NameTarget Target, Expression? Default);

/// <summary>What <c>{% macro %}</c>, <c>{% call %}</c> and <c>{% generation %}</c> share: parameters and a body with variables of its own.</summary>
internal sealed class MacroDefinition(string? name, List<MacroParameter> parameters, List<Statement> body)
{
    public string? Name { get; } = name;

    public List<MacroParameter> Parameters { get; } = parameters;

    public List<Statement> Body { get; } = body;

    public ScopeLayout Scope { get; set; } = ScopeLayout.Empty;

    public FunctionLayout Function { get; set; } = new();

    /// <summary>The slots of the implicit parameters; -1 where the body does not use them.</summary>
    public int CallerSlot { get; set; } = -1;

    public int KeywordsSlot { get; set; } = -1;

    public int VarargsSlot { get; set; } = -1;

    public bool AccessesCaller { get; set; }
}

internal sealed class MacroStatement(int line, NameTarget target, MacroDefinition definition) : Statement(line)
{
    public NameTarget Target { get; } = target;

    public MacroDefinition Definition { get; } = definition;
}

internal sealed class CallStatement(int line, CallExpression call, MacroDefinition caller) : Statement(line)
{
    public CallExpression Call { get; } = call;

    public MacroDefinition Caller { get; } = caller;
}

/// <summary>transformers' <c>{% generation %}</c>: marks what the assistant said.</summary>
internal sealed class GenerationStatement(int line, MacroDefinition body) : Statement(line)
{
    public MacroDefinition Body { get; } = body;
}

internal sealed class WithStatement(int line, List<(Target Target, Expression Value)> variables, List<Statement> body)
    : Statement(line)
{
    public List<(Target Target, Expression Value)> Variables { get; } = variables;

    public List<Statement> Body { get; } = body;

    public ScopeLayout Scope { get; set; } = ScopeLayout.Empty;
}

internal sealed class BlockStatement(int line, string name, List<Statement> body) : Statement(line)
{
    public string Name { get; } = name;

    public List<Statement> Body { get; } = body;

    public bool IsScoped { get; init; }

    public bool IsRequired { get; init; }

    /// <summary>The slot of <c>self</c>, or -1.</summary>
    public int SelfSlot { get; set; } = -1;

    public ScopeLayout Scope { get; set; } = ScopeLayout.Empty;

    public FunctionLayout Function { get; set; } = new();
}

/// <summary><c>include</c>, <c>import</c>, <c>from</c> and <c>extends</c>: there is nothing to load from, so running one is an error.</summary>
internal sealed class LoadStatement(int line, Expression template, List<NameTarget> targets) : Statement(line)
{
    public Expression Template { get; } = template;

    public List<NameTarget> Targets { get; } = targets;
}

/// <summary><c>{% autoescape false %}</c>, which only opens a scope.</summary>
internal sealed class ScopeStatement(int line, Expression option, List<Statement> body) : Statement(line)
{
    public Expression Option { get; } = option;

    public List<Statement> Body { get; } = body;

    public ScopeLayout Scope { get; set; } = ScopeLayout.Empty;
}
