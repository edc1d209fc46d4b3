using VlmSharp.Formats;
using VlmSharp.Tensors;

namespace VlmSharp.Models.Blocks;

/// <summary>M-RoPE: each pair of a head turns by a token's time, height or width.</summary>
/// <remarks>
/// Chunked (Qwen2-VL, Qwen2.5-VL): the first section of pairs turns by time, the next by height, the last by width. Interleaved (Qwen3-VL):
/// the three take turns, pair i the height where i % 3 is 1 and the width where it is 2, until their sections are used up; the rest
/// turns by time. Source: arXiv 2409.12191, <c>apply_interleaved_mrope</c> of transformers.
/// </remarks>
public sealed class TextRotary
{
    readonly float[] frequencies;
    readonly int[] axes; // of each pair: 0 time, 1 height, 2 width
    readonly float amplitude;

    /// <summary>Angles for heads of a width.</summary>
    /// <param name="headDim">Width of a head; even.</param>
    /// <param name="theta">Base of the frequencies.</param>
    /// <param name="sections">Pairs that turn by time, height and width; their sum is half of the width.</param>
    /// <param name="interleaved">Whether the three take turns.</param>
    /// <param name="yarn">How the context was stretched; null where it was not.</param>
    public TextRotary(int headDim, double theta, int[] sections, bool interleaved, YarnScaling? yarn)
    {
        frequencies = yarn?.Frequencies(headDim, theta) ?? RotaryTable.Frequencies(headDim, theta);
        amplitude = yarn?.Amplitude ?? 1;
        axes = [.. Enumerable.Range(0, headDim / 2).Select(pair => interleaved ? Turn(pair) : Section(pair))];

        int Turn(int pair) => pair < 3 * sections[pair % 3] ? pair % 3 : 0;

        int Section(int pair) =>
            pair < sections[0] ? 0
            : pair < sections[0] + sections[1] ? 1
            : 2;
    }

    /// <summary>The frequency of each pair: [headDim / 2].</summary>
    public ReadOnlySpan<float> Frequencies => frequencies;

    /// <summary>Reads <c>rope_scaling</c>, or <c>rope_parameters</c> as newer files call it, and <c>rope_theta</c>.</summary>
    /// <param name="json">The decoder's config.</param>
    /// <param name="headDim">Width of a head.</param>
    /// <param name="maxPositions">Longest sequence the positions were made for.</param>
    /// <param name="interleaved">What the architecture does.</param>
    /// <param name="theta">The base where the file names none.</param>
    /// <exception cref="CheckpointException">A field is missing, of the wrong type, out of range, or asks for something unsupported.</exception>
    public static TextRotary Read(JsonObjectReader json, int headDim, int maxPositions, bool interleaved, double theta)
    {
        // Newer files keep theta beside the sections, in rope_parameters.
        JsonObjectReader rope = json.OptionalObject("rope_parameters") ?? json.Object("rope_scaling");
        rope.Require("type", "mrope", "default", "yarn");
        rope.Require("rope_type", "mrope", "default", "yarn");
        bool yarn = rope.Text("rope_type", rope.Text("type", "mrope")) == "yarn";
        int[] sections = rope.Ints("mrope_section", 3, 1, headDim);
        if (sections.Length != 3 || sections.Sum() != headDim / 2)
        {
            throw rope.Error(
                "mrope_section",
                $"is [{string.Join(", ", sections)}], expected three numbers whose sum is half the head dimension, {headDim / 2}"
            );
        }

        if (rope.Bool("mrope_interleaved", interleaved) != interleaved)
        {
            throw rope.Error("mrope_interleaved", $"is {!interleaved}, this architecture has {interleaved}");
        }

        return new TextRotary(
            headDim,
            rope.Has("rope_theta") ? rope.Number("rope_theta", 1, 1e12) : json.Number("rope_theta", 1, 1e12, theta),
            sections,
            interleaved,
            yarn ? YarnScaling.Read(rope, maxPositions) : null
        );
    }

    /// <summary>Cosines and sines for the rows of a step. Nothing is kept for positions that do not occur.</summary>
    public Rotary Positions(Ops ops, Step step)
    {
        Rotary rotary = RotaryTable.Allocate(ops, step.Tokens.Length, 2 * frequencies.Length);
        for (int token = 0; token < step.Tokens.Length; token++)
        {
            Span<float> cos = rotary.Cos.Row(token);
            Span<float> sin = rotary.Sin.Row(token);
            for (int start = 0; start < axes.Length; )
            {
                int end = start + 1;
                while (end < axes.Length && axes[end] == axes[start])
                {
                    end++;
                }

                RotaryTable.Write(
                    step.Positions(axes[start])[token],
                    frequencies.AsSpan(start..end),
                    cos[start..end],
                    sin[start..end],
                    amplitude
                );
                start = end;
            }
        }

        return rotary;
    }
}
