using VlmSharp.Tensors;

namespace VlmSharp.Models.Blocks;

/// <summary>Angles of rotary position embeddings.</summary>
/// <remarks>
/// The published code computes the angle as an f32 product of an f32 frequency and the position, and so does this: in double
/// the angles of far positions would differ visibly. Cosine and sine of that angle are then exact to the last bit or so.
/// </remarks>
public static class RotaryTable
{
    /// <summary>1 / theta^(2i / dimensions) for i in [0, dimensions / 2), in f32 as the published code computes it.</summary>
    public static float[] Frequencies(int dimensions, double theta)
    {
        float[] frequencies = new float[dimensions / 2];
        for (int i = 0; i < frequencies.Length; i++)
        {
            frequencies[i] = 1f / MathF.Pow((float)theta, 2 * i / (float)dimensions);
        }

        return frequencies;
    }

    /// <summary>Writes cosine and sine of <c>position * frequency</c> for consecutive pairs.</summary>
    /// <param name="position">Position along one axis.</param>
    /// <param name="frequencies">[pairs]</param>
    /// <param name="cos">[pairs]</param>
    /// <param name="sin">[pairs]</param>
    /// <param name="amplitude">Multiplies both: <see cref="YarnScaling.Amplitude"/>.</param>
    public static void Write(
        int position,
        ReadOnlySpan<float> frequencies,
        Span<float> cos,
        Span<float> sin,
        float amplitude = 1
    )
    {
        for (int i = 0; i < frequencies.Length; i++)
        {
            (double s, double c) = Math.SinCos((float)position * frequencies[i]);
            cos[i] = (float)c * amplitude;
            sin[i] = (float)s * amplitude;
        }
    }

    /// <summary>Room for a table.</summary>
    /// <param name="ops">Where it lives.</param>
    /// <param name="rows">Tokens or patches.</param>
    /// <param name="headDim">Width of a head.</param>
    public static Rotary Allocate(Ops ops, int rows, int headDim) =>
        new(ops.Allocate(rows, headDim / 2), ops.Allocate(rows, headDim / 2));
}
