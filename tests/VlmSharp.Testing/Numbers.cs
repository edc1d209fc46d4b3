namespace VlmSharp.Testing;

/// <summary>Reproducible test data; System.Random with a seed keeps its sequence between versions of .NET.</summary>
public static class Numbers
{
    /// <summary>Normal values of mean 0 and deviation 1, now and then much larger or smaller or exactly 0.</summary>
    public static float[] Varied(int seed, int count)
    {
        var random = new Random(seed);
        float[] values = new float[count];
        for (int i = 0; i < count; i++)
        {
            double normal =
                Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
            double scale = random.Next(40) switch
            {
                0 => 0,
                1 => 1000,
                2 => 1e-4,
                _ => 1,
            };
            values[i] = (float)(normal * scale);
        }

        return values;
    }

    /// <summary><see cref="Varied"/> with NaN and both infinities strewn in, about one of each in <paramref name="every"/> values.</summary>
    public static float[] WithSpecials(int seed, int count, int every)
    {
        float[] values = Varied(seed, count);
        var random = new Random(~seed);
        for (int i = 0; i < count; i++)
        {
            values[i] = random.Next(every) switch
            {
                0 => float.NaN,
                1 => float.PositiveInfinity,
                2 => float.NegativeInfinity,
                _ => values[i],
            };
        }

        return values;
    }
}
