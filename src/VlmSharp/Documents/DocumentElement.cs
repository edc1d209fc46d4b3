namespace VlmSharp.Documents;

/// <summary>What a part of a page is.</summary>
public enum ElementKind
{
    /// <summary>A title; see <see cref="DocumentElement.Level"/>.</summary>
    Heading,

    /// <summary>Running text.</summary>
    Paragraph,

    /// <summary>See <see cref="DocumentElement.Items"/>.</summary>
    List,

    /// <summary>See <see cref="DocumentElement.Table"/>.</summary>
    Table,

    /// <summary>A picture; its text is its caption or what is written in it.</summary>
    Image,

    /// <summary>A diagram, whose numbers may be a table.</summary>
    Chart,

    /// <summary>A formula on lines of its own, in LaTeX.</summary>
    Formula,

    /// <summary>Notes, in the notation that <see cref="DocumentElement.Notation"/> names.</summary>
    MusicSheet,

    /// <summary>A molecule, in the notation that <see cref="DocumentElement.Notation"/> names.</summary>
    ChemicalFormula,

    /// <summary>Lines whose breaks and blanks count.</summary>
    Code,

    /// <summary>What stands above the text of every page.</summary>
    Header,

    /// <summary>What stands below the text of every page.</summary>
    Footer,

    /// <summary>The page's number, printed on it.</summary>
    PageNumber,
}

/// <summary>How a piece of text looks or is meant.</summary>
[Flags]
public enum TextStyle
{
    /// <summary>As the text around it.</summary>
    None = 0,

    /// <summary>Heavy.</summary>
    Bold = 1,

    /// <summary>Slanted.</summary>
    Italic = 2,

    /// <summary>With a line below.</summary>
    Underline = 4,

    /// <summary>With a line through it.</summary>
    Strike = 8,

    /// <summary>Small and low.</summary>
    Subscript = 16,

    /// <summary>Small and high.</summary>
    Superscript = 32,

    /// <summary>Of a program.</summary>
    Code = 64,

    /// <summary>LaTeX between the words of a line, without the dollar signs around it.</summary>
    Math = 128,
}

/// <summary>A piece of text of one look.</summary>
/// <param name="Text">Characters; a line feed is a line break.</param>
/// <param name="Style">Its look.</param>
/// <param name="Link">Where it leads: an address that begins with http, https or mailto; null if nowhere.</param>
public sealed record TextRun(string Text, TextStyle Style = TextStyle.None, string? Link = null);

/// <summary>A box on a page, in points (1/72 inch) from its upper left corner as readers see it.</summary>
/// <param name="Left">Not above <paramref name="Right"/>.</param>
/// <param name="Top">Not above <paramref name="Bottom"/>.</param>
/// <param name="Right">Within the page.</param>
/// <param name="Bottom">Within the page.</param>
public readonly record struct PageBox(double Left, double Top, double Right, double Bottom)
{
    /// <summary>The same box in another unit.</summary>
    public PageBox Scale(double factor) => new(Left * factor, Top * factor, Right * factor, Bottom * factor);

    /// <summary>The smallest box around both.</summary>
    public PageBox Union(PageBox other) =>
        new(
            Math.Min(Left, other.Left),
            Math.Min(Top, other.Top),
            Math.Max(Right, other.Right),
            Math.Max(Bottom, other.Bottom)
        );
}

/// <summary>A cell of a table.</summary>
/// <param name="Text">What stands in it.</param>
/// <param name="IsHeader">Whether it names a column or row.</param>
/// <param name="RowSpan">Rows it takes, at least 1.</param>
/// <param name="ColumnSpan">Columns it takes, at least 1.</param>
/// <param name="Box">Where it is, if known.</param>
public sealed record TableCell(
    IReadOnlyList<TextRun> Text,
    bool IsHeader = false,
    int RowSpan = 1,
    int ColumnSpan = 1,
    PageBox? Box = null
);

/// <summary>Rows of cells; a cell that reaches into further rows stands in the first of them only.</summary>
/// <param name="Rows">From top to bottom.</param>
/// <param name="Caption">Its title.</param>
public sealed record Table(IReadOnlyList<IReadOnlyList<TableCell>> Rows, IReadOnlyList<TextRun> Caption)
{
    /// <summary>More is taken for a mistake; HTML has the same limit.</summary>
    public const int MaxSpan = 1000;

