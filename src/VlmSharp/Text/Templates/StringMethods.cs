using System.Numerics;

namespace VlmSharp.Text.Templates;

/// <summary>The methods of Python's str. Parts of a string keep their marks; what is built from several keeps those of each.</summary>
internal static class StringMethods
{
    public static readonly Dictionary<string, Filter> All = Filter.Table(
        Method("upper", (_, self, _) => Mapped(self, PythonText.Upper(self.Text))),
        Method("lower", (_, self, _) => Mapped(self, PythonText.Lower(self.Text))),
        Method("title", (_, self, _) => Mapped(self, PythonText.Title(self.Text))),
        Method("capitalize", (_, self, _) => Mapped(self, PythonText.Capitalize(self.Text))),
        Method("swapcase", (_, self, _) => Mapped(self, PythonText.SwapCase(self.Text))),
        Method("casefold", (_, self, _) => Mapped(self, PythonText.CaseFold(self.Text))),
        Method("strip chars?", (_, self, a) => Strip(self, a[0], left: true, right: true)),
        Method("lstrip chars?", (_, self, a) => Strip(self, a[0], left: true, right: false)),
        Method("rstrip chars?", (_, self, a) => Strip(self, a[0], left: false, right: true)),
        Method("split sep? maxsplit?", (vm, self, a) => Split(vm, self, a[0], Limit(a[1]), fromRight: false)),
        Method("rsplit sep? maxsplit?", (vm, self, a) => Split(vm, self, a[0], Limit(a[1]), fromRight: true)),
        Method(
            "splitlines keepends?",
            (vm, self, a) => new TemplateList(SplitLines(vm, self, a[0] is { IsTrue: true }))
        ),
        Method("partition sep", (_, self, a) => Partition(self, a[0]!, last: false)),
        Method("rpartition sep", (_, self, a) => Partition(self, a[0]!, last: true)),
        Method("join iterable", Join),
        Method("replace old new count?", (vm, self, a) => Replace(vm, self, Text(a[0]!), Text(a[1]!), Limit(a[2]))),
        Method("removeprefix prefix", (_, self, a) => RemovePrefix(self, Text(a[0]!))),
        Method("removesuffix suffix", (_, self, a) => RemoveSuffix(self, Text(a[0]!))),
        Method("startswith prefix start? end?", (_, self, a) => HasAffix(self, a, atStart: true)),
        Method("endswith suffix start? end?", (_, self, a) => HasAffix(self, a, atStart: false)),
        Method("find sub start? end?", (_, self, a) => Find(self, a, last: false)),
        Method("rfind sub start? end?", (_, self, a) => Find(self, a, last: true)),
        Method("index sub start? end?", (_, self, a) => Found(Find(self, a, last: false))),
        Method("rindex sub start? end?", (_, self, a) => Found(Find(self, a, last: true))),
        Method("count sub start? end?", (_, self, a) => Count(self, a)),
        Method("isalpha", (_, self, _) => AllAre(self, PythonText.IsLetter)),
        Method("isalnum", (_, self, _) => AllAre(self, PythonText.IsAlphanumeric)),
        Method("isdecimal", (_, self, _) => AllAre(self, PythonText.IsDecimal)),
        Method("isdigit", (_, self, _) => AllAre(self, PythonText.IsDigit)),
        Method("isnumeric", (_, self, _) => AllAre(self, PythonText.IsNumeric)),
        Method("isspace", (_, self, _) => AllAre(self, c => c <= 0xFFFF && PythonText.IsSpace((char)c))),
        Method("isascii", (_, self, _) => System.Text.Ascii.IsValid(self.Text)),
        Method("isprintable", (_, self, _) => self.Text.Length == 0 || AllAre(self, PythonText.IsPrintable)),
        Method("isidentifier", (_, self, _) => PythonText.IsIdentifier(self.Text)),
        Method("isupper", (_, self, _) => IsCase(self.Text, PythonText.IsUpper)),
        Method("islower", (_, self, _) => IsCase(self.Text, PythonText.IsLower)),
        Method("istitle", (_, self, _) => IsTitle(self.Text)),
        Method("center width fillchar?", (vm, self, a) => Center(vm, self, Integer(a[0]!), a[1])),
        Method("ljust width fillchar?", (vm, self, a) => Pad(vm, self, 0, Missing(vm, self, a[0]!), a[1])),
        Method("rjust width fillchar?", (vm, self, a) => Pad(vm, self, Missing(vm, self, a[0]!), 0, a[1])),
        Method("zfill width", ZeroFill),
        Method("expandtabs tabsize?", ExpandTabs),
        Method("encode encoding? errors?", (_, _, _) => throw Unsupported("encode")),
        Method("translate table", (_, _, _) => throw Unsupported("translate")),
        Method("maketrans x? y? z?", (_, _, _) => throw Unsupported("maketrans")),
        Filter.Free("format", (vm, self, arguments) => PythonFormat.Braces(vm, (TextValue)self, arguments)),
        Method("format_map mapping", (vm, self, a) => PythonFormat.Braces(vm, self, AsKeywords(a[0]!)))
    );

