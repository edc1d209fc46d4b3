using VlmSharp.Formats;

namespace VlmSharp.Text;

/// <summary>Turns merges as files spell them into pairs of ids.</summary>
/// <param name="file">Named in errors.</param>
/// <param name="field">What errors call the place of a merge.</param>
/// <param name="vocabulary">Has both parts and the result of each merge.</param>
sealed class MergeReader(string file, string field, Vocabulary vocabulary)
{
    readonly List<(int Left, int Right, int Merged, int Place)> merges = [];
    byte[] buffer = new byte[256];

    /// <summary>Adds the next merge, written with one space between its parts.</summary>
    /// <param name="merge">UTF-8</param>
    /// <param name="place">Its number in the file.</param>
    public void Add(ReadOnlySpan<byte> merge, int place)
    {
        int space = merge.IndexOf((byte)' ');
        if (space < 0 || merge[(space + 1)..].Contains((byte)' '))
        {
            throw Error(place, $"{Quote.Name(merge)} is not two tokens with a space between them");
        }

        Add(merge[..space], merge[(space + 1)..], place);
    }

    /// <summary>Adds the next merge.</summary>
    public void Add(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right, int place)
    {
        if (buffer.Length < left.Length + right.Length)
        {
            buffer = new byte[left.Length + right.Length];
        }

        int leftLength = ByteLevelAlphabet.Decode(left, buffer);
        int rightLength = leftLength < 0 ? -1 : ByteLevelAlphabet.Decode(right, buffer.AsSpan(leftLength));
        int leftId = Find(left, 0, leftLength, place);
        int rightId = Find(right, leftLength, rightLength, place);
        if (!vocabulary.TryGetId(buffer.AsSpan(0, leftLength + rightLength), out int merged))
        {
            string token = ByteLevelAlphabet.Encode(buffer.AsSpan(0, leftLength + rightLength));
            throw Error(place, $"makes {Quote.Name(token)}, which the vocabulary does not have");
        }

        merges.Add((leftId, rightId, merged, place));
    }

    /// <summary>All merges, ranked in the order in which they were added.</summary>
    public MergeTable Build()
    {
        var table = new MergeTable(merges.Count);
        for (int rank = 0; rank < merges.Count; rank++)
        {
            (int left, int right, int merged, int place) = merges[rank];
            if (!table.TryAdd(left, right, rank, merged))
            {
                // Published readers disagree on whether the first or the last one counts.
                throw Error(place, $"merges tokens {left} and {right}, as an earlier one does");
            }
        }

        return table;
    }

    int Find(ReadOnlySpan<byte> spelled, int start, int length, int place)
    {
        if (length >= 0 && vocabulary.TryGetId(buffer.AsSpan(start, length), out int id))
        {
            return id;
        }

        throw Error(place, $"names {Quote.Name(spelled)}, which the vocabulary does not have");
    }

    CheckpointException Error(int place, string message) => new(file, $"{field} {place}: {message}");
}
