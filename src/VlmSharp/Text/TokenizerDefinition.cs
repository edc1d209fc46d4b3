namespace VlmSharp.Text;

/// <summary>What the files of a tokenizer say, checked and in the form the tokenizer works with.</summary>
/// <param name="Vocabulary">Tokens and added tokens.</param>
/// <param name="Merges">Pairs that merge.</param>
/// <param name="ByteTokens">The token of each byte; -1 for bytes that UTF-8 never has.</param>
/// <param name="WholePieces">Pieces that are tokens are not merged but taken as they are.</param>
/// <param name="AddedTokens">In the order of the file.</param>
/// <param name="Nfc">Whether text is normalised to form C.</param>
/// <param name="Pattern">How text is split.</param>
sealed record TokenizerDefinition(
    Vocabulary Vocabulary,
    MergeTable Merges,
    int[] ByteTokens,
    bool WholePieces,
    IReadOnlyList<AddedToken> AddedTokens,
    bool Nfc,
    SplitPattern Pattern
)
{
    /// <summary>Where pieces may be cut.</summary>
    public Seams Seams { get; } = new(Vocabulary);
}