    static Filter Method(string signature, Func<Interpreter, TextValue, TemplateValue?[], TemplateValue> body) =>
        new(
            signature,
            (vm, self, arguments) =>
            {
                TextValue text = (TextValue)self;
                vm.ChargeText(text.Text.Length);
                return body(vm, text, arguments);
            }
        );

    static EvaluationException Unsupported(string method) => new($"str.{method} is not supported in chat templates");

    public static TextValue Text(TemplateValue value)
    {
        if (value is UndefinedValue undefined)
        {
            undefined.Throw();
        }

        return value as TextValue ?? throw new EvaluationException($"must be str, not {value.TypeName}");
    }

    public static BigInteger Integer(TemplateValue value) =>
        Python.TryInteger(value, out BigInteger integer)
            ? integer
            : throw new EvaluationException($"'{value.TypeName}' object cannot be interpreted as an integer");

    /// <summary>How often to split or replace: any negative number, and none at all, stand for no limit.</summary>
    public static int Limit(TemplateValue? value)
    {
        BigInteger limit = value is null ? -1 : Integer(value);
        return limit.Sign < 0 ? int.MaxValue : (int)BigInteger.Min(limit, int.MaxValue);
    }

    static Arguments AsKeywords(TemplateValue mapping) =>
        mapping is TemplateObject dictionary
            ? new Arguments([], [.. dictionary.Select(entry => (entry.Key, entry.Value))])
            : throw new EvaluationException("format_map() needs a mapping");

    /// <summary>A string mapped character by character. Where nothing grew, the marks stay where they were.</summary>
    public static TextValue Mapped(TextValue source, string result)
    {
        if (result == source.Text)
        {
            return source;
        }

        TextValue mapped =
            result.Length == source.Text.Length
                ? TextValue.Create(result, source.Spans)
                : TextValue.Derived(result, source);
        return source.IsMarkup ? mapped.AsMarkup() : mapped;
    }

    public static TextValue Strip(TextValue self, TemplateValue? characters, bool left, bool right)
    {
        string text = self.Text;
        TextValue? set = characters is null or NoneValue ? null : Text(characters);
        int start = 0;
        int end = text.Length;
        if (set is { HasSurrogates: true } || (set is not null && self.HasSurrogates))
        {
            HashSet<int> codePoints = [];
            for (int i = 0; i < set.Text.Length; i += CodePoints.LengthAt(set.Text, i))
            {
                codePoints.Add(CodePoints.At(set.Text, i));
            }

            while (left && start < end && codePoints.Contains(CodePoints.At(text, start)))
            {
                start += CodePoints.LengthAt(text, start);
            }

            while (right && end > start)
            {
                int last = end - 1;
                last -= last > start && CodePoints.LengthAt(text, last - 1) == 2 ? 1 : 0;
                if (!codePoints.Contains(CodePoints.At(text, last)))
                {
                    break;
                }

                end = last;
            }
        }
        else
        {
            while (left && start < end && IsStripped(text[start]))
            {
                start++;
            }

            while (right && end > start && IsStripped(text[end - 1]))
            {
                end--;
            }
        }

        return self.Slice(start, end - start);

        bool IsStripped(char c) => set is null ? PythonText.IsSpace(c) : set.Text.Contains(c);
    }

