using System.Globalization;

namespace VlmSharp.Media.Documents;

/// <summary>Some pages of a document, as people write them: <c>1-3,7,12-</c>.</summary>
/// <remarks>Pages count from 1. <c>12-</c> goes to the last page, <c>-3</c> begins with the first. Pages come in the document's order, each once.</remarks>
public sealed class PageSelection
{
    readonly (int First, int Last)[] ranges;

    PageSelection((int First, int Last)[] ranges) => this.ranges = ranges;

    /// <summary>Every page.</summary>
    public static PageSelection All { get; } = new([(1, int.MaxValue)]);

    /// <summary>Reads a selection.</summary>
    /// <param name="text">Numbers and ranges, parted by commas.</param>
    /// <exception cref="FormatException">Something else; the message quotes the part that cannot be read.</exception>
    public static PageSelection Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new([.. text.Split(',').Select(Range)]);
    }

    static (int First, int Last) Range(string part)
    {
        string trimmed = part.Trim();
        int dash = trimmed.IndexOf('-');
        (string first, string last) = dash < 0 ? (trimmed, trimmed) : (trimmed[..dash], trimmed[(dash + 1)..]);
        if (first.Length + last.Length == 0)
        {
            throw Wrong("expected page numbers and ranges such as 1-3,7,12-");
        }

        (int From, int To) range = (
            first.Length == 0 ? 1 : Number(first.TrimEnd()),
            last.Length == 0 ? int.MaxValue : Number(last.TrimStart())
        );
        return range.From <= range.To ? range : throw Wrong("expected the smaller number first");

        int Number(string digits) =>
            int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number >= 1
                ? number
                : throw Wrong("expected page numbers, counted from 1, and ranges such as 1-3,7,12-");

        FormatException Wrong(string expected) => new($"'{part}' is no selection of pages, {expected}");
    }

    /// <summary>The numbers of the selected pages, ascending.</summary>
    /// <param name="pages">How many the document has.</param>
    /// <exception cref="FormatException">A page that the document does not have is asked for by its number.</exception>
    public IReadOnlyList<int> Of(int pages)
    {
        SortedSet<int> numbers = [];
        foreach ((int first, int last) in ranges)
        {
            int missing = first > pages ? first : last;
            if (missing > pages && missing != int.MaxValue)
            {
                throw new FormatException($"page {missing} is asked for, there are {pages}");
            }

            numbers.UnionWith(Enumerable.Range(first, Math.Min(last, pages) - first + 1));
        }

        return [.. numbers];
    }
}
