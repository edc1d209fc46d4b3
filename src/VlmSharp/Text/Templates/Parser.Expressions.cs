namespace VlmSharp.Text.Templates;

/// <content>Expressions, from the loosest binding to the tightest.</content>
internal sealed partial class Parser
{
    Expression ParseExpression() => ParseConditional();

    Expression ParseExpression(bool withCondition) => withCondition ? ParseConditional() : ParseOr();

    /// <summary>An expression, or several with commas between: a tuple.</summary>
    Expression ParseTuple(bool withCondition = true, string? endName = null, bool inParentheses = false)
    {
        int line = Current.Line;
        (List<Expression> items, bool isTuple) = ParseItems(() => ParseExpression(withCondition), endName);
        if (!isTuple)
        {
            if (items.Count > 0)
            {
                return items[0];
            }

            if (!inParentheses)
            {
                throw Unexpected("an expression");
            }
        }

        return new SequenceExpression(line, items, isTuple: true);
    }

    Expression ParseConditional()
    {
        Enter();
        int line = Current.Line;
        Expression value = ParseOr();
        while (TryTakeName("if"))
        {
            Expression test = ParseOr();
            Expression? otherwise = TryTakeName("else") ? ParseConditional() : null;
            value = new ConditionalExpression(line, test, value, otherwise);
            line = Current.Line;
        }

        Leave();
        return value;
    }

    Expression ParseOr()
    {
        Expression left = ParseAnd();
        while (Current.IsName("or"))
        {
            int line = Take().Line;
            left = new BinaryExpression(line, BinaryOperator.Or, left, ParseAnd());
        }

        return left;
    }

    Expression ParseAnd()
    {
        Expression left = ParseNot();
        while (Current.IsName("and"))
        {
            int line = Take().Line;
            left = new BinaryExpression(line, BinaryOperator.And, left, ParseNot());
        }

        return left;
    }

    Expression ParseNot()
    {
        if (!Current.IsName("not"))
        {
            return ParseCompare();
        }

        Enter();
        int line = Take().Line;
        UnaryExpression negated = new(line, UnaryOperator.Not, ParseNot());
        Leave();
        return negated;
    }

    Expression ParseCompare()
    {
        int line = Current.Line;
        Expression first = ParseSum();
        List<(Comparison, Expression)>? rest = null;
        while (TryTakeComparison() is { } comparison)
        {
            (rest ??= []).Add((comparison, ParseSum()));
        }

        return rest is null ? first : new CompareExpression(line, first, rest);
    }

    Comparison? TryTakeComparison()
    {
        Comparison? found = Current switch
        {
            { Kind: TokenKind.Operator, Text: "==" } => Comparison.Equal,
            { Kind: TokenKind.Operator, Text: "!=" } => Comparison.NotEqual,
            { Kind: TokenKind.Operator, Text: "<" } => Comparison.Less,
            { Kind: TokenKind.Operator, Text: "<=" } => Comparison.LessOrEqual,
            { Kind: TokenKind.Operator, Text: ">" } => Comparison.Greater,
            { Kind: TokenKind.Operator, Text: ">=" } => Comparison.GreaterOrEqual,
            { Kind: TokenKind.Name, Text: "in" } => Comparison.In,
            { Kind: TokenKind.Name, Text: "not" } when Next.IsName("in") => Comparison.NotIn,
            _ => null,
        };
        at += found switch
        {
            null => 0,
            Comparison.NotIn => 2,
            _ => 1,
        };
        return found;
    }

    Expression ParseSum()
    {
        Expression left = ParseConcat();
        while (Current is { Kind: TokenKind.Operator, Text: "+" or "-" })
        {
            Token op = Take();
            BinaryOperator kind = op.Text == "+" ? BinaryOperator.Add : BinaryOperator.Subtract;
            left = new BinaryExpression(op.Line, kind, left, ParseConcat());
        }

        return left;
    }

    Expression ParseConcat()
    {
        int line = Current.Line;
        Expression first = ParseProduct();
        if (!Current.IsOperator("~"))
        {
            return first;
        }

        List<Expression> parts = [first];
        while (TryTakeOperator("~"))
        {
            parts.Add(ParseProduct());
        }

        return new ConcatExpression(line, parts);
    }

    Expression ParseProduct()
    {
        Expression left = ParsePower();
        while (Current is { Kind: TokenKind.Operator, Text: "*" or "/" or "//" or "%" })
        {
            Token op = Take();
            BinaryOperator kind = op.Text switch
            {
                "*" => BinaryOperator.Multiply,
                "/" => BinaryOperator.Divide,
                "//" => BinaryOperator.FloorDivide,
                _ => BinaryOperator.Modulo,
            };
            left = new BinaryExpression(op.Line, kind, left, ParsePower());
        }

        return left;
    }