    static TemplateList Split(Interpreter vm, TextValue self, TemplateValue? separator, int limit, bool fromRight)
    {
        List<TemplateValue> parts = [];
        string text = self.Text;
        if (separator is null or NoneValue)
        {
            SplitAtSpace(vm, self, limit, fromRight, parts);
        }
        else
        {
            string sep = Text(separator).Text;
            if (sep.Length == 0)
            {
                throw new EvaluationException("empty separator");
            }

            List<int> cuts = fromRight ? OccurrencesFromRight(text, sep, limit) : Occurrences(text, sep, limit);
            vm.Charge(cuts.Count);

            int start = 0;
            foreach (int cut in cuts)
            {
                parts.Add(self.Slice(start, cut - start));
                start = cut + sep.Length;
            }

            parts.Add(self.Slice(start, text.Length - start));
        }

        return new TemplateList(parts);
    }

    /// <summary>The positions of a string in another one, from the left, without overlaps.</summary>
    static List<int> Occurrences(string text, string part, int limit)
    {
        List<int> found = [];
        int at = 0;
        while (found.Count < limit && (at = TextSearch.IndexOf(text, part, at)) >= 0)
        {
            found.Add(at);
            at += part.Length;
        }

        return found;
    }

    /// <summary>The same from the right: read backwards, the last is the first.</summary>
    static List<int> OccurrencesFromRight(string text, string part, int limit)
    {
        List<int> found = Occurrences(TextSearch.Reverse(text), TextSearch.Reverse(part), limit);
        found.Reverse();
        return found.ConvertAll(at => text.Length - at - part.Length);
    }

    static void SplitAtSpace(Interpreter vm, TextValue self, int limit, bool fromRight, List<TemplateValue> parts)
    {
        string text = self.Text;
        if (!fromRight)
        {
            int at = SkipSpace(text, 0);
            while (at < text.Length)
            {
                vm.Step();
                int end = at;
                while (end < text.Length && (parts.Count >= limit || !PythonText.IsSpace(text[end])))
                {
                    end++;
                }

                // The rest after the last split keeps its inner space, and the space at its end.
                parts.Add(self.Slice(at, end - at));
                at = SkipSpace(text, end);
            }

            return;
        }

        int stop = SkipSpaceBack(text, text.Length);
        while (stop > 0)
        {
            vm.Step();
            int start = stop;
            while (start > 0 && (parts.Count >= limit || !PythonText.IsSpace(text[start - 1])))
            {
                start--;
            }

            parts.Add(self.Slice(start, stop - start));
            stop = SkipSpaceBack(text, start);
        }

        parts.Reverse();
    }

    static int SkipSpace(string text, int at)
    {
        while (at < text.Length && PythonText.IsSpace(text[at]))
        {
            at++;
        }

        return at;
    }

    static int SkipSpaceBack(string text, int at)
    {
        while (at > 0 && PythonText.IsSpace(text[at - 1]))
        {
            at--;
        }

        return at;
    }

    public static List<TemplateValue> SplitLines(Interpreter vm, TextValue self, bool keepEnds)
    {
        List<TemplateValue> lines = [];
        string text = self.Text;
        for (int start = 0; start < text.Length; )
        {
            vm.Step();
            int end = start;
            while (end < text.Length && !PythonText.IsLineBreak(text[end]))
            {
                end++;
            }

            int next = Math.Min(end + 1, text.Length);
            if (next < text.Length && text[end] == '\r' && text[next] == '\n')
            {
                next++;
            }

            lines.Add(self.Slice(start, (keepEnds ? next : end) - start));
            start = next;
        }

        return lines;
    }

    static TemplateList Partition(TextValue self, TemplateValue separator, bool last)
    {
        TextValue sep = Text(separator);
        if (sep.Text.Length == 0)
        {
            throw new EvaluationException("empty separator");
        }

        int at = last ? TextSearch.LastIndexOf(self.Text, sep.Text) : TextSearch.IndexOf(self.Text, sep.Text);
        if (at < 0)
        {
            return last
                ? TemplateList.Tuple(TextValue.Empty, TextValue.Empty, self)
                : TemplateList.Tuple(self, TextValue.Empty, TextValue.Empty);
        }

        int after = at + sep.Text.Length;
        return TemplateList.Tuple(
            self.Slice(0, at),
            self.Slice(at, sep.Text.Length),
            self.Slice(after, self.Text.Length - after)
        );
    }

