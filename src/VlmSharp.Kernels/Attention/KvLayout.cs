namespace VlmSharp.Kernels;

/// <summary>How the keys and values of one layer lie inside a page.</summary>
/// <remarks>
/// <para>A page holds <see cref="PageTokens"/> consecutive tokens of one sequence: [KvHeads] x (keys, then values, then factors).</para>
/// <para>
/// f32. Keys: [PageTokens / 32] panels of [HeadDim][32 tokens], so that one load fetches the same channel of consecutive tokens and
/// scores need no horizontal sums. Values: panels of [PageTokens][32 channels]; HeadDim is rounded up to 16 with zeros, and the
/// last panel is 16 wide where that makes an odd number of sixteens.
/// </para>
/// <para>
/// bf16: the same panels of pairs, which is what dot products of pairs read. Keys: [HeadDim / 2, rounded up][32 tokens][2 channels].
/// Values: [PageTokens / 2][32 channels][2 tokens].
/// </para>
/// <para>
/// q8: bf16's panels with a signed byte for each number, then the factors as bf16: of keys [PageTokens / 32][groups][32 tokens], of
/// values [groups][PageTokens], where a group is 32 channels.
/// </para>
/// </remarks>
/// <param name="KvHeads">Heads of keys and values per token.</param>
/// <param name="HeadDim">Channels per head.</param>
/// <param name="Storage">How a number is stored.</param>
public readonly record struct KvLayout(int KvHeads, int HeadDim, KvStorage Storage = KvStorage.F32)
{
    /// <summary>Tokens per page.</summary>
    public const int PageTokens = 64;

    /// <summary>Tokens per panel of keys.</summary>
    internal const int KeyPanel = 32;

    /// <summary>Channels per panel of values, except in a last panel of 16; also those that share a factor of q8.</summary>
    internal const int ValuePanel = 32;

    /// <summary>Pages that hold a number of tokens.</summary>
    public static int PagesFor(int tokens) => (int)((tokens + (PageTokens - 1L)) / PageTokens);

    /// <summary>Bytes one page takes; a multiple of 64.</summary>
    public int PageBytes => checked(KvHeads * HeadBytes);

    /// <summary>Bytes of one head inside a page.</summary>
    internal int HeadBytes => checked(FactorOffset + (2 * FactorBytes));

    /// <summary>Where the values of a head begin, behind its keys.</summary>
    internal int ValueOffset => checked(PageTokens * Channels * ElementBytes);

    /// <summary>Where the factors of keys begin; those of values follow.</summary>
    internal int FactorOffset => checked(ValueOffset + (PageTokens * ValueChannels * ElementBytes));

    /// <summary>Bytes of the factors of keys, and of those of values.</summary>
    internal int FactorBytes => Storage == KvStorage.Q8 ? PageTokens * Groups * sizeof(ushort) : 0;

    /// <summary>Channels of keys: HeadDim, an even number where channels are stored in pairs.</summary>
    internal int Channels => Storage == KvStorage.F32 ? HeadDim : Pairs * 2;

    /// <summary>HeadDim rounded up to 16.</summary>
    internal int ValueChannels => checked((HeadDim + 15) & ~15);

    /// <summary>Pairs of channels.</summary>
    internal int Pairs => (HeadDim + 1) / 2;

    /// <summary>Groups of channels that share a factor, which are the panels of values.</summary>
    internal int Groups => (HeadDim + ValuePanel - 1) / ValuePanel;

    /// <summary>32-bit words for each token in a panel of keys: one for each channel, or for each pair.</summary>
    internal int Depth => Storage == KvStorage.F32 ? HeadDim : Pairs;

    int ElementBytes =>
        Storage switch
        {
            KvStorage.F32 => sizeof(float),
            KvStorage.BF16 => sizeof(ushort),
            _ => sizeof(sbyte),
        };

    /// <summary>How many channels the panel of values has that begins at a channel.</summary>
    internal int PanelWidth(int channel) => Math.Min(ValuePanel, ValueChannels - channel);

    internal void Check()
    {
        if (KvHeads < 1 || HeadDim < 1)
        {
            throw new ArgumentException($"layout: {KvHeads} heads of {HeadDim} channels");
        }

        if (!Enum.IsDefined(Storage))
        {
            throw new ArgumentException($"layout: there is no storage {Storage}");
        }
    }
}
