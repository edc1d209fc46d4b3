using System.Text;

namespace VlmSharp.Documents;

/// <summary>Words and tables as Markdown (CommonMark, pipe tables, LaTeX between dollar signs). What stands in them means itself: it is escaped.</summary>
static class MarkdownMarkup
{
    /// <summary>Words; line breaks are hard ones.</summary>
    /// <param name="runs">What is said.</param>
    /// <param name="inCell">Whether it stands in a pipe table, where a line break would end the row.</param>
    internal static string Words(IReadOnlyList<TextRun> runs, bool inCell = false)
    {
        StringBuilder markdown = new();
        foreach (TextRun run in runs)
        {
            if (run.Text.Length == 0)
            {
                continue;
            }

            // Marks must touch the words: blanks go outside.
            string text = run.Text.Trim(' ');
            string leading = run.Text.Length > 0 && run.Text[0] == ' ' ? " " : "";
            string trailing = run.Text.Length > 1 && run.Text[^1] == ' ' ? " " : "";
            if (text.Length == 0)
            {
                markdown.Append(' ');
                continue;
            }

            bool atLineStart = markdown.Length == 0 || markdown[^1] == '\n';
            string body =
                run.Style.HasFlag(TextStyle.Math) ? $"${Math(text, inCell)}$"
                : run.Style.HasFlag(TextStyle.Code) ? Code(text, inCell)
                : Escape(text, atLineStart, inCell);
            body = Style(body, run.Style);
            if (Links.Safe(run.Link) is { } link)
            {
                body = Link(body, link);
            }

            markdown.Append(leading).Append(body).Append(trailing);
        }

        string lineBreak = inCell ? "<br>" : "\\\n";
        string joined = markdown.ToString().Replace("\n", lineBreak);
        return inCell ? joined.Replace("|", "\\|") : joined;
    }

    internal static string Link(string escapedText, string address) =>
        $"[{escapedText}](<{address.Replace("<", "%3C").Replace(">", "%3E")}>)";

    static string Style(string text, TextStyle style)
    {
        text = style.HasFlag(TextStyle.Bold) ? $"**{text}**" : text;
        text = style.HasFlag(TextStyle.Italic) ? $"*{text}*" : text;
        text = style.HasFlag(TextStyle.Strike) ? $"~~{text}~~" : text;
        // Markdown has no signs for these, but takes HTML's.
        text = style.HasFlag(TextStyle.Underline) ? $"<u>{text}</u>" : text;
        text = style.HasFlag(TextStyle.Subscript) ? $"<sub>{text}</sub>" : text;
        return style.HasFlag(TextStyle.Superscript) ? $"<sup>{text}</sup>" : text;
    }

    /// <summary>LaTeX for between dollar signs. Where Markdown meets HTML, "less than" would begin a tag: LaTeX has a word for it.</summary>
    internal static string Math(string latex, bool inCell = false)
    {
        StringBuilder safe = new(latex.Length);
        for (int i = 0; i < latex.Length; i++)
        {
            char c = latex[i];
            if (c == '\\' && i + 1 < latex.Length && latex[i + 1] is '$' or '\\')
            {
                safe.Append(c).Append(latex[++i]);
            }
            else if (!char.IsControl(c) || c == '\n')
            {
                _ = c switch
                {
                    '<' => safe.Append("\\lt "),
                    '$' => safe.Append("\\$"),
                    '\n' => safe.Append(' '),
                    '|' when inCell => safe.Append("\\vert "),
                    _ => safe.Append(c),
                };
            }
        }

        return safe.ToString();
    }

    static string Code(string text, bool inCell)
    {
        text = Visible(text.Replace('\n', ' '));
        string fence = new('`', LongestRun(text, '`') + 1);
        string blank = text.StartsWith('`') || text.EndsWith('`') ? " " : "";
        // Code spans are read before HTML, but not by everything that shows Markdown.
        return text.Contains('<') && inCell
            ? Escape(text, atLineStart: false, inCell)
            : $"{fence}{blank}{text}{blank}{fence}";
    }

