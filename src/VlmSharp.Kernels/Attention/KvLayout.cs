namespace VlmSharp.Kernels;

/// <summary>How the keys and values of one layer lie inside a page.</summary>
/// <remarks>
/// <para>A page holds <see cref="PageTokens"/> consecutive tokens of one sequence: [KvHeads] x (keys, then values), all f32.</para>
/// <para>
/// Keys: [PageTokens / 32] panels of [HeadDim][32 tokens], so that one load fetches the same channel of consecutive tokens and
/// scores need no horizontal sums. Values: panels of [PageTokens][32 channels]; HeadDim is rounded up to 16 with zeros, and the
/// last panel is 16 wide where that makes an odd number of sixteens.
/// </para>
/// </remarks>
/// <param name="KvHeads">Heads of keys and values per token.</param>
/// <param name="HeadDim">Channels per head.</param>
public readonly record struct KvLayout(int KvHeads, int HeadDim)
{
    /// <summary>Tokens per page.</summary>
    public const int PageTokens = 64;

    /// <summary>Tokens per panel of keys.</summary>
    internal const int KeyPanel = 32;

    /// <summary>Channels per panel of values, except in a last panel of 16.</summary>
    internal const int ValuePanel = 32;

    /// <summary>Pages that hold a number of tokens.</summary>
    public static int PagesFor(int tokens) => (int)((tokens + (PageTokens - 1L)) / PageTokens);

    /// <summary>Floats one page takes.</summary>
    public int PageFloats => checked(KvHeads * HeadFloats);

    /// <summary>Floats of one head inside a page.</summary>
    internal int HeadFloats => checked(PageTokens * (HeadDim + ValueChannels));

    /// <summary>Where the values of a head begin, behind its keys.</summary>
    internal int ValueOffset => PageTokens * HeadDim;

    /// <summary>HeadDim rounded up to 16.</summary>
    internal int ValueChannels => (HeadDim + 15) & ~15;

    internal void Check()
    {
        if (KvHeads < 1 || HeadDim < 1)
        {
            throw new ArgumentException($"layout: {KvHeads} heads of {HeadDim} channels");
        }
    }
}
