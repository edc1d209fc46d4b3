using System.Text;

namespace VlmSharp.Documents;

/// <summary>What is done with the words of a line.</summary>
static class TextRuns
{
    /// <summary>The words alone, LaTeX between dollar signs.</summary>
    internal static string Plain(IReadOnlyList<TextRun> runs) =>
        string.Concat(runs.Select(run => run.Style.HasFlag(TextStyle.Math) ? $"${run.Text}$" : run.Text));

    /// <summary>Whether blanks and signs mean themselves.</summary>
    internal static bool IsVerbatim(TextRun run) => (run.Style & (TextStyle.Code | TextStyle.Math)) != TextStyle.None;

    internal static bool IsBlank(IReadOnlyList<TextRun> runs) => runs.All(run => string.IsNullOrWhiteSpace(run.Text));

    /// <summary>Blanks become one, those at ends of lines none; line breaks of the source are blanks, those of elements stay.</summary>
    /// <param name="runs">With <see cref="LineBreak"/> for a break that counts.</param>
    internal static IReadOnlyList<TextRun> Collapse(IEnumerable<TextRun> runs)
    {
        List<TextRun> result = [];
        bool blank = true; // nothing stands before it on its line
        foreach (TextRun run in runs)
        {
            if (IsVerbatim(run))
            {
                Add(run);
                blank = false;
                continue;
            }

            StringBuilder text = new(run.Text.Length);
            foreach (char c in run.Text)
            {
                if (c == LineBreak)
                {
                    TrimEnd(text, result);
                    text.Append('\n');
                    blank = true;
                }
                else if (c is ' ' or '\t' or '\n' or '\r' or '\f')
                {
                    if (!blank)
                    {
                        text.Append(' ');
                    }

                    blank = true;
                }
                else
                {
                    text.Append(c);
                    blank = false;
                }
            }

            Add(run with { Text = text.ToString() });
        }

        // Blanks and breaks at the very ends belong to nobody.
        while (result is [.., var last] && !IsVerbatim(last))
        {
            string trimmed = last.Text.TrimEnd(' ', '\n');
            result.RemoveAt(result.Count - 1);
            if (trimmed.Length > 0)
            {
                result.Add(last with { Text = trimmed });
                break;
            }
        }

        while (result is [var first, ..] && !IsVerbatim(first))
        {
            string trimmed = first.Text.TrimStart(' ', '\n');
            result.RemoveAt(0);
            if (trimmed.Length > 0)
            {
                result.Insert(0, first with { Text = trimmed });
                break;
            }
        }

        return result;

        void Add(TextRun run)
        {
            if (run.Text.Length == 0)
            {
                return;
            }

            if (result is [.., var last] && last.Style == run.Style && last.Link == run.Link && !IsVerbatim(run))
            {
                result[^1] = last with { Text = last.Text + run.Text };
            }
            else
            {
                result.Add(run);
            }
        }

        static void TrimEnd(StringBuilder text, List<TextRun> before)
        {
            if (text.Length > 0 && text[^1] == ' ')
            {
                text.Length--;
            }
            else if (text.Length == 0 && before is [.., var last] && !IsVerbatim(last))
            {
                before[^1] = last with { Text = last.Text.TrimEnd(' ') };
            }
        }
    }

    /// <summary>A line break that counts, until <see cref="Collapse"/> has seen it. Not a character of any text: U+2028.</summary>
    internal const char LineBreak = '\u2028';

    /// <summary>Finds the LaTeX in a line: <c>$x$</c> as Pandoc reads it, <c>\(x\)</c>, and both forms for lines of their own.</summary>
    internal static IReadOnlyList<TextRun> SplitMath(string text, TextStyle style, string? link)
    {
        List<TextRun> runs = [];
        HashSet<string> absent = []; // closing signs that do not come any more
        int done = 0;
        for (
            int at = text.IndexOfAny(['$', '\\']);
            at >= 0;
            at = at < text.Length ? text.IndexOfAny(['$', '\\'], at) : -1
        )
        {
            string? close = text.AsSpan(at) switch
            {
                ['$', '$', ..] => "$$",
                ['$', ..] => "$",
                ['\\', '(', ..] => @"\)",
                ['\\', '[', ..] => @"\]",
                _ => null,
            };
            int from = at + (close?.Length ?? 2); // a backslash takes the next character with it
            int end =
                close is null || absent.Contains(close) ? -1
                : close == "$" ? EndOfDollars(text, from)
                : text.IndexOf(close, from, StringComparison.Ordinal);
            if (end <= from)
            {
                if (end < 0 && close is not (null or "$"))
                {
                    absent.Add(close);
                }

                at = Math.Min(from, text.Length);
                continue;
            }

            if (at > done)
            {
                runs.Add(new(text[done..at], style, link));
            }

            runs.Add(new(text[from..end].Trim(), style | TextStyle.Math, link));
            at = done = end + close!.Length;
        }

        if (done < text.Length)
        {
            runs.Add(new(text[done..], style, link));
        }

        return runs;
    }

    /// <summary>The dollar sign that closes one: on the same line, no blank within at either end, no digit behind, or it is money.</summary>
    static int EndOfDollars(string text, int from)
    {
        int end = text.AsSpan(from).IndexOfAny('$', '\n') is >= 0 and int length ? from + length : -1;
        return
            end > from
            && text[end] == '$'
            && text[from] != ' '
            && text[end - 1] is not (' ' or '\\')
            && !(end + 1 < text.Length && char.IsAsciiDigit(text[end + 1]))
            ? end
            : -1;
    }

    /// <summary>LaTeX without the signs around it.</summary>
    internal static string Latex(string text)
    {
        string trimmed = text.Trim();
        foreach (
            (string open, string close) in (ReadOnlySpan<(string, string)>)
                [("$$", "$$"), (@"\[", @"\]"), (@"\(", @"\)"), ("$", "$")]
        )
        {
            if (
                trimmed.Length >= open.Length + close.Length
                && trimmed.StartsWith(open, StringComparison.Ordinal)
                && trimmed.EndsWith(close, StringComparison.Ordinal)
                && !trimmed[open.Length..^close.Length].Contains(open)
            )
            {
                return trimmed[open.Length..^close.Length].Trim();
            }
        }

        return trimmed;
    }
}