    /// <summary>A block of lines that mean themselves.</summary>
    internal static string Fenced(string text, string? language)
    {
        string fence = new('`', System.Math.Max(3, LongestRun(text, '`') + 1));
        string info = string.Concat(
            (language ?? "").Where(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '+' or '#' or '.')
        );
        return $"{fence}{info}\n{Visible(text)}\n{fence}";
    }

    static int LongestRun(string text, char of)
    {
        (int longest, int run) = (0, 0);
        foreach (char c in text)
        {
            run = c == of ? run + 1 : 0;
            longest = System.Math.Max(longest, run);
        }

        return longest;
    }

    static string Visible(string text) => string.Concat(text.Where(c => !char.IsControl(c) || c is '\n' or '\t'));

    /// <summary>Text in which no sign is Markdown or HTML.</summary>
    static string Escape(string text, bool atLineStart, bool inCell)
    {
        StringBuilder escaped = new(text.Length);
        for (int i = 0; i < text.Length; i++)
        {
            char c = text[i];
            if (c == '\n')
            {
                escaped.Append(c);
                atLineStart = true;
                continue;
            }

            if (atLineStart && !inCell && LineMark(text, i) is > 0 and int length)
            {
                // "1." would begin a list, "#" a title, "-" one or the other.
                escaped.Append(text, i, length - 1).Append('\\').Append(text[i + length - 1]);
                i += length - 1;
                atLineStart = false;
                continue;
            }

            atLineStart &= c == ' ';
            if (c is '<')
            {
                escaped.Append("&lt;");
            }
            else if (c is '&')
            {
                // Only what would be read as an entity needs it.
                bool entity = i + 1 < text.Length && (char.IsAsciiLetter(text[i + 1]) || text[i + 1] == '#');
                escaped.Append(entity ? "&amp;" : "&");
            }
            else if (c is '\\' or '`' or '*' or '[' or ']' or '~' or '$' or '^' || (c == '_' && !WithinWord(text, i)))
            {
                escaped.Append('\\').Append(c);
            }
            else if (!char.IsControl(c))
            {
                escaped.Append(c);
            }
        }

        return escaped.ToString();
    }

    static bool WithinWord(string text, int i) =>
        i > 0 && i + 1 < text.Length && char.IsLetterOrDigit(text[i - 1]) && char.IsLetterOrDigit(text[i + 1]);

    /// <summary>How long the mark is with which a line begins something else than text; 0 if it does not.</summary>
    static int LineMark(string text, int at)
    {
        if (text[at] is '#' or '+' or '-' or '>' or '=' or '|' or ':')
        {
            return 1;
        }

        int digits = 0;
        while (at + digits < text.Length && char.IsAsciiDigit(text[at + digits]))
        {
            digits++;
        }

        bool mark = digits is > 0 and < 10 && at + digits < text.Length && text[at + digits] is '.' or ')';
        return mark ? digits + 1 : 0;
    }

    /// <summary>A pipe table, or HTML where cells take several rows or columns or several rows are heads.</summary>
    internal static string Table(Table table)
    {
        string caption = table.Caption.Count > 0 ? Words(table.Caption) + "\n\n" : "";
        if (table.HasSpans || table.Rows.Skip(1).Any(row => row.All(cell => cell.IsHeader)))
        {
            return caption + HtmlMarkup.Table(table with { Caption = [] }, "", _ => "");
        }

        // Markdown knows no table without heads: the first row it is, as readers take it, too.
        int columns = table.Columns;
        StringBuilder markdown = new(caption);
        for (int i = 0; i < table.Rows.Count; i++)
        {
            markdown.Append('|');
            for (int column = 0; column < columns; column++)
            {
                string words = column < table.Rows[i].Count ? Words(table.Rows[i][column].Text, inCell: true) : "";
                markdown.Append(' ').Append(words).Append(words.Length > 0 ? " |" : "|");
            }

            markdown.Append('\n');
            if (i == 0)
            {
                markdown.Append('|').Append(string.Concat(Enumerable.Repeat(" --- |", columns))).Append('\n');
            }
        }

        return markdown.ToString().TrimEnd('\n');
    }
}
