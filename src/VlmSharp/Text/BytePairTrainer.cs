namespace VlmSharp.Text;

/// <summary>Ordinary tokens of a byte-level vocabulary, as bytes are spelled in <see cref="ByteLevelAlphabet"/>, and how they are merged.</summary>
/// <param name="Tokens">Ids are indexes: the 256 bytes, then one token for each merge.</param>
/// <param name="Merges">In the order in which they are applied.</param>
public sealed record BytePairs(IReadOnlyList<string> Tokens, IReadOnlyList<(string Left, string Right)> Merges);

/// <summary>Makes a vocabulary by byte-pair encoding: again and again the most frequent pair of neighbours becomes a token.</summary>
/// <remarks>
/// Sennrich et al. 2016 on bytes, within the pieces of Qwen2's splitting pattern, which is what its tokenizer will split by. Made for
/// vocabularies of some thousand tokens: every merge counts all pairs of the distinct pieces anew.
/// </remarks>
public static class BytePairTrainer
{
    /// <summary>Learns merges.</summary>
    /// <param name="texts">What the tokenizer will be used on, as often as it occurs there.</param>
    /// <param name="size">Tokens, the 256 bytes among them; fewer are made where no pair occurs twice.</param>
    public static BytePairs Train(IEnumerable<string> texts, int size)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 256);
        (int[] Ids, long Times)[] pieces =
        [
            .. Pieces(texts).Select(piece => (piece.Key.Select(c => (int)c).ToArray(), piece.Value)),
        ];
        List<string> tokens = [.. Enumerable.Range(0, 256).Select(b => ByteLevelAlphabet.Encode([(byte)b]))];
        List<(string, string)> merges = [];
        Dictionary<(int Left, int Right), long> counts = [];
        while (tokens.Count < size)
        {
            Count(pieces, counts);
            ((int Left, int Right) best, long times) = (default, 1L);
            foreach (((int Left, int Right) pair, long count) in counts)
            {
                // Of pairs as frequent the one that could be made first: a dictionary has no order to rely on.
                if (count > times || (count == times && count > 1 && pair.CompareTo(best) < 0))
                {
                    (best, times) = (pair, count);
                }
            }

            if (times < 2)
            {
                break;
            }

            for (int i = 0; i < pieces.Length; i++)
            {
                pieces[i].Ids = Merge(pieces[i].Ids, best, tokens.Count);
            }

            merges.Add((tokens[best.Left], tokens[best.Right]));
            tokens.Add(tokens[best.Left] + tokens[best.Right]);
        }

        return new BytePairs(tokens, merges);
    }

    // Distinct pieces, one character for each byte, in an order that depends on nothing but the texts.
    static SortedDictionary<string, long> Pieces(IEnumerable<string> texts)
    {
        SortedDictionary<string, long> pieces = new(StringComparer.Ordinal);
        Nfc nfc = new();
        foreach (string text in texts)
        {
            ReadOnlySpan<char> normal = nfc.Normalize(text);
            for (int start = 0, end; start < normal.Length; start = end)
            {
                end = PieceSplitter.Next(SplitPattern.Qwen2, normal, start);
                byte[] bytes = System.Text.Encoding.UTF8.GetBytes(normal[start..end].ToString());
                string piece = System.Text.Encoding.Latin1.GetString(bytes);
                pieces[piece] = pieces.GetValueOrDefault(piece) + 1;
            }
        }

        return pieces;
    }

    static void Count((int[] Ids, long Times)[] pieces, Dictionary<(int, int), long> counts)
    {
        counts.Clear();
        foreach ((int[] ids, long times) in pieces)
        {
            for (int i = 1; i < ids.Length; i++)
            {
                (int, int) pair = (ids[i - 1], ids[i]);
                counts[pair] = counts.GetValueOrDefault(pair) + times;
            }
        }
    }

    static int[] Merge(int[] ids, (int Left, int Right) pair, int merged)
    {
        int length = 0;
        int[] result = ids;
        for (int i = 0; i < ids.Length; i++, length++)
        {
            bool both = i + 1 < ids.Length && (ids[i], ids[i + 1]) == pair;
            if (both && result == ids)
            {
                result = [.. ids];
            }

            result[length] = both ? merged : ids[i];
            i += both ? 1 : 0;
        }

        return result == ids ? ids : result[..length];
    }
}
