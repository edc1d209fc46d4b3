using System.Numerics;
using System.Security.Cryptography;

namespace VlmSharp.Generation;

/// <summary>The random source of a sampler: xoshiro256**, its state filled from the seed by SplitMix64.</summary>
/// <remarks>
/// Own code, because the stream of <see cref="Random"/> may change between .NET versions and an answer is to be repeatable from its seed.
/// Sources: Blackman and Vigna, "Scrambled linear pseudorandom number generators", arXiv 1805.01407; Steele, Lea and Flood 2014.
/// </remarks>
sealed class SamplerRandom
{
    ulong a;
    ulong b;
    ulong c;
    ulong d;

    /// <summary>A stream for a seed; every seed is valid. Null draws one from the operating system.</summary>
    public SamplerRandom(ulong? seed)
    {
        ulong state = seed ?? BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(sizeof(ulong)));
        (a, b, c, d) = (SplitMix(ref state), SplitMix(ref state), SplitMix(ref state), SplitMix(ref state));
    }

    /// <summary>The next 64 bits.</summary>
    public ulong NextBits()
    {
        ulong result = BitOperations.RotateLeft(b * 5, 7) * 9;
        ulong shifted = b << 17;
        c ^= a;
        d ^= b;
        b ^= c;
        a ^= d;
        c ^= shifted;
        d = BitOperations.RotateLeft(d, 45);
        return result;
    }

    /// <summary>The next number in [0, 1), a multiple of 2^-53.</summary>
    public double NextDouble() => (NextBits() >> 11) * (1.0 / (1UL << 53));

    static ulong SplitMix(ref ulong state)
    {
        state += 0x9E3779B97F4A7C15;
        ulong z = state;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
}