    /// <summary>Whether a cell takes several rows or columns.</summary>
    public bool HasSpans => Rows.Any(row => row.Any(cell => cell.RowSpan > 1 || cell.ColumnSpan > 1));

    /// <summary>The columns of the widest row.</summary>
    public int Columns
    {
        get
        {
            // Rows that a cell above still reaches into, by column.
            List<int> reach = [];
            int columns = 0;
            foreach (IReadOnlyList<TableCell> row in Rows)
            {
                int at = 0;
                foreach (TableCell cell in row)
                {
                    while (at < reach.Count && reach[at] > 0)
                    {
                        at++;
                    }

                    for (int i = 0; i < cell.ColumnSpan; i++, at++)
                    {
                        while (reach.Count <= at)
                        {
                            reach.Add(0);
                        }

                        reach[at] = cell.RowSpan;
                    }
                }

                columns = Math.Max(columns, reach.FindLastIndex(rows => rows > 0) + 1);
                for (int i = 0; i < reach.Count; i++)
                {
                    reach[i] = Math.Max(0, reach[i] - 1);
                }
            }

            return columns;
        }
    }
}

/// <summary>A point of a list.</summary>
/// <param name="Text">Its words.</param>
/// <param name="Nested">Lists and other elements below it.</param>
/// <param name="Box">Where it is, if known.</param>
public sealed record ListItem(IReadOnlyList<TextRun> Text, IReadOnlyList<DocumentElement> Nested, PageBox? Box = null);

/// <summary>A part of a page.</summary>
/// <param name="Kind">Which of the other properties matter.</param>
public sealed record DocumentElement(ElementKind Kind)
{
    /// <summary>One for each element of the document: <c>p3-e5</c> is the fifth of page 3. Empty for those inside of others.</summary>
    public string Id { get; init; } = "";

    /// <summary>Where it is, if the model said so.</summary>
    public PageBox? Box { get; init; }

    /// <summary>Words; LaTeX of a formula; caption of a picture.</summary>
    public IReadOnlyList<TextRun> Text { get; init; } = [];

    /// <summary>1 to 6, 1 the most important.</summary>
    public int Level { get; init; }

    /// <summary>Of a list.</summary>
    public IReadOnlyList<ListItem> Items { get; init; } = [];

    /// <summary>Of a list: the number of its first point; null where points have bullets.</summary>
    public int? FirstNumber { get; init; }

    /// <summary>Of a table or chart.</summary>
    public Table? Table { get; init; }

    /// <summary>The notation of notes and molecules (<c>abc notation</c>, <c>smile</c>), the language of code; null if not said.</summary>
    public string? Notation { get; init; }

    /// <summary>Whether the model's answer ended inside of it.</summary>
    public bool IsTruncated { get; init; }

    /// <summary>The element on the page before that this one goes on with.</summary>
    public string? Continues { get; init; }

    /// <summary>The element on the next page that goes on with this one.</summary>
    public string? ContinuedBy { get; init; }

    /// <summary>Whether it belongs to the page and not to what is told on it.</summary>
    public bool IsFurniture => Kind is ElementKind.Header or ElementKind.Footer or ElementKind.PageNumber;
}

/// <summary>A page, parsed.</summary>
/// <param name="Number">Counted from 1.</param>
/// <param name="Width">In points.</param>
/// <param name="Height">In points.</param>
/// <param name="ImageWidth">Pixels of the picture the model was shown.</param>
/// <param name="ImageHeight">Pixels of the picture the model was shown.</param>
/// <param name="Dpi">Pixels of that picture for each 72 points.</param>
/// <param name="Elements">In reading order.</param>
/// <param name="Warnings">What is missing or was mended; empty if nothing.</param>
public sealed record ParsedPage(
    int Number,
    double Width,
    double Height,
    int ImageWidth,
    int ImageHeight,
    double Dpi,
    IReadOnlyList<DocumentElement> Elements,
    IReadOnlyList<string> Warnings
);
