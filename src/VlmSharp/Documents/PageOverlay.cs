using System.Text.Json;
using VlmSharp.Grounding;
using VlmSharp.Media.Documents;

namespace VlmSharp.Documents;

/// <summary>The boxes of a parsed page as things on its picture, for <see cref="Overlay"/>.</summary>
public static class PageOverlay
{
    /// <summary>A box for each element, point of a list and cell that has one, in pixels of the page's picture, named by what it is.</summary>
    public static IReadOnlyList<GroundedItem> Items(ParsedPage page)
    {
        ArgumentNullException.ThrowIfNull(page);
        double scale = page.Dpi / PageResolution.PointsPerInch;
        return
        [
            .. page
                .Elements.SelectMany(Places)
                .Select(place =>
                {
                    PageBox box = place.Box.Scale(scale);
                    return new GroundedItem(
                        place.Name,
                        GroundedKind.Box,
                        [
                            box.Left,
                            box.Top,
                            Math.Min(box.Right, page.ImageWidth),
                            Math.Min(box.Bottom, page.ImageHeight),
                        ],
                        default,
                        default
                    );
                }),
        ];
    }

    static IEnumerable<(string Name, PageBox Box)> Places(DocumentElement element)
    {
        if (element.Box is { } own)
        {
            yield return (Name(element.Kind), own);
        }

        foreach (ListItem item in element.Items)
        {
            if (item.Box is { } box)
            {
                yield return ("item", box);
            }

            foreach ((string, PageBox) nested in item.Nested.SelectMany(Places))
            {
                yield return nested;
            }
        }

        foreach (TableCell cell in element.Table?.Rows.SelectMany(row => row) ?? [])
        {
            if (cell.Box is { } box)
            {
                yield return ("cell", box);
            }
        }
    }

    /// <summary>What a kind is called in what is written: <c>page_number</c>.</summary>
    internal static string Name(ElementKind kind) => JsonNamingPolicy.SnakeCaseLower.ConvertName(kind.ToString());
}