    /// <summary>Powers bind to the left, and a sign binds tighter: -2 ** 2 is 4.</summary>
    Expression ParsePower()
    {
        Expression left = ParseUnary(withFilters: true);
        while (Current.IsOperator("**"))
        {
            int line = Take().Line;
            left = new BinaryExpression(line, BinaryOperator.Power, left, ParseUnary(withFilters: true));
        }

        return left;
    }

    Expression ParseUnary(bool withFilters)
    {
        Enter();
        Expression value;
        if (Current is { Kind: TokenKind.Operator, Text: "-" or "+" })
        {
            Token sign = Take();
            UnaryOperator op = sign.Text == "-" ? UnaryOperator.Minus : UnaryOperator.Plus;
            value = new UnaryExpression(sign.Line, op, ParseUnary(withFilters: false));
        }
        else
        {
            value = ParsePrimary();
        }

        value = ParsePostfix(value);
        Leave();
        return withFilters ? ParseFiltersAndTests(value) : value;
    }

    Expression ParsePrimary()
    {
        Token token = Take();
        switch (token.Kind)
        {
            case TokenKind.Name:
                return token.Text switch
                {
                    "true" or "True" => new ConstantExpression(token.Line, true),
                    "false" or "False" => new ConstantExpression(token.Line, false),
                    "none" or "None" => new ConstantExpression(token.Line, TemplateValue.None),
                    _ => new NameExpression(token.Line, token.Text),
                };
            case TokenKind.String:
                List<string> parts = [token.Text];
                while (Current.Kind == TokenKind.String)
                {
                    parts.Add(Take().Text);
                }

                return new ConstantExpression(token.Line, string.Concat(parts));
            case TokenKind.Number:
                return new ConstantExpression(token.Line, token.Number!);
            case TokenKind.Operator when token.Text == "(":
                Expression inner = ParseTuple(inParentheses: true);
                ExpectOperator(")");
                return inner;
            case TokenKind.Operator when token.Text == "[":
                return ParseList(token.Line);
            case TokenKind.Operator when token.Text == "{":
                return ParseDictionary(token.Line);
            default:
                throw new TemplateSyntaxException(token.Line, $"expected an expression, found '{token.Describe()}'");
        }
    }

    SequenceExpression ParseList(int line)
    {
        List<Expression> items = [];
        while (!TryTakeOperator("]"))
        {
            if (items.Count > 0)
            {
                ExpectOperator(",");
                if (TryTakeOperator("]"))
                {
                    break;
                }
            }

            items.Add(ParseExpression());
        }

        return new SequenceExpression(line, items, isTuple: false);
    }

    DictionaryExpression ParseDictionary(int line)
    {
        List<(Expression, Expression)> pairs = [];
        while (!TryTakeOperator("}"))
        {
            if (pairs.Count > 0)
            {
                ExpectOperator(",");
                if (TryTakeOperator("}"))
                {
                    break;
                }
            }

            Expression key = ParseExpression();
            ExpectOperator(":");
            pairs.Add((key, ParseExpression()));
        }

        return new DictionaryExpression(line, pairs);
    }

    /// <summary>Attributes, subscripts and calls.</summary>
    Expression ParsePostfix(Expression value)
    {
        while (Current.Kind == TokenKind.Operator)
        {
            int line = Current.Line;
            if (TryTakeOperator("."))
            {
                Token name = Take();
                value = name.Kind switch
                {
                    TokenKind.Name => new AttributeExpression(line, value, name.Text),
                    TokenKind.Number when name.Number is IntegerValue index => new ItemExpression(
                        line,
                        value,
                        new ConstantExpression(line, index)
                    ),
                    _ => throw new TemplateSyntaxException(name.Line, "expected a name or a number after '.'"),
                };
            }
            else if (TryTakeOperator("["))
            {
                value = new ItemExpression(line, value, ParseSubscript(line));
            }
            else if (Current.IsOperator("("))
            {
                value = new CallExpression(line, value, ParseArguments());
            }
            else
            {
                break;
            }
        }

        return value;
    }

    Expression ParseSubscript(int line)
    {
        List<Expression> items = [];
        while (!TryTakeOperator("]"))
        {
            if (items.Count > 0)
            {
                ExpectOperator(",");
            }

            items.Add(ParseSubscriptItem());
        }

        return items.Count == 1 ? items[0] : new SequenceExpression(line, items, isTuple: true);
    }

