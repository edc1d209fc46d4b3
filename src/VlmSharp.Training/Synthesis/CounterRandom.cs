namespace VlmSharp.Training.Synthesis;

/// <summary>Random numbers that depend on a seed and a position alone: the same on every machine and in every version.</summary>
/// <remarks>SplitMix64 (Steele, Lea, Flood 2014), started at a mixture of both.</remarks>
/// <param name="seed">Which data.</param>
/// <param name="index">Which example of it.</param>
sealed class CounterRandom(ulong seed, ulong index)
{
    const ulong Golden = 0x9E3779B97F4A7C15;
    ulong state = Mix(Mix(seed + Golden) ^ (index * Golden));

    /// <summary>64 random bits.</summary>
    public ulong Bits() => Mix(state += Golden);

    /// <summary>An integer from <paramref name="low"/> to <paramref name="high"/>, both inclusive.</summary>
    public int Int(int low, int high)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(low, high);
        return low + (int)Math.BigMul(Bits(), (ulong)((long)high - low + 1), out _);
    }

    /// <summary>A number in [0, 1).</summary>
    public double Share() => (Bits() >> 11) * (1.0 / (1UL << 53));

    /// <summary>A number in [<paramref name="low"/>, <paramref name="high"/>).</summary>
    public double Number(double low, double high) => low + ((high - low) * Share());

    /// <summary>True in this share of the cases.</summary>
    public bool Chance(double probability) => Share() < probability;

    /// <summary>One of a list.</summary>
    public T Pick<T>(IReadOnlyList<T> items) => items[Int(0, items.Count - 1)];

    /// <summary>One of a list by weight; the weights are not negative and not all 0.</summary>
    public T Pick<T>(IReadOnlyList<(T Item, double Weight)> items)
    {
        double left = Share() * items.Sum(item => item.Weight);
        foreach ((T item, double weight) in items)
        {
            left -= weight;
            if (left < 0)
            {
                return item;
            }
        }

        return items.Last(item => item.Weight > 0).Item;
    }

    /// <summary>Puts a list into random order.</summary>
    public void Shuffle<T>(IList<T> items)
    {
        for (int i = items.Count - 1; i > 0; i--)
        {
            int j = Int(0, i);
            (items[i], items[j]) = (items[j], items[i]);
        }
    }

    static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
}
