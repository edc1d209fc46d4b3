namespace VlmSharp.Vision;

/// <summary>The tokens of one picture or video within a prompt.</summary>
/// <param name="Start">index of its first token</param>
/// <param name="Grid">its patches; where every frame is introduced by text (Qwen3-VL's videos) each one is a span of its own with T = 1</param>
/// <param name="MergeSize">patches per token and side</param>
/// <param name="SecondsPerPatch">
/// time between temporal patches (<c>second_per_grid_ts</c>); leave it at 1 where the time is simply counted (Qwen2-VL)
/// </param>
/// <param name="TokensPerSecond">positions per second (<c>tokens_per_second</c>, Qwen2.5-VL); 1 where the time is counted</param>
public readonly record struct MediaSpan(
    int Start,
    GridThw Grid,
    int MergeSize,
    float SecondsPerPatch = 1,
    float TokensPerSecond = 1
)
{
    /// <summary>Which medium of the prompt it shows, counted from 0.</summary>
    public int Medium { get; init; }

    /// <summary>The first of that medium's features it takes: more than 0 where a video comes in several spans.</summary>
    public int FirstFeature { get; init; }

    /// <summary>Its number of tokens.</summary>
    public int Tokens => Grid.MergedTokens(MergeSize);
}

/// <summary>Multimodal rotary position ids: time, height and width of every token.</summary>
/// <remarks>
/// Text counts all three up together. A medium starts at the next free position and counts each axis from there, in merged
/// patches; the text after it starts one past its largest position. Source: <c>get_rope_index</c> of transformers
/// (models/qwen2_vl, qwen2_5_vl of 4.49, qwen3_vl).
/// </remarks>
public static class MRope
{
    /// <summary>Writes the positions of a prompt.</summary>
    /// <param name="tokens">number of tokens</param>
    /// <param name="media">where the pictures and videos are, in order; what lies between is text, whatever ids it has</param>
    /// <param name="positions">[3, tokens]: time, height, width</param>
    /// <returns>The delta: the token with index i that follows the prompt has the position i + delta on all three axes.</returns>
    /// <exception cref="ArgumentException">spans that overlap or end outside the prompt, grids that do not divide by the merge size, wrong length</exception>
    public static int Positions(int tokens, ReadOnlySpan<MediaSpan> media, Span<int> positions)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(tokens);
        if (positions.Length != 3L * tokens)
        {
            throw new ArgumentException($"room for {positions.Length} positions, 3 x {tokens} needed");
        }

        Span<int> time = positions[..tokens];
        Span<int> height = positions.Slice(tokens, tokens);
        Span<int> width = positions[(2 * tokens)..];
        int at = 0;
        int next = 0;
        foreach (MediaSpan span in media)
        {
            int count = Check(span, at, tokens);
            next = Text(at, span.Start, next, time, height, width);
            next = Medium(span, next, time, height, width);
            at = span.Start + count;
        }

        return Text(at, tokens, next, time, height, width) - tokens;
    }

    static int Check(MediaSpan span, int at, int tokens)
    {
        (int t, int h, int w) = (span.Grid.T, span.Grid.H, span.Grid.W);
        int merge = span.MergeSize;
        if (t < 1 || h < 1 || w < 1 || merge < 1 || h % merge != 0 || w % merge != 0)
        {
            throw new ArgumentException(
                $"the medium at token {span.Start} has a grid of {span.Grid}, which does not divide by the merge size {merge}"
            );
        }

        double count = (double)t * (h / merge) * (w / merge);
        if (span.Start < at || span.Start + count > tokens)
        {
            throw new ArgumentException(
                $"the medium with grid {span.Grid} takes the tokens [{span.Start}, {span.Start + count}); the ones from {at} to {tokens} are free"
            );
        }

        double end = (double)t * span.SecondsPerPatch * span.TokensPerSecond;
        if (!(span.SecondsPerPatch >= 0 && span.TokensPerSecond >= 0 && end < int.MaxValue / 2))
        {
            throw new ArgumentException(
                $"the medium at token {span.Start}: {t} temporal patches of {span.SecondsPerPatch} s at {span.TokensPerSecond} positions per second"
            );
        }

        return (int)count;
    }

    static int Text(int from, int to, int next, Span<int> time, Span<int> height, Span<int> width)
    {
        for (int i = from; i < to; i++, next++)
        {
            time[i] = height[i] = width[i] = next;
        }

        return next;
    }

    static int Medium(MediaSpan span, int start, Span<int> time, Span<int> height, Span<int> width)
    {
        int rows = span.Grid.H / span.MergeSize;
        int columns = span.Grid.W / span.MergeSize;
        int i = span.Start;
        int last = 0;
        for (int t = 0; t < span.Grid.T; t++)
        {
            // Single precision, truncated at the end: rounding earlier would move frames.
            last = (int)(t * span.SecondsPerPatch * span.TokensPerSecond);
            for (int y = 0; y < rows; y++)
            {
                for (int x = 0; x < columns; x++, i++)
                {
                    time[i] = start + last;
                    height[i] = start + y;
                    width[i] = start + x;
                }
            }
        }

        return checked(start + Math.Max(last, Math.Max(rows, columns) - 1) + 1);
    }
}
