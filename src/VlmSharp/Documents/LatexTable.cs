using System.Globalization;
using System.Text;

namespace VlmSharp.Documents;

/// <summary>Tables as Qwen3-VL's Markdown has them: LaTeX's <c>tabular</c>, with <c>\multicolumn</c> and <c>\multirow</c>.</summary>
static class LatexTable
{
    // Rules, and commands about the table as a whole.
    static readonly HashSet<string> Skipped =
    [
        "hline",
        "toprule",
        "midrule",
        "bottomrule",
        "centering",
        "small",
        "footnotesize",
        "raggedright",
        "noindent",
        "endhead",
        "endfirsthead",
        "endfoot",
        "endlastfoot",
    ];

    static readonly HashSet<string> SkippedWithArgument =
    [
        "cline",
        "cmidrule",
        "label",
        "vspace",
        "rowcolor",
        "cellcolor",
    ];

    static readonly Dictionary<string, TextStyle> Styles = new()
    {
        ["textbf"] = TextStyle.Bold,
        ["textit"] = TextStyle.Italic,
        ["emph"] = TextStyle.Italic,
        ["underline"] = TextStyle.Underline,
        ["texttt"] = TextStyle.Code,
        ["textsubscript"] = TextStyle.Subscript,
        ["textsuperscript"] = TextStyle.Superscript,
        ["text"] = TextStyle.None,
        ["textrm"] = TextStyle.None,
        ["makecell"] = TextStyle.None,
        ["shortstack"] = TextStyle.None,
    };

    /// <summary>Reads a table; commands that are not known stay as they are written.</summary>
    /// <param name="latex">From <c>\begin</c> on.</param>
    /// <param name="whole">Whether it ends; else its last row is left out.</param>
    internal static Table? Read(string latex, bool whole)
    {
        int begin = latex.IndexOf(@"\begin{tabular", StringComparison.Ordinal);
        begin = begin < 0 ? latex.IndexOf(@"\begin{longtable", StringComparison.Ordinal) : begin;
        if (begin < 0)
        {
            return null;
        }

        Reader caption = new(latex[..begin]);
        int at = latex.IndexOf('}', begin) + 1;
        if (at == 0)
        {
            return null;
        }

        int end = latex.LastIndexOf(@"\end{tabular", StringComparison.Ordinal);
        end = end < 0 ? latex.LastIndexOf(@"\end{longtable", StringComparison.Ordinal) : end;
        Reader reader = new(end < at ? latex[at..] : latex[at..end]);
        // [position] and {columns}; tabular* has a width before them.
        reader.SkipOption();
        if (latex.AsSpan(begin).StartsWith(@"\begin{tabular*}"))
        {
            reader.SkipArgument();
            reader.SkipOption();
        }

        reader.SkipArgument();
        List<List<TableCell>> rows = reader.Rows(whole);
        return new([.. WithoutCovered(rows)], caption.Caption());
    }

    /// <summary>LaTeX writes an empty cell below one that reaches down; HTML writes none.</summary>
    static IEnumerable<IReadOnlyList<TableCell>> WithoutCovered(List<List<TableCell>> rows)
    {
        Dictionary<int, int> reach = [];
        foreach (List<TableCell> row in rows)
        {
            List<TableCell> kept = [];
            int column = 0;
            foreach (TableCell cell in row)
            {
                bool covered = reach.GetValueOrDefault(column) > 0 && cell.Text.Count == 0;
                if (!covered)
                {
                    kept.Add(cell);
                }

                for (int i = 0; i < cell.ColumnSpan; i++, column++)
                {
                    reach[column] = covered ? reach.GetValueOrDefault(column) - 1 : cell.RowSpan - 1;
                }
            }

            if (kept.Count > 0)
            {
                yield return kept;
            }
        }
    }

    sealed class Reader(string source)
    {
        const int MaxDepth = 50;

        int at;

        internal void SkipOption()
        {
            SkipBlanks();
            SkipBetween('[', ']');
        }

        internal void SkipArgument() => _ = Argument();

        internal IReadOnlyList<TextRun> Caption()
        {
            int found = source.IndexOf(@"\caption", StringComparison.Ordinal);
            if (found < 0)
            {
                return [];
            }

            at = found + @"\caption".Length;
            return TextRuns.Collapse(new Reader(Argument()).Words(TextStyle.None, 0));
        }

        internal List<List<TableCell>> Rows(bool whole)
        {
            List<List<TableCell>> rows = [];
            List<TableCell> row = [];
            int start = at;
            int depth = 0;
            while (at < source.Length)
            {
                char c = source[at];
                if (c == '\\' && at + 1 < source.Length)
                {
                    at += 2;
                    if (source[at - 1] == '\\' && depth == 0)
                    {
                        row.Add(Cell(source[start..(at - 2)]));
                        EndRow();
                        SkipOption();
                        start = at;
                    }

                    continue;
                }

                depth = Math.Max(0, depth + (c == '{' ? 1 : 0) - (c == '}' ? 1 : 0));
                if (c == '&' && depth == 0)
                {
                    row.Add(Cell(source[start..at]));
                    start = at + 1;
                }

                at++;
            }

            // The last row needs no \\, so what is left is a row or nothing; in a table that is cut off, half of one.
            if (whole)
            {
                row.Add(Cell(source[start..]));
                EndRow();
            }

            return rows;

            void EndRow()
            {
                if (row.Count > 1 || row[0].Text.Count > 0)
                {
                    rows.Add(row);
                }

                row = [];
            }
        }

