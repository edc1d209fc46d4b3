namespace VlmSharp.Training.Scratch;

/// <summary>The values that training from scratch starts with.</summary>
/// <remarks>
/// Matrices: normal, deviation 0.8 / sqrt(inputs), which narrow layers learn faster from than from the usual 0.02. Norms: ones.
/// Biases: zeros. Each tensor has its own sequence of numbers, so a layer more does not change the others.
/// </remarks>
public static class InitialWeights
{
    const double Gain = 0.8;

    /// <summary>Fills a tensor.</summary>
    /// <param name="name">As checkpoints name it.</param>
    /// <param name="shape">Its shape; what follows the first extent are inputs.</param>
    /// <param name="seed">Of the whole model.</param>
    /// <param name="values">[elements]</param>
    public static void Fill(string name, IReadOnlyList<int> shape, int seed, Span<float> values)
    {
        if (shape.Count == 1)
        {
            values.Fill(name.EndsWith(".bias", StringComparison.Ordinal) ? 0 : 1);
            return;
        }

        double deviation = Gain / Math.Sqrt(shape.Skip(1).Aggregate(1L, (count, extent) => count * extent));
        Random random = new(Hash(name, seed));
        for (int i = 0; i < values.Length; i += 2)
        {
            // Box and Muller: two independent normal numbers from two uniform ones.
            double radius = deviation * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()));
            (double sin, double cos) = Math.SinCos(2 * Math.PI * random.NextDouble());
            values[i] = (float)(radius * cos);
            if (i + 1 < values.Length)
            {
                values[i + 1] = (float)(radius * sin);
            }
        }
    }

    // FNV-1a: string.GetHashCode differs from run to run.
    static int Hash(string name, int seed)
    {
        uint hash = 2166136261 ^ (uint)seed;
        foreach (char c in name)
        {
            hash = (hash ^ c) * 16777619;
        }

        return (int)hash;
    }
}
