using System.Runtime.CompilerServices;

namespace VlmSharp.Text.Templates;

/// <summary>Builds the tree of a template: statements. Grammar and precedence are jinja2's.</summary>
internal sealed partial class Parser
{
    /// <summary>How deep statements and expressions may nest; Python's own parser stops jinja2 at 200 nested parentheses.</summary>
    const int MaxDepth = 200;

    readonly List<Token> tokens;
    int at;
    int depth;

    Parser(List<Token> tokens) => this.tokens = tokens;

    public static List<Statement> Parse(string source)
    {
        Parser parser = new(Lexer.Tokenize(source));
        return parser.ParseBody([], opener: "", parser.Current.Line);
    }

    Token Current => tokens[at];

    Token Next => tokens[Math.Min(at + 1, tokens.Count - 1)];

    Token Take()
    {
        Token token = tokens[at];
        at = Math.Min(at + 1, tokens.Count - 1);
        return token;
    }

    bool TryTakeName(string name)
    {
        bool found = Current.IsName(name);
        at += found ? 1 : 0;
        return found;
    }

    bool TryTakeOperator(string op)
    {
        bool found = Current.IsOperator(op);
        at += found ? 1 : 0;
        return found;
    }

    void ExpectOperator(string op)
    {
        if (!TryTakeOperator(op))
        {
            throw Unexpected($"'{op}'");
        }
    }

    void ExpectName(string name)
    {
        if (!TryTakeName(name))
        {
            throw Unexpected($"'{name}'");
        }
    }

    Token ExpectKind(TokenKind kind, string description) =>
        Current.Kind == kind ? Take() : throw Unexpected(description);

    TemplateSyntaxException Unexpected(string expected) =>
        new(Current.Line, $"expected {expected}, found '{Current.Describe()}'");

