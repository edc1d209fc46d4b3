using System.Diagnostics.CodeAnalysis;
using System.Numerics;
using System.Runtime.InteropServices;
using System.Text;
using VlmSharp.Formats;

namespace VlmSharp.Text;

/// <summary>Token bytes by id and ids by token bytes, for a byte-level vocabulary with its added tokens.</summary>
/// <remarks>All bytes lie in one block; a vocabulary of 150 000 tokens is four arrays and no strings.</remarks>
sealed class Vocabulary
{
    readonly byte[] block;
    readonly (int Start, int Length)[] tokens; // by id; Length -1: there is no such token
    readonly int[] slots; // open addressing over the byte-level entries: id + 1; 0 is free
    readonly Dictionary<string, int> literal; // entries that are not spelled in the byte-level alphabet, and added tokens

    Vocabulary(byte[] block, (int Start, int Length)[] tokens, int[] slots, Dictionary<string, int> literal)
    {
        this.block = block;
        this.tokens = tokens;
        this.slots = slots;
        this.literal = literal;
    }

    /// <summary>Highest id + 1.</summary>
    public int Size => tokens.Length;

    /// <summary>The bytes of a token; empty for an id without one.</summary>
    public ReadOnlySpan<byte> Bytes(int id) =>
        (uint)id < (uint)tokens.Length && tokens[id].Length >= 0
            ? block.AsSpan(tokens[id].Start, tokens[id].Length)
            : default;

    /// <summary>The id of the byte-level entry that stands for these bytes.</summary>
    public bool TryGetId(ReadOnlySpan<byte> bytes, out int id)
    {
        int mask = slots.Length - 1;
        for (int i = Hash(bytes) & mask; slots[i] != 0; i = (i + 1) & mask)
        {
            id = slots[i] - 1;
            if (block.AsSpan(tokens[id].Start, tokens[id].Length).SequenceEqual(bytes))
            {
                return true;
            }
        }

        id = -1;
        return false;
    }

    /// <summary>The id of an added token by its content, or of an entry by its spelling in the file.</summary>
    public bool TryGetId(string token, out int id)
    {
        if (literal.TryGetValue(token, out id))
        {
            return true;
        }

        byte[] spelled = Encoding.UTF8.GetBytes(token);
        var bytes = new byte[spelled.Length];
        int length = ByteLevelAlphabet.Decode(spelled, bytes);
        return length >= 0 && TryGetId(bytes.AsSpan(0, length), out id);
    }

    // The framework's hash of characters: seeded, so that a file cannot aim for collisions.
    [SuppressMessage("Usage", "MA0021", Justification = "Bytes in pairs, not text; comparers take no span.")]
    static int Hash(ReadOnlySpan<byte> bytes)
    {
        int odd = (bytes.Length & 1) == 0 ? bytes.Length << 8 : bytes[^1] | (bytes.Length << 8);
        return string.GetHashCode(MemoryMarshal.Cast<byte, char>(bytes)) + (odd * 0x2C1B3C6D);
    }

    /// <summary>Collects the entries of a vocabulary file, whose name and field its errors carry.</summary>
    public sealed class Builder(string file, string field)
    {
        static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

        byte[] block = new byte[1 << 16];
        int used;
        readonly List<(int Id, int Start, int Length, bool ByteLevel)> entries = [];
        readonly Dictionary<string, int> literal = [];

        /// <summary>Adds an entry as the file spells it, in UTF-8.</summary>
        public void Add(ReadOnlySpan<byte> spelled, int id)
        {
            if (block.Length - used < spelled.Length)
            {
                Array.Resize(ref block, Math.Max(block.Length * 2, used + spelled.Length));
            }

            int length = ByteLevelAlphabet.Decode(spelled, block.AsSpan(used));
            bool byteLevel = length >= 0;
            if (!byteLevel)
            {
                // Nothing merges to such an entry; it can be decoded and looked up.
                spelled.CopyTo(block.AsSpan(used));
                length = spelled.Length;
                string token = ReadToken(spelled);
                if (!literal.TryAdd(token, id))
                {
                    throw Twice(token, literal[token], id);
                }
            }

            entries.Add((id, used, length, byteLevel));
            used += length;
        }

