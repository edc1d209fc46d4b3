using System.Text;

namespace VlmSharp.Documents;

/// <summary>Paragraphs and tables that a page break cuts in two.</summary>
static class PageBreaks
{
    // Of the page's width: how far the edges of two parts of one table may lie apart.
    const double Aligned = 0.03;

    /// <summary>Marks the last thing told on a page and the first on the next, if one clearly goes on in the other.</summary>
    internal static (ParsedPage Previous, ParsedPage Next) Join(ParsedPage previous, ParsedPage next)
    {
        int last = Index(previous.Elements, Enumerable.Range(0, previous.Elements.Count).Reverse());
        int first = Index(next.Elements, Enumerable.Range(0, next.Elements.Count));
        if (
            next.Number != previous.Number + 1
            || last < 0
            || first < 0
            || !GoesOn(previous.Elements[last], next.Elements[first], previous.Width)
        )
        {
            return (previous, next);
        }

        DocumentElement[] before = [.. previous.Elements];
        DocumentElement[] after = [.. next.Elements];
        before[last] = before[last] with { ContinuedBy = after[first].Id };
        after[first] = after[first] with { Continues = before[last].Id };
        return (previous with { Elements = before }, next with { Elements = after });
    }

    static int Index(IReadOnlyList<DocumentElement> elements, IEnumerable<int> order) =>
        order.Where(i => !elements[i].IsFurniture).DefaultIfEmpty(-1).First();

    static bool GoesOn(DocumentElement last, DocumentElement first, double width) =>
        !last.IsTruncated
        && (last.Kind, first.Kind) switch
        {
            (ElementKind.Paragraph, ElementKind.Paragraph) => SentenceGoesOn(last.Text, first.Text),
            (ElementKind.Table, ElementKind.Table) => TableGoesOn(last, first, width),
            _ => false,
        };

    /// <summary>A sentence that no sign ends, and then a small letter: scripts without small letters give no such hint.</summary>
    static bool SentenceGoesOn(IReadOnlyList<TextRun> last, IReadOnlyList<TextRun> first)
    {
        string end = TextRuns.Plain(last);
        string begin = TextRuns.Plain(first);
        return end.Length > 0
            && (char.IsLetterOrDigit(end[^1]) || end[^1] is ',' or '-' or '\u00AD')
            && Rune.DecodeFromUtf16(begin, out Rune letter, out _) == System.Buffers.OperationStatus.Done
            && Rune.IsLower(letter);
    }

    /// <summary>As many columns, and either the same first row again or no heads at all between the same edges.</summary>
    static bool TableGoesOn(DocumentElement last, DocumentElement first, double width)
    {
        (Table above, Table below) = (last.Table!, first.Table!);
        return below.Caption.Count == 0
            && above.Rows.Count > 0
            && below.Rows.Count > 0
            && above.Columns == below.Columns
            && (
                RepeatsHead(above, below)
                || (
                    !below.Rows[0].Any(cell => cell.IsHeader)
                    && last.Box is { } a
                    && first.Box is { } b
                    && Math.Abs(a.Left - b.Left) <= Aligned * width
                    && Math.Abs(a.Right - b.Right) <= Aligned * width
                )
            );
    }

    static bool RepeatsHead(Table above, Table below) =>
        above.Rows[0].Select(Words).SequenceEqual(below.Rows[0].Select(Words))
        && above.Rows[0].Any(cell => cell.Text.Count > 0);

    static string Words(TableCell cell) => TextRuns.Plain(cell.Text);

    /// <summary>Two parts of one element.</summary>
    internal static DocumentElement Merge(DocumentElement last, DocumentElement first)
    {
        if (last.Table is { } above && first.Table is { } below)
        {
            IEnumerable<IReadOnlyList<TableCell>> rows = below.Rows.Skip(RepeatsHead(above, below) ? 1 : 0);
            return last with
            {
                Table = above with { Rows = [.. above.Rows, .. rows] },
                IsTruncated = first.IsTruncated,
            };
        }

        // A hyphen stays, since only a reader of the language knows whether it belongs to the word; a soft one never does.
        TextRun end = last.Text[^1];
        bool soft = end.Text.EndsWith('\u00AD');
        TextRun[] joined =
        [
            .. last.Text.SkipLast(1),
            soft ? end with { Text = end.Text[..^1] } : end,
            .. soft || end.Text.EndsWith('-') ? (TextRun[])[] : [new TextRun(" ")],
            .. first.Text,
        ];
        return last with { Text = joined, IsTruncated = first.IsTruncated };
    }
}
