using System.Numerics;
using VlmSharp.Datasets;
using VlmSharp.Formats;

namespace VlmSharp.Training.Recipes;

/// <summary>Where a mixture stands: all that has to be kept to go on with the next example.</summary>
/// <param name="Drawn">Examples drawn from all sources.</param>
/// <param name="PerSource">Of these, how many from each.</param>
public sealed record DataPosition(long Drawn, IReadOnlyList<long> PerSource);

/// <summary>An example that a mixture chose.</summary>
/// <param name="Source">Number of the source.</param>
/// <param name="Index">Number of the example in it.</param>
/// <param name="After">Where the mixture stands then.</param>
public readonly record struct Draw(int Source, long Index, DataPosition After);

/// <summary>Chooses examples from several sources: which source by weight, which example by an order that differs in each epoch.</summary>
/// <remarks>
/// A choice depends on the seed, the position and the shares alone, so nothing but a few integers has to be kept. In an epoch every
/// example of a source comes once. A source without an end is read in its own order.
/// </remarks>
/// <param name="sources">At least one.</param>
/// <param name="seed">Another seed is another order.</param>
public sealed class Mixture(IReadOnlyList<IExampleSource> sources, ulong seed)
{
    /// <summary>The sources.</summary>
    public IReadOnlyList<IExampleSource> Sources => sources;

    /// <summary>Before the first example.</summary>
    public DataPosition Start { get; } = new(0, new long[sources.Count]);

    /// <summary>The next example.</summary>
    /// <param name="at">Where the mixture stands.</param>
    /// <param name="shares">[sources]: the share of each; 0 for those that are not drawn from.</param>
    public Draw Next(DataPosition at, ReadOnlySpan<double> shares)
    {
        ArgumentNullException.ThrowIfNull(at);
        double sum = 0;
        foreach (double share in shares)
        {
            sum += share;
        }

        double chosen = Uniform(Mix(seed + Mix((ulong)at.Drawn))) * sum;
        int source = shares.LastIndexOfAnyExcept(0.0); // where rounding leaves something over
        for (int i = 0; i < shares.Length; i++)
        {
            if (chosen < shares[i])
            {
                source = i;
                break;
            }

            chosen -= shares[i];
        }

        long drawn = at.PerSource[source];
        long index = drawn;
        if (sources[source].Count is { } count)
        {
            (long epoch, long place) = Math.DivRem(drawn, count);
            index = Permute(Mix(seed ^ Mix(((ulong)source << 40) + (ulong)epoch + 1)), count, place);
        }

        long[] after = [.. at.PerSource];
        after[source]++;
        return new Draw(source, index, new DataPosition(at.Drawn + 1, after));
    }

    /// <summary>Refuses a source that has no examples.</summary>
    /// <exception cref="CheckpointException">There is one.</exception>
    public void Check()
    {
        foreach (IExampleSource source in sources)
        {
            if (source.Count is <= 0)
            {
                throw new CheckpointException(source.Name, "has no examples");
            }
        }
    }

    /// <summary>A permutation of [0, count) for each key, computed place by place: a Feistel network, repeated until its result is below the count.</summary>
    internal static long Permute(ulong key, long count, long place)
    {
        int half = Math.Max(1, (65 - BitOperations.LeadingZeroCount((ulong)(count - 1))) / 2);
        ulong mask = (1UL << half) - 1;
        ulong value = (ulong)place;
        do
        {
            ulong left = value >> half;
            ulong right = value & mask;
            for (ulong round = 0; round < 6; round++)
            {
                (left, right) = (right, left ^ (Mix(key + (round << 56) + right) & mask));
            }

            value = (left << half) | right;
        } while (value >= (ulong)count);
        return (long)value;
    }

    static double Uniform(ulong bits) => (bits >> 11) * (1.0 / (1UL << 53));

    // The finaliser of SplitMix64 (Steele et al., 2014).
    static ulong Mix(ulong x)
    {
        x += 0x9E3779B97F4A7C15;
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
        return x ^ (x >> 31);
    }
}