    static TextValue Join(Interpreter vm, TextValue self, TemplateValue?[] arguments)
    {
        TextBuilder builder = vm.NewBuilder();
        int index = 0;
        foreach (TemplateValue item in vm.Iterate(arguments[0]!))
        {
            if (item is not TextValue)
            {
                throw new EvaluationException($"sequence item {index}: expected str instance, {item.TypeName} found");
            }

            if (index++ > 0)
            {
                vm.ChargeText(self.Text.Length);
                builder.Append(self);
            }

            PythonRepr.AppendText(vm, builder, item);
        }

        return builder.ToValue();
    }

    public static TextValue Replace(Interpreter vm, TextValue self, TextValue old, TextValue replacement, int limit)
    {
        TextBuilder builder = vm.NewBuilder();
        string text = self.Text;
        int start = 0;
        if (old.Text.Length == 0)
        {
            // Between all characters, at the start and at the end.
            for (int count = 0; count < limit; count++)
            {
                vm.Step();
                builder.Append(replacement);
                if (start == text.Length)
                {
                    break;
                }

                int length = CodePoints.LengthAt(text, start);
                builder.Append(self, start, length);
                start += length;
            }
        }
        else
        {
            foreach (int at in Occurrences(text, old.Text, limit))
            {
                vm.Step();
                builder.Append(self, start, at - start);
                builder.Append(replacement);
                start = at + old.Text.Length;
            }

            if (start == 0)
            {
                return self;
            }
        }

        builder.Append(self, start, text.Length - start);
        TextValue result = builder.ToValue();
        // Who chooses what is cut out of a text can join what stood apart.
        result = old.Spans.Any ? TextValue.Create(result.Text, UserSpans.Whole) : result;
        return self.IsMarkup ? result.AsMarkup() : result;
    }

    static TextValue RemovePrefix(TextValue self, TextValue prefix) =>
        self.Text.StartsWith(prefix.Text, StringComparison.Ordinal)
            ? self.Slice(prefix.Text.Length, self.Text.Length - prefix.Text.Length)
            : self;

    static TextValue RemoveSuffix(TextValue self, TextValue suffix) =>
        self.Text.EndsWith(suffix.Text, StringComparison.Ordinal)
            ? self.Slice(0, self.Text.Length - suffix.Text.Length)
            : self;

    static TemplateValue HasAffix(TextValue self, TemplateValue?[] arguments, bool atStart)
    {
        if (WindowOf(self, arguments) is not { } window)
        {
            return false;
        }

        return arguments[0] is TemplateList { IsTuple: true } several
            ? several.Items.Exists(affix => Has(Text(affix)))
            : Has(Text(arguments[0]!));

        bool Has(TextValue affix)
        {
            ReadOnlySpan<char> text = self.Text.AsSpan(window.Start, window.End - window.Start);
            return atStart ? text.StartsWith(affix.Text) : text.EndsWith(affix.Text);
        }
    }

    /// <summary>The part of a string that a search looks at, in UTF-16 units; null when it starts behind its end.</summary>
    static (int Start, int End)? WindowOf(TextValue self, TemplateValue?[] arguments)
    {
        if (arguments[1] is null && arguments[2] is null)
        {
            return (0, self.Text.Length);
        }

        int count = self.Count;
        if (arguments[1] is { } start && Python.TryInteger(start, out BigInteger given) && given > count)
        {
            return null;
        }

        (int from, int to) = Methods.Window(count, arguments[1], arguments[2]);
        return from <= to ? (CodePoints.Offset(self, from), CodePoints.Offset(self, to)) : null;
    }

    static int Find(TextValue self, TemplateValue?[] arguments, bool last)
    {
        string part = Text(arguments[0]!).Text;
        if (WindowOf(self, arguments) is not { } window)
        {
            return -1;
        }

        string text = self.Text[window.Start..window.End];
        int at = last ? TextSearch.LastIndexOf(text, part) : TextSearch.IndexOf(text, part);
        return at < 0 ? -1 : CodePoints.Index(self, window.Start + at);
    }

    static int Found(int index) => index >= 0 ? index : throw new EvaluationException("substring not found");

