namespace VlmSharp.Adapters;

/// <summary>The low-rank product beside a linear layer: y = W x + b + scale * B A x.</summary>
/// <remarks>With magnitudes m (DoRA) y = b + (m / n) * (W x + scale * B A x), where n are the norms of the rows of W + scale * B A.</remarks>
/// <param name="Name">The layer, as the adapter names it.</param>
/// <param name="Rank">Rows of A.</param>
/// <param name="Scale">Factor of the product.</param>
/// <param name="A">[rank, inputs]</param>
/// <param name="B">[outputs, rank]</param>
/// <param name="Magnitude">m: [outputs]; null without.</param>
public sealed record AdapterModule(string Name, int Rank, double Scale, float[] A, float[] B, float[]? Magnitude)
{
    /// <summary>Width of x.</summary>
    public int Inputs => A.Length / Rank;

    /// <summary>Width of y.</summary>
    public int Outputs => B.Length / Rank;

    /// <summary>scale * B: [outputs, rank].</summary>
    internal float[] ScaledB()
    {
        float scale = (float)Scale;
        return Array.ConvertAll(B, value => scale * value);
    }

    /// <summary>Adds a row of scale * B A to a row of W.</summary>
    /// <param name="scaledB">scale * B: [outputs, rank].</param>
    /// <param name="output">Which row.</param>
    /// <param name="row">[inputs]</param>
    internal void AddRow(ReadOnlySpan<float> scaledB, int output, Span<float> row)
    {
        for (int k = 0; k < Rank; k++)
        {
            float b = scaledB[(output * Rank) + k];
            ReadOnlySpan<float> a = A.AsSpan(k * row.Length, row.Length);
            for (int i = 0; i < row.Length; i++)
            {
                row[i] += b * a[i];
            }
        }
    }

    /// <summary>The root of the sum of squares.</summary>
    internal static float Norm(ReadOnlySpan<float> row)
    {
        double squares = 0;
        foreach (float value in row)
        {
            squares += (double)value * value;
        }

        return (float)Math.Sqrt(squares);
    }
}

/// <summary>A tensor that an adapter stores in full; it takes the place of the checkpoint's.</summary>
/// <param name="Name">As the adapter names it.</param>
/// <param name="Shape">Outermost dimension first.</param>
/// <param name="Values">Row-major.</param>
public sealed record AdapterTensor(string Name, int[] Shape, float[] Values);