        static TableCell Cell(string text)
        {
            Reader reader = new(text);
            (int rows, int columns) = (1, 1);
            while (true)
            {
                reader.SkipBlanks();
                int start = reader.at;
                string command = reader.Command();
                if (command is "multicolumn" or "multirow")
                {
                    int span = int.TryParse(
                        reader.Argument().Trim(),
                        NumberStyles.None,
                        CultureInfo.InvariantCulture,
                        out int n
                    )
                        ? Math.Clamp(n, 1, Table.MaxSpan)
                        : 1;
                    (rows, columns) = command == "multirow" ? (span, columns) : (rows, span);
                    reader.SkipArgument(); // how it is aligned, how wide it is
                    reader = new(reader.Argument());
                }
                else if (!reader.SkipCommand(command))
                {
                    reader.at = start;
                    return new(TextRuns.Collapse(reader.Words(TextStyle.None, 0)), false, rows, columns);
                }
            }
        }

        /// <summary>Text with the commands for its look taken out.</summary>
        List<TextRun> Words(TextStyle style, int depth)
        {
            List<TextRun> runs = [];
            StringBuilder plain = new();
            while (at < source.Length)
            {
                int before = at;
                char c = source[at++];
                if (c == '$')
                {
                    int close = source.IndexOf('$', at);
                    if (close > at)
                    {
                        Flush();
                        runs.Add(new(source[at..close].Trim(), style | TextStyle.Math));
                        at = close + 1;
                        continue;
                    }

                    plain.Append(c);
                }
                else if (c == '\\')
                {
                    at = before;
                    AddCommand(before);
                }
                else if (c is '~')
                {
                    plain.Append(' ');
                }
                else if (c is not ('{' or '}'))
                {
                    plain.Append(c == TextRuns.LineBreak ? ' ' : c);
                }
            }

            Flush();
            return runs;

            void Flush()
            {
                if (plain.Length > 0)
                {
                    runs.Add(new(plain.ToString(), style));
                    plain.Clear();
                }
            }

            void AddCommand(int start)
            {
                string command = Command();
                if (command.Length == 0)
                {
                    // \& \% \$ \_ \{ are signs, \\ is a line break within a cell.
                    char sign = at + 1 < source.Length ? source[at + 1] : '\\';
                    at = Math.Min(at + 2, source.Length);
                    plain.Append(sign == '\\' ? TextRuns.LineBreak : sign);
                }
                else if (Styles.TryGetValue(command, out TextStyle added) && depth < MaxDepth)
                {
                    SkipOption();
                    Flush();
                    runs.AddRange(new Reader(Argument()).Words(style | added, depth + 1));
                }
                else if (!SkipCommand(command))
                {
                    plain.Append(source, start, at - start);
                }
            }
        }

        /// <summary>The letters of the command that begins here, gone over; "" where none does.</summary>
        string Command()
        {
            if (at >= source.Length || source[at] != '\\')
            {
                return "";
            }

            int end = at + 1;
            while (end < source.Length && char.IsAsciiLetter(source[end]))
            {
                end++;
            }

            string name = source[(at + 1)..end];
            at = name.Length > 0 ? end : at;
            return name;
        }

        /// <summary>Whether a command shows nothing; its arguments are gone over, too.</summary>
        bool SkipCommand(string command)
        {
            if (SkippedWithArgument.Contains(command))
            {
                SkipOption();
                SkipBetween('(', ')'); // \cmidrule(lr){2-3}
                SkipArgument();
                return true;
            }

            return Skipped.Contains(command);
        }

        /// <summary>What stands in the braces that begin here, or the one character that does.</summary>
        string Argument()
        {
            SkipBlanks();
            if (at >= source.Length || source[at] != '{')
            {
                return at < source.Length ? source[at++].ToString() : "";
            }

            int start = ++at;
            for (int depth = 1; at < source.Length; at++)
            {
                char c = source[at];
                if (c == '\\')
                {
                    at++;
                }
                else if (c == '}' && --depth == 0)
                {
                    return source[start..at++];
                }
                else if (c == '{')
                {
                    depth++;
                }
            }

            at = source.Length;
            return source[start..];
        }

        void SkipBetween(char open, char close)
        {
            if (at < source.Length && source[at] == open)
            {
                int end = source.IndexOf(close, at);
                at = end < 0 ? source.Length : end + 1;
            }
        }

        void SkipBlanks()
        {
            while (at < source.Length && char.IsWhiteSpace(source[at]))
            {
                at++;
            }
        }
    }
}
