using VlmSharp.Text;

namespace VlmSharp.Grounding;

/// <summary>How a family of models writes what it points at.</summary>
public enum GroundingDialect
{
    /// <summary><c>&lt;ref&gt;..&lt;/ref&gt;&lt;box&gt;(x,y),(x,y)&lt;/box&gt;</c> and <c>&lt;quad&gt;</c>, in thousandths.</summary>
    QwenVL,

    /// <summary>The same with <c>&lt;|object_ref_start|&gt;</c>, <c>&lt;|box_start|&gt;</c> and <c>&lt;|quad_start|&gt;</c>, in thousandths.</summary>
    Qwen2VL,

    /// <summary>JSON with <c>bbox_2d</c> and <c>point_2d</c>, <c>&lt;points x1 y1&gt;</c>, and QwenVL HTML, in pixels of the resized picture.</summary>
    Qwen25VL,

    /// <summary>JSON with <c>bbox_2d</c> and <c>point_2d</c>, and QwenVL HTML, in thousandths.</summary>
    Qwen3VL,
}

/// <summary>Finds what an answer points at.</summary>
/// <remarks>
/// The rules are those of the published notebooks (Qwen2.5-VL and Qwen3-VL <c>cookbooks</c>, Qwen-VL <c>tokenization_qwen.py</c>),
/// made to read on where those give up: several lists, sentences around them, answers that are cut off. Text is untrusted: any
/// text is accepted, in time proportional to its length. What precedes the last <c>&lt;/think&gt;</c> does not count.
/// </remarks>
public static class GroundingParser
{
    /// <summary>The space in which a family writes coordinates.</summary>
    public static CoordinateSpace Space(this GroundingDialect dialect) =>
        dialect == GroundingDialect.Qwen25VL ? CoordinateSpace.ResizedPixels : CoordinateSpace.Thousandths;

    /// <summary>Reads an answer; never fails.</summary>
    /// <param name="text">The whole answer, with special tokens written out.</param>
    /// <param name="dialect">Which family wrote it.</param>
    /// <param name="frame">The picture it is about.</param>
    /// <returns>Items in original pixels: boxes with their corners in order, then everything clipped to the picture.</returns>
    public static GroundingResult Parse(string text, GroundingDialect dialect, PictureFrame frame)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentNullException.ThrowIfNull(frame);
        int start = Thoughts.AnswerStart(text);
        if (start < 0)
        {
            return new([], GroundingError.Truncated, frame); // it never got to the answer
        }

        Findings findings = dialect switch
        {
            GroundingDialect.QwenVL => TagItems.Read(text, start, TagItems.QwenVL),
            GroundingDialect.Qwen2VL => TagItems.Read(text, start, TagItems.Qwen2VL),
            GroundingDialect.Qwen25VL => Findings.Merge(
                JsonItems.Read(text, start),
                HtmlItems.Read(text, start, points: true)
            ),
            GroundingDialect.Qwen3VL => Findings.Merge(
                JsonItems.Read(text, start),
                HtmlItems.Read(text, start, points: false)
            ),
            _ => throw new ArgumentOutOfRangeException(nameof(dialect), dialect, "no such dialect"),
        };
        Mapping map = frame.Map(dialect.Space(), CoordinateSpace.OriginalPixels);
        return new(
            [.. findings.Items.OrderBy(item => item.CoordinateRange.Start).Select(item => Place(item, map, frame))],
            findings.Errors.Select(e => e.Error).Aggregate(GroundingError.None, Worse),
            frame
        );
    }

    static GroundingError Worse(GroundingError a, GroundingError b) =>
        a == GroundingError.Truncated || b == GroundingError.None ? a : b;

    static GroundedItem Place(GroundedItem written, Mapping map, PictureFrame frame)
    {
        GroundedItem placed = written.Through(map);
        return placed with
        {
            Coordinates =
            [
                .. Enumerable
                    .Range(0, placed.Coordinates.Count / 2)
                    .Select(i => frame.Clip(new(placed.Coordinates[2 * i], placed.Coordinates[(2 * i) + 1])))
                    .SelectMany(point => (double[])[point.X, point.Y]),
            ],
        };
    }
}

/// <summary>What a reader of one syntax found.</summary>
sealed class Findings
{
    /// <summary>With coordinates as they are written.</summary>
    internal List<GroundedItem> Items { get; } = [];

    /// <summary>What was wrong, and where.</summary>
    internal List<(int At, GroundingError Error)> Errors { get; } = [];

    /// <summary>Stretches that are this syntax and no other, ascending, without overlaps.</summary>
    internal List<TextRange> Regions { get; } = [];

    /// <summary>Of two syntaxes in one text the one that begins first counts as far as it reaches: JSON in a paragraph is text, HTML in a label too.</summary>
    internal static Findings Merge(Findings a, Findings b)
    {
        List<(TextRange Range, Findings Of)> kept = [];
        foreach (
            (TextRange Range, Findings Of) region in a
                .Regions.Select(r => (r, a))
                .Concat(b.Regions.Select(r => (r, b)))
                .OrderBy(r => r.r.Start)
        )
        {
            if (kept.Count == 0 || region.Range.Start >= kept[^1].Range.End)
            {
                kept.Add(region);
            }
        }

        Findings merged = new();
        foreach (Findings findings in (Findings[])[a, b])
        {
            merged.Items.AddRange(findings.Items.Where(item => Counts(item.Range.Start, findings)));
            merged.Errors.AddRange(findings.Errors.Where(error => Counts(error.At, findings)));
        }

        return merged;

        bool Counts(int at, Findings of)
        {
            (int low, int high) = (0, kept.Count);
            while (low < high)
            {
                int middle = (low + high) / 2;
                (low, high) = kept[middle].Range.Start <= at ? (middle + 1, high) : (low, middle);
            }

            return low == 0 || at >= kept[low - 1].Range.End || kept[low - 1].Of == of;
        }
    }
}
