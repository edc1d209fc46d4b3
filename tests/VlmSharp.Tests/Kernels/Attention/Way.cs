using VlmSharp.Kernels;
using Xunit;

namespace VlmSharp.Tests.Kernels;

/// <summary>One way to compute attention: a variant, over keys and values in a storage.</summary>
/// <param name="Variant">The variant's name.</param>
/// <param name="Storage">How keys and values are stored.</param>
/// <param name="MayRound">Whether queries and weights may be rounded to bf16.</param>
public sealed record Way(string Variant, KvStorage Storage, bool MayRound)
{
    /// <summary>All of them on this machine; where rounding is allowed, only those that round.</summary>
    public static IReadOnlyList<Way> All =>
        [
            .. Attention.Variants.SupportedNames.SelectMany(
                _ => Enum.GetValues<KvStorage>(),
                (v, s) => new Way(v, s, MayRound: false)
            ),
            .. Enum.GetValues<KvStorage>().Select(s => new Way("avx512bf16", s, MayRound: true)).Where(w => w.Rounds),
        ];

    /// <summary>Of the exact result for what is stored, relative to the largest |value|.</summary>
    /// <remarks>
    /// f32: scores reach 10 in most cases, where one rounding to f32 is 5e-7 and the weight moves as much; measured 1.1e-6. bf16:
    /// a score of 10 moves by up to 2^-9 of it when its query is rounded, and with it the weight, which is then rounded as well.
    /// </remarks>
    internal double Tolerance => Rounds ? 8e-3 : 1.5e-6;

    internal bool Rounds =>
        MayRound && Storage != KvStorage.F32 && Attention.Variants.SupportedNames.Contains("avx512bf16");

    internal AttentionKernel Kernel => Attention.Variants.Supported.Single(v => v.Name == Variant).Run;

    /// <summary>Of the same instruction set, or one it contains.</summary>
    internal KeyValueKernel Writer =>
        KeyValueStore
            .Variants.Supported.Single(v => v.Name == (Variant.StartsWith("avx512") ? "avx512" : "portable"))
            .Run;

    internal static TheoryData<Way> Data => [.. All];
}