    static int Count(TextValue self, TemplateValue?[] arguments)
    {
        string part = Text(arguments[0]!).Text;
        if (WindowOf(self, arguments) is not { } window)
        {
            return 0;
        }

        string text = self.Text[window.Start..window.End];
        return part.Length == 0 ? CodePoints.Count(text) + 1 : Occurrences(text, part, int.MaxValue).Count;
    }

    static bool AllAre(TextValue self, Func<int, bool> test)
    {
        for (int i = 0; i < self.Text.Length; i += CodePoints.LengthAt(self.Text, i))
        {
            if (!test(CodePoints.At(self.Text, i)))
            {
                return false;
            }
        }

        return self.Text.Length > 0;
    }

    /// <summary>Whether all cased characters are of one case, and there are some.</summary>
    public static bool IsCase(string text, Func<int, bool> isCase)
    {
        bool any = false;
        for (int i = 0; i < text.Length; i += CodePoints.LengthAt(text, i))
        {
            int c = CodePoints.At(text, i);
            if (isCase(c))
            {
                any = true;
            }
            else if (PythonText.IsCased(c))
            {
                return false;
            }
        }

        return any;
    }

    static bool IsTitle(string text)
    {
        bool any = false;
        bool inWord = false;
        for (int i = 0; i < text.Length; i += CodePoints.LengthAt(text, i))
        {
            int c = CodePoints.At(text, i);
            bool starts = PythonText.IsUpper(c) || PythonText.IsTitle(c);
            if ((starts && inWord) || (PythonText.IsLower(c) && !inWord))
            {
                return false;
            }

            inWord = PythonText.IsCased(c);
            any |= inWord;
        }

        return any;
    }

    static int Missing(Interpreter vm, TextValue self, TemplateValue width) =>
        (int)Math.Max(vm.CheckLength(Integer(width)) - self.Count, 0);

    public static TextValue Center(Interpreter vm, TextValue self, BigInteger width, TemplateValue? fill)
    {
        long wanted = vm.CheckLength(width);
        int missing = (int)Math.Max(wanted - self.Count, 0);
        // With an odd rest Python puts more on the left when the width is odd too.
        int left = missing / 2 + (int)(missing & wanted & 1);
        return Pad(vm, self, left, missing - left, fill);
    }

    static TextValue Pad(Interpreter vm, TextValue self, int left, int right, TemplateValue? fill)
    {
        TextValue filler = fill is null ? TextValue.Create(" ") : Text(fill);
        if (filler.Count != 1)
        {
            throw new EvaluationException("The fill character must be exactly one character long");
        }

        if (left + right == 0)
        {
            return self;
        }

        TextBuilder builder = vm.NewBuilder();
        for (int i = 0; i < left; i++)
        {
            builder.Append(filler);
        }

        builder.Append(self);
        for (int i = 0; i < right; i++)
        {
            builder.Append(filler);
        }

        return builder.ToValue();
    }

    static TextValue ZeroFill(Interpreter vm, TextValue self, TemplateValue?[] arguments)
    {
        int missing = Missing(vm, self, arguments[0]!);
        int sign = self.Text.StartsWith('+') || self.Text.StartsWith('-') ? 1 : 0;
        TextBuilder builder = vm.NewBuilder();
        builder.Append(self, 0, sign);
        builder.Append('0', missing, user: false);
        builder.Append(self, sign, self.Text.Length - sign);
        return builder.ToValue();
    }

    static TextValue ExpandTabs(Interpreter vm, TextValue self, TemplateValue?[] arguments)
    {
        long size = arguments[0] is null ? 8 : vm.CheckLength(Integer(arguments[0]!));
        TextBuilder builder = vm.NewBuilder();
        long column = 0;
        for (int i = 0; i < self.Text.Length; i += CodePoints.LengthAt(self.Text, i))
        {
            switch (self.Text[i])
            {
                case '\t':
                    long blanks = size > 0 ? size - column % size : 0;
                    vm.ChargeText(blanks);
                    builder.Append(' ', blanks, self.Spans.Any);
                    column += blanks;
                    break;
                case '\n' or '\r':
                    builder.Append(self, i, 1);
                    column = 0;
                    break;
                default:
                    builder.Append(self, i, CodePoints.LengthAt(self.Text, i));
                    column++;
                    break;
            }
        }

        return builder.ToValue();
    }
}
