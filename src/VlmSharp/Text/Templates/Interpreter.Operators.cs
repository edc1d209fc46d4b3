using System.Numerics;

namespace VlmSharp.Text.Templates;

/// <content>Arithmetic and comparisons.</content>
internal sealed partial class Interpreter
{
    TemplateValue EvaluateCompare(CompareExpression compare)
    {
        TemplateValue left = Evaluate(compare.First);
        foreach ((Comparison comparison, Expression expression) in compare.Rest)
        {
            TemplateValue right = Evaluate(expression);
            if (!Compare(left, right, comparison))
            {
                return false;
            }

            left = right;
        }

        return true;
    }

    public bool Compare(TemplateValue left, TemplateValue right, Comparison comparison)
    {
        switch (comparison)
        {
            case Comparison.Equal:
                return AreEqual(left, right);
            case Comparison.NotEqual:
                return !AreEqual(left, right);
            case Comparison.In:
                return Contains(right, left);
            case Comparison.NotIn:
                return !Contains(right, left);
            default:
                ChargeComparison(left, right);
                return Python.Compare(left, right, comparison);
        }
    }

    public bool AreEqual(TemplateValue left, TemplateValue right)
    {
        ChargeComparison(left, right);
        return Python.AreEqual(left, right);
    }

    public bool IsLess(TemplateValue left, TemplateValue right)
    {
        ChargeComparison(left, right);
        return Python.Compare(left, right, Comparison.Less);
    }

    void ChargeComparison(TemplateValue left, TemplateValue right)
    {
        if (left is TextValue a && right is TextValue b)
        {
            ChargeText(Math.Min(a.Text.Length, b.Text.Length));
        }
        else if (left.Count > 0 && right.Count > 0 && left is TemplateList or TemplateObject or DictionaryView)
        {
            ChargeElements(left, depth: 64);
        }
    }

    /// <summary>Counts the elements that a comparison may visit; shared parts count as often as they occur.</summary>
    void ChargeElements(TemplateValue value, int depth)
    {
        Step();
        if (depth == 0)
        {
            return;
        }

        switch (value)
        {
            case TextValue text:
                ChargeText(text.Text.Length);
                break;
            case TemplateList list:
                list.Items.ForEach(item => ChargeElements(item, depth - 1));
                break;
            case TemplateObject dictionary:
                dictionary.Entries.ForEach(entry => ChargeElements(entry.Value, depth - 1));
                break;
        }
    }

    /// <summary>Python's <c>item in container</c>.</summary>
    public bool Contains(TemplateValue container, TemplateValue item)
    {
        switch (container)
        {
            case TextValue text:
                if (item is not TextValue part)
                {
                    throw new EvaluationException(
                        $"'in <string>' requires string as left operand, not {item.TypeName}"
                    );
                }

                ChargeText(text.Text.Length);
                return TextSearch.IndexOf(text.Text, part.Text) >= 0;
            case TemplateObject dictionary:
                CheckKey(item);
                return dictionary.Find(item) is not null;
            case DictionaryView { Kind: DictionaryView.ViewKind.Keys } view:
                CheckKey(item);
                return view.Dictionary.Find(item) is not null;
            case RangeValue range when Python.TryInteger(item, out BigInteger integer):
                BigInteger offset = integer - range.Start;
                BigInteger index = offset / range.Step;
                return offset % range.Step == 0 && index >= 0 && index < range.Length;
            default:
                if (!IsIterable(container))
                {
                    throw new EvaluationException($"argument of type '{container.TypeName}' is not iterable");
                }

                foreach (TemplateValue candidate in Iterate(container))
                {
                    if (ReferenceEquals(candidate, item) || AreEqual(candidate, item))
                    {
                        return true;
                    }
                }

                return false;
        }
    }

    TemplateValue Signed(UnaryOperator op, TemplateValue value)
    {
        bool minus = op == UnaryOperator.Minus;
        switch (value)
        {
            case UndefinedValue undefined:
                undefined.Throw();
                return undefined;
            case FloatValue number:
                return minus ? -number.Value : number;
            default:
                return Python.TryInteger(value, out BigInteger integer)
                    ? IntegerValue.Create(minus ? -integer : integer)
                    : throw new EvaluationException(
                        $"bad operand type for unary {(minus ? '-' : '+')}: '{value.TypeName}'"
                    );
        }
    }

