using System.Globalization;

namespace VlmSharp.Grounding;

/// <summary>How places are written where a model is shown them.</summary>
public enum BoxStyle
{
    /// <summary>Between the tags of a dialect: <c>&lt;|box_start|&gt;(12,34),(56,78)&lt;|box_end|&gt;</c>.</summary>
    Tags,

    /// <summary>A list, as JSON has it: <c>[12, 34, 56, 78]</c>; names are plain text.</summary>
    Numbers,
}

/// <summary>Writes what models are to learn to point at, as <see cref="GroundingParser"/> reads it back.</summary>
/// <remarks>
/// Source: <c>replace_ref</c>, <c>replace_bbox</c> and <c>normalize_bbox</c> of ms-swift's Qwen templates; what lies beside the picture is moved to its edge, as in
/// the notebook of Qwen's own fine-tuning code.
/// </remarks>
public static class GroundingWriter
{
    /// <summary>The style in which a family answers: tags for the first two, JSON for the later ones.</summary>
    public static BoxStyle Style(this GroundingDialect dialect) =>
        dialect is GroundingDialect.QwenVL or GroundingDialect.Qwen2VL ? BoxStyle.Tags : BoxStyle.Numbers;

    /// <summary>The numbers of a place in the space of a dialect: rounded, half to even, and on the picture.</summary>
    /// <param name="coordinates">x, y, x, y, ... in original pixels.</param>
    /// <param name="dialect">Whose space.</param>
    /// <param name="frame">The picture.</param>
    public static int[] Coordinates(ReadOnlySpan<double> coordinates, GroundingDialect dialect, PictureFrame frame)
    {
        ArgumentNullException.ThrowIfNull(frame);
        Region extent = frame.Extent(dialect.Space());
        double[] mapped = frame.Map(CoordinateSpace.OriginalPixels, dialect.Space()).Apply(coordinates);
        return
        [
            .. mapped.Select((x, i) => (int)Math.Clamp(Math.Round(x), 0, i % 2 == 0 ? extent.Width : extent.Height)),
        ];
    }

    /// <summary>A box or a point.</summary>
    /// <param name="coordinates">x1, y1, x2, y2 or x, y in original pixels.</param>
    /// <param name="dialect">Whose space and tags.</param>
    /// <param name="style">With tags or without.</param>
    /// <param name="frame">The picture.</param>
    public static string Box(
        ReadOnlySpan<double> coordinates,
        GroundingDialect dialect,
        BoxStyle style,
        PictureFrame frame
    )
    {
        string[] numbers =
        [
            .. Coordinates(coordinates, dialect, frame).Select(n => n.ToString(CultureInfo.InvariantCulture)),
        ];
        if (style == BoxStyle.Numbers)
        {
            return $"[{string.Join(", ", numbers)}]";
        }

        TagItems.Tags tags = Tags(dialect);
        return $"{tags.Box}{string.Join(',', numbers.Chunk(2).Select(point => $"({point[0]},{point[1]})"))}{tags.BoxEnd}";
    }

    /// <summary>The tags around the name of what a box is of; empty without tags.</summary>
    public static (string Before, string After) Reference(GroundingDialect dialect, BoxStyle style) =>
        style == BoxStyle.Numbers ? ("", "") : (Tags(dialect).Name, Tags(dialect).NameEnd);

    static TagItems.Tags Tags(GroundingDialect dialect) =>
        dialect == GroundingDialect.QwenVL ? TagItems.QwenVL : TagItems.Qwen2VL;
}