        /// <summary>Adds an entry by the bytes it stands for.</summary>
        public void AddBytes(ReadOnlySpan<byte> token, int id)
        {
            if (block.Length - used < token.Length)
            {
                Array.Resize(ref block, Math.Max(block.Length * 2, used + token.Length));
            }

            token.CopyTo(block.AsSpan(used));
            entries.Add((id, used, token.Length, true));
            used += token.Length;
        }

        /// <summary>Puts the entries in order of id and adds the added tokens.</summary>
        /// <exception cref="CheckpointException">Two entries or tokens contradict each other, or ids are far beyond their number.</exception>
        public Vocabulary Build(IReadOnlyList<AddedToken> added, string addedFile)
        {
            int highest = -1;
            foreach ((int id, _, _, _) in entries)
            {
                highest = Math.Max(highest, id);
            }

            foreach (AddedToken token in added)
            {
                highest = Math.Max(highest, token.Id);
            }

            // Gaps are legal and happen; a table that is almost only gaps comes from a damaged or hostile file.
            int count = entries.Count + added.Count;
            if (highest >= (4L * count) + (1 << 16))
            {
                throw new CheckpointException(
                    file,
                    $"{field}: the highest id is {highest}, far beyond the {count} tokens there are"
                );
            }

            foreach (AddedToken token in added)
            {
                used += Encoding.UTF8.GetByteCount(token.Content);
            }

            int free = used;
            Array.Resize(ref block, used);
            var tokens = new (int Start, int Length)[highest + 1];
            Array.Fill(tokens, (0, -1));
            var slots = new int[(int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(16, entries.Count * 2))];
            var vocabulary = new Vocabulary(block, tokens, slots, literal);
            foreach ((int id, int start, int length, bool byteLevel) in entries)
            {
                if (tokens[id].Length >= 0)
                {
                    throw new CheckpointException(
                        file,
                        $"{field}: {Show(vocabulary.Bytes(id))} and {Show(block.AsSpan(start, length))} both have id {id}"
                    );
                }

                tokens[id] = (start, length);
                if (byteLevel)
                {
                    vocabulary.Link(id, this);
                }
            }

            foreach (AddedToken token in added)
            {
                free -= Encoding.UTF8.GetByteCount(token.Content);
                vocabulary.Add(token, free, addedFile);
            }

            return vocabulary;
        }

        string ReadToken(ReadOnlySpan<byte> spelled)
        {
            try
            {
                return Strict.GetString(spelled);
            }
            catch (DecoderFallbackException e)
            {
                throw new CheckpointException(file, $"{field}: entry {entries.Count} is not valid UTF-8", e);
            }
        }

        internal CheckpointException Twice(string token, int first, int second) =>
            new(file, $"{field}: {Quote.Name(token)} occurs twice, with ids {first} and {second}");
    }

    void Link(int id, Builder builder)
    {
        ReadOnlySpan<byte> bytes = Bytes(id);
        int mask = slots.Length - 1;
        int slot = Hash(bytes) & mask;
        for (; slots[slot] != 0; slot = (slot + 1) & mask)
        {
            if (Bytes(slots[slot] - 1).SequenceEqual(bytes))
            {
                throw builder.Twice(ByteLevelAlphabet.Encode(bytes), slots[slot] - 1, id);
            }
        }

        slots[slot] = id + 1;
    }

    /// <summary>Adds a token; one that the vocabulary has already keeps its bytes there.</summary>
    void Add(AddedToken token, int start, string file)
    {
        bool known = TryGetId(token.Content, out int id);
        if (known && id != token.Id)
        {
            throw new CheckpointException(
                file,
                $"added token {Quote.Name(token.Content)} has id {token.Id}, but it is token {id} already"
            );
        }

        if (!known && tokens[token.Id].Length >= 0)
        {
            throw new CheckpointException(
                file,
                $"added token {Quote.Name(token.Content)} has id {token.Id}, which belongs to {Show(Bytes(token.Id))}"
            );
        }

        if (!known)
        {
            int length = Encoding.UTF8.GetBytes(token.Content, block.AsSpan(start));
            tokens[token.Id] = (start, length);
            literal.Add(token.Content, token.Id);
        }
    }

    static string Show(ReadOnlySpan<byte> bytes) => Quote.Name(ByteLevelAlphabet.Encode(bytes));
}