    public TemplateValue Calculate(BinaryOperator op, TemplateValue left, TemplateValue right)
    {
        if (op == BinaryOperator.Modulo && left is TextValue format)
        {
            return PythonFormat.Percent(this, format, right);
        }

        if (left is UndefinedValue undefinedLeft)
        {
            undefinedLeft.Throw();
        }

        switch (op, left, right)
        {
            case (BinaryOperator.Add, TextValue a, TextValue b):
                return Add(a, b);
            case (BinaryOperator.Add, TextValue, not UndefinedValue):
                throw new EvaluationException($"can only concatenate str (not \"{right.TypeName}\") to str");
            case (_, _, UndefinedValue undefinedRight):
                undefinedRight.Throw();
                return undefinedRight;
            case (BinaryOperator.Add, TemplateList a, TemplateList b) when a.IsTuple == b.IsTuple:
                Charge(a.Count + b.Count);
                return new TemplateList(
                    [.. a.Items, .. b.Items],
                    a.IsTuple ? TemplateList.SequenceKind.Tuple : default
                );
            case (BinaryOperator.Add, TemplateList, _):
                throw new EvaluationException(
                    $"can only concatenate {left.TypeName} (not \"{right.TypeName}\") to {left.TypeName}"
                );
            case (BinaryOperator.Multiply, TextValue or TemplateList, _)
                when Python.TryInteger(right, out BigInteger times):
                return Repeat(left, times);
            case (BinaryOperator.Multiply, _, TextValue or TemplateList)
                when Python.TryInteger(left, out BigInteger times):
                return Repeat(right, times);
        }

        ChargeInteger(left);
        ChargeInteger(right);
        bool leftIsInteger = Python.TryInteger(left, out BigInteger x);
        bool rightIsInteger = Python.TryInteger(right, out BigInteger y);
        if (leftIsInteger && rightIsInteger)
        {
            return Calculate(op, x, y);
        }

        if ((leftIsInteger || left is FloatValue) && (rightIsInteger || right is FloatValue))
        {
            return Calculate(op, ToDouble(left), ToDouble(right));
        }

        string symbol = op switch
        {
            BinaryOperator.Add => "+",
            BinaryOperator.Subtract => "-",
            BinaryOperator.Multiply => "*",
            BinaryOperator.Divide => "/",
            BinaryOperator.FloorDivide => "//",
            BinaryOperator.Modulo => "%",
            _ => "** or pow()",
        };
        throw new EvaluationException(
            $"unsupported operand type(s) for {symbol}: '{left.TypeName}' and '{right.TypeName}'"
        );
    }

    TextValue Add(TextValue left, TextValue right)
    {
        if (left.IsMarkup != right.IsMarkup)
        {
            // What is added to Markup is escaped.
            left = left.IsMarkup ? left : Filters.Escape(this, left);
            right = right.IsMarkup ? right : Filters.Escape(this, right);
        }

        int length = left.Text.Length + right.Text.Length;
        CheckLength(length);
        UserSpans spans = UserSpans.Concat(left.Spans, left.Text.Length, right.Spans, right.Text.Length);
        return TextValue.Create(left.Text + right.Text, spans, left.IsMarkup);
    }

    TemplateValue Repeat(TemplateValue value, BigInteger times)
    {
        int size = value is TextValue text ? text.Text.Length : value.Count;
        if (times.Sign <= 0 || size == 0)
        {
            return value switch
            {
                TextValue { IsMarkup: true } => TextValue.Empty.AsMarkup(),
                TextValue => TextValue.Empty,
                TemplateList list => new TemplateList([], list.IsTuple ? TemplateList.SequenceKind.Tuple : default),
                _ => value,
            };
        }

        long length = CheckLength(times * size);
        int count = (int)(length / size);
        if (value is TemplateList source)
        {
            Charge(length);
            List<TemplateValue> items = new((int)length);
            for (int i = 0; i < count; i++)
            {
                items.AddRange(source.Items);
            }

            return new TemplateList(items, source.IsTuple ? TemplateList.SequenceKind.Tuple : default);
        }

        TextBuilder builder = NewBuilder();
        TextValue repeated = (TextValue)value;
        for (int i = 0; i < count; i++)
        {
            builder.Append(repeated);
        }

        TextValue result = builder.ToValue();
        return repeated.IsMarkup ? result.AsMarkup() : result;
    }

    /// <summary>A number as Python's float().</summary>
    public static double ToDouble(TemplateValue value)
    {
        if (value is FloatValue number)
        {
            return number.Value;
        }

        Python.TryInteger(value, out BigInteger integer);
        double converted = (double)integer;
        return double.IsFinite(converted)
            ? converted
            : throw new EvaluationException("int too large to convert to float");
    }