    Expression ParseSubscriptItem()
    {
        int line = Current.Line;
        Expression? start = null;
        if (!Current.IsOperator(":"))
        {
            start = ParseExpression();
            if (!Current.IsOperator(":"))
            {
                return start;
            }
        }

        ExpectOperator(":");
        Expression? stop = SliceEnds() ? null : ParseExpression();
        Expression? step = TryTakeOperator(":") && !SliceEnds() ? ParseExpression() : null;
        return new SliceExpression(line, start, stop, step);

        bool SliceEnds() => Current is { Kind: TokenKind.Operator, Text: ":" or "]" or "," };
    }

    ArgumentExpressions ParseArguments()
    {
        int line = Current.Line;
        ExpectOperator("(");
        List<Expression> positional = [];
        List<(string, Expression)> keywords = [];
        Expression? star = null;
        Expression? doubleStar = null;
        bool first = true;
        while (!TryTakeOperator(")"))
        {
            if (!first)
            {
                ExpectOperator(",");
                if (TryTakeOperator(")"))
                {
                    break;
                }
            }

            first = false;
            if (TryTakeOperator("*"))
            {
                Ensure(star is null && doubleStar is null);
                star = ParseExpression();
            }
            else if (TryTakeOperator("**"))
            {
                Ensure(doubleStar is null);
                doubleStar = ParseExpression();
            }
            else if (Current.Kind == TokenKind.Name && Next.IsOperator("="))
            {
                Ensure(doubleStar is null);
                string name = Take().Text;
                Take();
                keywords.Add((name, ParseExpression()));
            }
            else
            {
                Ensure(star is null && doubleStar is null && keywords.Count == 0);
                positional.Add(ParseExpression());
            }
        }

        return positional.Count + keywords.Count == 0 && star is null && doubleStar is null
            ? ArgumentExpressions.None
            : new ArgumentExpressions(positional, keywords, star, doubleStar);

        void Ensure(bool inOrder)
        {
            if (!inOrder)
            {
                throw new TemplateSyntaxException(line, "the arguments of the call are in the wrong order");
            }
        }
    }

    Expression ParseFiltersAndTests(Expression value)
    {
        while (true)
        {
            if (Current.IsOperator("|"))
            {
                value = ParseFilters(value)!;
            }
            else if (Current.IsName("is"))
            {
                value = ParseTest(value);
            }
            else if (Current.IsOperator("("))
            {
                value = new CallExpression(Current.Line, value, ParseArguments());
            }
            else
            {
                return value;
            }
        }
    }

    /// <param name="value">What is filtered; null where it is the text of a block.</param>
    /// <param name="startInline">Whether the first filter stands without a bar.</param>
    Expression? ParseFilters(Expression? value, bool startInline = false)
    {
        while (startInline || TryTakeOperator("|"))
        {
            startInline = false;
            int line = Current.Line;
            string name = ParseDottedName();
            ArgumentExpressions arguments = Current.IsOperator("(") ? ParseArguments() : ArgumentExpressions.None;
            value = new FilterExpression(line, value, name, arguments);
        }

        return value;
    }

    string ParseDottedName()
    {
        string name = ExpectKind(TokenKind.Name, "a name").Text;
        while (TryTakeOperator("."))
        {
            name += "." + ExpectKind(TokenKind.Name, "a name").Text;
        }

        return name;
    }

    Expression ParseTest(Expression value)
    {
        int line = Take().Line;
        bool negated = TryTakeName("not");
        string name = ParseDottedName();
        ArgumentExpressions arguments = ArgumentExpressions.None;
        if (Current.IsOperator("("))
        {
            arguments = ParseArguments();
        }
        else if (StartsTestArgument())
        {
            if (Current.IsName("is"))
            {
                throw new TemplateSyntaxException(line, "tests cannot be chained with 'is'");
            }

            Enter();
            arguments = new ArgumentExpressions([ParsePostfix(ParsePrimary())], [], null, null);
            Leave();
        }

        TestExpression test = new(line, value, name, arguments);
        return negated ? new UnaryExpression(line, UnaryOperator.Not, test) : test;
    }

    bool StartsTestArgument() =>
        Current.Kind switch
        {
            TokenKind.Name => Current.Text is not ("else" or "or" or "and"),
            TokenKind.String or TokenKind.Number => true,
            TokenKind.Operator => Current.Text is "[" or "{",
            _ => false,
        };
}