    void Enter()
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        if (++depth > MaxDepth)
        {
            throw new TemplateSyntaxException(Current.Line, $"nested more than {MaxDepth} deep");
        }
    }

    void Leave() => depth--;

    /// <summary>Parses up to a tag with one of the given names, which becomes the current token.</summary>
    List<Statement> ParseBody(ReadOnlySpan<string> ends, string opener, int openedAt)
    {
        Enter();
        List<Statement> body = [];
        while (true)
        {
            Token token = Take();
            switch (token.Kind)
            {
                case TokenKind.Data:
                    body.Add(new TextStatement(token.Line, token.Text));
                    break;
                case TokenKind.VariableBegin:
                    body.Add(new PrintStatement(token.Line, ParseTuple()));
                    ExpectKind(TokenKind.VariableEnd, "'}}'");
                    break;
                case TokenKind.BlockBegin:
                    if (Current.Kind == TokenKind.Name && ends.Contains(Current.Text))
                    {
                        Leave();
                        return body;
                    }

                    ParseStatement(body);
                    ExpectKind(TokenKind.BlockEnd, "'%}'");
                    break;
                default:
                    if (ends.Length > 0)
                    {
                        string wanted = string.Join("' or '", ends.ToArray());
                        throw new TemplateSyntaxException(
                            token.Line,
                            $"the template ends inside '{opener}' of line {openedAt}: '{wanted}' is missing"
                        );
                    }

                    Leave();
                    return body;
            }
        }
    }

    /// <summary>Parses the rest of an opening tag, its body, and the closing name if there is only one.</summary>
    List<Statement> ParseBlock(string opener, int line, params ReadOnlySpan<string> ends)
    {
        TryTakeOperator(":");
        ExpectKind(TokenKind.BlockEnd, "'%}'");
        List<Statement> body = ParseBody(ends, opener, line);
        if (ends.Length == 1)
        {
            Take();
        }

        return body;
    }

    void ParseStatement(List<Statement> body)
    {
        Token tag = ExpectKind(TokenKind.Name, "the name of a statement");
        int line = tag.Line;
        switch (tag.Text)
        {
            case "print":
                ParsePrint(line, body);
                break;
            case "set":
                body.Add(ParseSet(line));
                break;
            case "if":
                body.Add(ParseIf(line));
                break;
            case "for":
                body.Add(ParseFor(line));
                break;
            case "break" or "continue":
                body.Add(new LoopControlStatement(line, tag.Text == "break"));
                break;
            case "macro":
                NameTarget name = ParseNameTarget();
                List<MacroParameter> parameters = ParseSignature();
                List<Statement> macroBody = ParseBlock("macro", line, "endmacro");
                body.Add(new MacroStatement(line, name, new MacroDefinition(name.Name, parameters, macroBody)));
                break;
            case "call":
                body.Add(ParseCallBlock(line));
                break;
            case "generation":
                List<Statement> generated = ParseBlock("generation", line, "endgeneration");
                body.Add(new GenerationStatement(line, new MacroDefinition(null, [], generated)));
                break;
            case "filter":
                Expression filter = ParseFilters(null, startInline: true)!;
                body.Add(new FilterStatement(line, filter, ParseBlock("filter", line, "endfilter")));
                break;
            case "with":
                body.Add(ParseWith(line));
                break;
            case "block":
                body.Add(ParseNamedBlock(line));
                break;
            case "autoescape":
                Expression option = ParseExpression();
                body.Add(new ScopeStatement(line, option, ParseBlock("autoescape", line, "endautoescape")));
                break;
            case "include" or "extends" or "import" or "from":
                body.Add(ParseLoad(tag));
                break;
            default:
                throw new TemplateSyntaxException(line, $"unknown tag '{tag.Text}'");
        }
    }

    void ParsePrint(int line, List<Statement> body)
    {
        bool first = true;
        while (Current.Kind is not TokenKind.BlockEnd)
        {
            if (!first)
            {
                ExpectOperator(",");
            }

            body.Add(new PrintStatement(line, ParseExpression()));
            first = false;
        }
    }

    Statement ParseSet(int line)
    {
        Target target = ParseTarget(withNamespace: true);
        if (TryTakeOperator("="))
        {
            return new SetStatement(line, target, ParseTuple());
        }

        Expression? filter = ParseFilters(null);
        return new SetBlockStatement(line, target, filter, ParseBlock("set", line, "endset"));
    }

    IfStatement ParseIf(int line)
    {
        List<(Expression, List<Statement>)> branches = [];
        while (true)
        {
            Expression test = ParseTuple(withCondition: false);
            branches.Add((test, ParseBlock("if", line, "elif", "else", "endif")));
            string end = Take().Text;
            if (end != "elif")
            {
                return new IfStatement(line, branches, end == "else" ? ParseBlock("else", line, "endif") : []);
            }
        }
    }

    ForStatement ParseFor(int line)
    {
        int start = at;
        Target target = ParseTarget(endName: "in");
        int afterTarget = at;
        ExpectName("in");
        Expression items = ParseTuple(withCondition: false, endName: "recursive");
        Expression? test = null;
        Target? testTarget = null;
        if (TryTakeName("if"))
        {
            test = ParseExpression();
            int afterTest = at;
            at = start;
            testTarget = ParseTarget(endName: "in");
            System.Diagnostics.Debug.Assert(at == afterTarget, "the target is parsed twice, once for each scope");
            at = afterTest;
        }

        bool recursive = TryTakeName("recursive");
        List<Statement> body = ParseBlock("for", line, "endfor", "else");
        List<Statement> otherwise = Take().Text == "else" ? ParseBlock("else", line, "endfor") : [];
        return new ForStatement(line, target, items, body)
        {
            Test = test,
            TestTarget = testTarget,
            IsRecursive = recursive,
            Otherwise = otherwise,
        };
    }

    List<MacroParameter> ParseSignature()
    {
        List<MacroParameter> parameters = [];
        ExpectOperator("(");
        while (!Current.IsOperator(")"))
        {
            if (parameters.Count > 0)
            {
                ExpectOperator(",");
            }

            NameTarget target = ParseNameTarget();
            Expression? value = TryTakeOperator("=") ? ParseExpression() : null;
            if (value is null && parameters.Count > 0 && parameters[^1].Default is not null)
            {
                throw new TemplateSyntaxException(
                    target.Line,
                    "a parameter without default follows one that has a default"
                );
            }

            parameters.Add(new MacroParameter(target, value));
        }

        ExpectOperator(")");
        return parameters;
    }

    CallStatement ParseCallBlock(int line)
    {
        List<MacroParameter> parameters = Current.IsOperator("(") ? ParseSignature() : [];
        if (ParseExpression() is not CallExpression call)
        {
            throw new TemplateSyntaxException(line, "'call' needs a call, such as {% call macro() %}");
        }

        return new CallStatement(
            line,
            call,
            new MacroDefinition(null, parameters, ParseBlock("call", line, "endcall"))
        );
    }

    WithStatement ParseWith(int line)
    {
        List<(Target, Expression)> variables = [];
        while (Current.Kind is not TokenKind.BlockEnd)
        {
            if (variables.Count > 0)
            {
                ExpectOperator(",");
            }

            Target target = ParseTarget();
            ExpectOperator("=");
            variables.Add((target, ParseExpression()));
        }

        return new WithStatement(line, variables, ParseBlock("with", line, "endwith"));
    }

    BlockStatement ParseNamedBlock(int line)
    {
        string name = ExpectKind(TokenKind.Name, "the block's name").Text;
        bool scoped = TryTakeName("scoped");
        bool required = TryTakeName("required");
        List<Statement> body = ParseBlock("block", line, "endblock");
        TryTakeName(name);
        if (required && !body.TrueForAll(s => s is TextStatement text && PythonText.IsSpace(text.Text)))
        {
            throw new TemplateSyntaxException(line, "a required block can hold only white space and comments");
        }

        return new BlockStatement(line, name, body) { IsScoped = scoped, IsRequired = required };
    }

    LoadStatement ParseLoad(Token tag)
    {
        LoadStatement statement = new(tag.Line, ParseExpression(), []);
        if (tag.Text == "import")
        {
            ExpectName("as");
            statement.Targets.Add(ParseNameTarget());
        }
        else if (tag.Text == "from")
        {
            ExpectName("import");
            do
            {
                if (Current.Kind is TokenKind.BlockEnd || IsContextClause())
                {
                    break;
                }

                NameTarget target = ParseNameTarget();
                statement.Targets.Add(TryTakeName("as") ? ParseNameTarget() : target);
            } while (!IsContextClause() && TryTakeOperator(","));
        }
        else if (tag.Text == "include" && Current.IsName("ignore") && Next.IsName("missing"))
        {
            at += 2;
        }

        if (tag.Text != "extends" && IsContextClause())
        {
            at += 2;
        }

        return statement;
    }

    bool IsContextClause() => (Current.IsName("with") || Current.IsName("without")) && Next.IsName("context");

    NameTarget ParseNameTarget()
    {
        Token name = ExpectKind(TokenKind.Name, "a name");
        return new NameTarget(name.Line, name.Text);
    }

    /// <summary>One target or several with commas between, with or without parentheses.</summary>
    Target ParseTarget(bool withNamespace = false, string? endName = null)
    {
        Enter();
        int line = Current.Line;
        (List<Target> items, bool isTuple) = ParseItems(() => ParseSingleTarget(withNamespace), endName);
        Leave();
        return items.Count switch
        {
            0 => throw Unexpected("a name"),
            1 when !isTuple => items[0],
            _ => new TupleTarget(line, items),
        };
    }

    /// <summary>What may be a tuple: items with commas between, also after the last one. One comma makes it a tuple.</summary>
    (List<T> Items, bool IsTuple) ParseItems<T>(Func<T> parse, string? endName)
    {
        List<T> items = [];
        bool isTuple = false;
        while (!IsTupleEnd(endName))
        {
            items.Add(parse());
            if (!TryTakeOperator(","))
            {
                break;
            }

            isTuple = true;
        }

        return (items, isTuple);
    }

    Target ParseSingleTarget(bool withNamespace)
    {
        if (TryTakeOperator("("))
        {
            Target inner = ParseTarget(withNamespace);
            ExpectOperator(")");
            return inner;
        }

        Token name = ExpectKind(TokenKind.Name, "a name to assign to");
        if (name.Text is "true" or "True" or "false" or "False" or "none" or "None")
        {
            throw new TemplateSyntaxException(name.Line, $"cannot assign to '{name.Text}'");
        }

        if (withNamespace && TryTakeOperator("."))
        {
            string attribute = ExpectKind(TokenKind.Name, "the attribute's name").Text;
            return new NamespaceTarget(name.Line, new NameExpression(name.Line, name.Text), attribute);
        }

        return new NameTarget(name.Line, name.Text);
    }

    bool IsTupleEnd(string? endName) =>
        Current.Kind is TokenKind.VariableEnd or TokenKind.BlockEnd
        || Current.IsOperator(")")
        || (endName is not null && Current.IsName(endName));
}