    static TemplateValue Calculate(BinaryOperator op, BigInteger x, BigInteger y)
    {
        switch (op)
        {
            case BinaryOperator.Add:
                return IntegerValue.Create(x + y);
            case BinaryOperator.Subtract:
                return IntegerValue.Create(x - y);
            case BinaryOperator.Multiply:
                return IntegerValue.Create(x * y);
            case BinaryOperator.Divide:
                return y.IsZero
                    ? throw new EvaluationException("division by zero")
                    : ToDouble(IntegerValue.Create(x)) / ToDouble(IntegerValue.Create(y));
            case BinaryOperator.FloorDivide or BinaryOperator.Modulo:
                if (y.IsZero)
                {
                    bool isModulo = op == BinaryOperator.Modulo;
                    throw new EvaluationException($"integer {(isModulo ? "modulo" : "division or modulo")} by zero");
                }

                // Python rounds down, so that the rest has the divisor's sign.
                BigInteger quotient = BigInteger.DivRem(x, y, out BigInteger rest);
                bool adjust = !rest.IsZero && rest.Sign != y.Sign;
                return IntegerValue.Create(
                    op == BinaryOperator.Modulo ? rest + (adjust ? y : 0) : quotient - (adjust ? 1 : 0)
                );
            default:
                return Power(x, y);
        }
    }

    static TemplateValue Power(BigInteger x, BigInteger y)
    {
        if (y.Sign < 0)
        {
            return x.IsZero
                ? throw new EvaluationException("0.0 cannot be raised to a negative power")
                : Calculate(BinaryOperator.Power, ToDouble(IntegerValue.Create(x)), ToDouble(IntegerValue.Create(y)));
        }

        if (BigInteger.Abs(x) <= 1)
        {
            return IntegerValue.Create(
                x.Sign < 0 && y.IsEven ? 1
                : y.IsZero ? 1
                : x
            );
        }

        // The result has about bits(x) * y bits: it is not computed when it cannot be kept.
        const int maxExponent = 1 << 16;
        return y <= maxExponent && x.GetBitLength() * (long)y <= maxExponent
            ? IntegerValue.Create(BigInteger.Pow(x, (int)y))
            : throw new EvaluationException(
                $"{PythonRepr.Text(IntegerValue.Create(x))} ** {PythonRepr.Text(IntegerValue.Create(y))} is beyond the limit"
            );
    }

    static TemplateValue Calculate(BinaryOperator op, double x, double y)
    {
        switch (op)
        {
            case BinaryOperator.Add:
                return x + y;
            case BinaryOperator.Subtract:
                return x - y;
            case BinaryOperator.Multiply:
                return x * y;
            case BinaryOperator.Divide:
                return y == 0 ? throw new EvaluationException("float division by zero") : x / y;
            case BinaryOperator.FloorDivide or BinaryOperator.Modulo:
                if (y == 0)
                {
                    bool isModulo = op == BinaryOperator.Modulo;
                    throw new EvaluationException(isModulo ? "float modulo" : "float floor division by zero");
                }

                (double quotient, double rest) = FloorDivide(x, y);
                return op == BinaryOperator.Modulo ? rest : quotient;
            default:
                if (x == 0 && y < 0)
                {
                    throw new EvaluationException("0.0 cannot be raised to a negative power");
                }

                if (x < 0 && double.IsFinite(x) && double.IsFinite(y) && !double.IsInteger(y))
                {
                    throw new EvaluationException("the power of a negative number is complex, which is not supported");
                }

                double power = Math.Pow(x, y);
                return double.IsInfinity(power) && double.IsFinite(x) && double.IsFinite(y)
                    ? throw new EvaluationException("(34, 'Numerical result out of range')")
                    : power;
        }
    }

    static (double Quotient, double Remainder) FloorDivide(double x, double y)
    {
        double rest = x % y;
        double quotient = (x - rest) / y;
        if (rest != 0)
        {
            if (y < 0 != rest < 0)
            {
                rest += y;
                quotient -= 1;
            }
        }
        else
        {
            rest = Math.CopySign(0, y);
        }

        if (quotient == 0)
        {
            return (Math.CopySign(0, x / y), rest);
        }

        double floor = Math.Floor(quotient);
        return (quotient - floor > 0.5 ? floor + 1 : floor, rest);
    }
}
