using System.Text;

namespace VlmSharp.Text;

/// <summary>Text to token ids and back, for checkpoints with byte-level BPE: the Qwen family, GPT-2 and relatives.</summary>
/// <remarks>
/// <para>
/// Encoding finds added tokens, normalises what lies between them, splits it into pieces and merges the bytes of each piece, as the
/// <c>tokenizers</c> library does with the same files. Lone surrogates count as U+FFFD.
/// </para>
/// <para>Instances are immutable and may be used from several threads at once.</para>
/// </remarks>
public sealed class Tokenizer
{
    readonly TokenizerDefinition definition;
    readonly Vocabulary vocabulary;
    readonly HashSet<int> special;
    readonly AddedTokenMatcher raw;
    readonly AddedTokenMatcher normalized;

    // Encoders not in use at the moment. They hold caches, so few are kept; whoever finds none makes one.
    readonly Encoder?[] idle = new Encoder?[Math.Min(16, Environment.ProcessorCount)];

    internal Tokenizer(TokenizerDefinition definition)
    {
        this.definition = definition;
        vocabulary = definition.Vocabulary;
        special = [.. definition.AddedTokens.Where(t => t.Special).Select(t => t.Id)];
        var nfc = new Nfc();
        raw = new(definition.AddedTokens.Where(t => !t.Normalized).Select(t => (t.Content, t)));
        normalized = new(
            definition
                .AddedTokens.Where(t => t.Normalized)
                .Select(t => (definition.Nfc ? nfc.Normalize(t.Content).ToString() : t.Content, t))
        );
    }

    /// <summary>Reads the tokenizer of a checkpoint.</summary>
    /// <param name="directory">
    /// Has <c>tokenizer.json</c>, or <c>vocab.json</c>, <c>merges.txt</c> and <c>tokenizer_config.json</c>, or <c>qwen.tiktoken</c>. The first form that
    /// is there is taken.
    /// </param>
    /// <exception cref="Formats.CheckpointException">
    /// A file is missing or damaged, or asks for something that is not implemented and would change ids.
    /// </exception>
    public static Tokenizer Load(string directory) => new(TokenizerFiles.Read(directory));

    /// <summary>Reads the tokenizer of an open checkpoint: the files of its directory, or the metadata of its GGUF file.</summary>
    /// <exception cref="Formats.CheckpointException">As for <see cref="Load(string)"/>.</exception>
    public static Tokenizer Load(Formats.Checkpoint checkpoint) =>
        checkpoint.Gguf is [var file, ..] ? new(GgufTokenizer.Read(file)) : Load(checkpoint.Directory);

    internal TokenizerDefinition Definition => definition;

    /// <summary>The highest id of a token, plus one. The model's vocabulary may be larger.</summary>
    public int VocabularySize => vocabulary.Size;

    /// <summary>Appends the ids of a text.</summary>
    /// <param name="text">Any text; nothing is put before or after it.</param>
    /// <param name="ids">Receives the ids.</param>
    /// <param name="use">Whether added tokens that occur in the text are recognised. Not by default: text may come from a user.</param>
    public void Encode(ReadOnlySpan<char> text, List<int> ids, AddedTokenUse use = AddedTokenUse.None) =>
        Encode(text, [], ids, use);

    /// <summary>Appends the ids of a text that a program wrote around text of users, as a rendered chat template is.</summary>
    /// <param name="text">The whole text.</param>
    /// <param name="literal">
    /// Half-open ranges of <paramref name="text"/> that come from users, ascending and disjoint. An added token is recognised only where it has no character
    /// in any of them. Splitting and merging see the whole text, so that the ids are the reference's wherever no user typed a token.
    /// </param>
    /// <param name="ids">Receives the ids.</param>
    /// <exception cref="ArgumentException">Ranges overlap, are out of order or reach beyond the text.</exception>
    public void Encode(ReadOnlySpan<char> text, ReadOnlySpan<Range> literal, List<int> ids) =>
        Encode(text, literal, ids, AddedTokenUse.Parse);

    /// <summary>The id of an added token by its content, or of a vocabulary entry as the file spells it (a space is <c>Ġ</c> there).</summary>
    public bool TryGetId(string token, out int id) => vocabulary.TryGetId(token, out id);

    /// <summary>The bytes an id stands for: UTF-8, possibly a part of a character. Empty for an id without a token.</summary>
    public ReadOnlySpan<byte> Bytes(int id) => vocabulary.Bytes(id);

    /// <summary>Whether an id is an added token that is marked special.</summary>
    public bool IsSpecial(int id) => special.Contains(id);

    /// <summary>The text of some ids. Bytes that are not UTF-8 become U+FFFD; ids without a token are left out.</summary>
    /// <param name="ids">Token ids.</param>
    /// <param name="skipSpecial">Leaves special tokens out.</param>
    public string Decode(ReadOnlySpan<int> ids, bool skipSpecial = false)
    {
        int length = 0;
        foreach (int id in ids)
        {
            length += Bytes(id).Length;
        }

        var bytes = new byte[length];
        length = 0;
        foreach (int id in ids)
        {
            if (skipSpecial && IsSpecial(id))
            {
                continue;
            }

            ReadOnlySpan<byte> token = Bytes(id);
            token.CopyTo(bytes.AsSpan(length));
            length += token.Length;
        }

        return Encoding.UTF8.GetString(bytes, 0, length);
    }

    void Encode(ReadOnlySpan<char> text, ReadOnlySpan<Range> literal, List<int> ids, AddedTokenUse use)
    {
        Encoder encoder = Rent();
        encoder.Run(text, literal, ids, use);
        Return(encoder);
    }

    /// <summary>Steps that merging a text takes, for tests that bound them.</summary>
    internal long CountSteps(ReadOnlySpan<char> text, List<int> ids)
    {
        var encoder = new Encoder(this);
        encoder.Run(text, [], ids, AddedTokenUse.None);
        return encoder.Steps;
    }

    Encoder Rent()
    {
        foreach (ref Encoder? slot in idle.AsSpan())
        {
            if (Interlocked.Exchange(ref slot, null) is { } encoder)
            {
                return encoder;
            }
        }

        return new Encoder(this);
    }

    // After an exception the encoder is dropped instead.
    void Return(Encoder encoder)
    {
        encoder.Trim();
        foreach (ref Encoder? slot in idle.AsSpan())
        {
            if (Interlocked.CompareExchange(ref slot, encoder, null) is null)
            {
                return;
            }
        }
    }

    /// <summary>The buffers of one encoding at a time, and the way through its stages.</summary>
    sealed class Encoder(Tokenizer tokenizer)
    {
        readonly TokenizerDefinition definition = tokenizer.definition;
        readonly BytePairEncoder pieces = new(tokenizer.definition);
        readonly Nfc nfc = new();
        readonly List<(int Start, int End)> literals = [];
        readonly List<(int Start, int End)> movedLiterals = [];
        char[] buffer = [];

        public long Steps => pieces.Steps;

        public void Run(ReadOnlySpan<char> text, ReadOnlySpan<Range> literal, List<int> ids, AddedTokenUse use)
        {
            ReadLiterals(literal, text.Length);
            text = ReplaceLoneSurrogates(text);
            if (use == AddedTokenUse.None)
            {
                EncodePlain(Normalize(text), ids);
            }
            else
            {
                EncodeParts(text, literals, tokenizer.raw, ids, use);
            }
        }

        public void Trim()
        {
            pieces.Trim();
            if (buffer.Length > 1 << 20)
            {
                buffer = [];
            }
        }

        void ReadLiterals(ReadOnlySpan<Range> ranges, int length)
        {
            literals.Clear();
            int last = 0;
            foreach (Range range in ranges)
            {
                int start = range.Start.GetOffset(length);
                int end = range.End.GetOffset(length);
                if (start < last || end < start || end > length)
                {
                    throw new ArgumentException(
                        $"the range {start}..{end} is out of order, overlaps the one before, which ends at {last}, or leaves the text of length {length}",
                        nameof(ranges)
                    );
                }

                last = end;
                if (start < end)
                {
                    literals.Add((start, end));
                }
            }
        }

        /// <summary>Finds one stage's added tokens and hands what lies between them to the next stage.</summary>
        void EncodeParts(
            ReadOnlySpan<char> text,
            List<(int Start, int End)> literal,
            AddedTokenMatcher matcher,
            List<int> ids,
            AddedTokenUse use
        )
        {
            int done = 0;
            int from = 0;
            int nextLiteral = 0;
            while (true)
            {
                int to = nextLiteral < literal.Count ? literal[nextLiteral].Start : text.Length;
                AddedToken? token = matcher.Find(text, from, to, out int start, out int end);
                if (token is null)
                {
                    if (nextLiteral == literal.Count)
                    {
                        break;
                    }

                    from = literal[nextLiteral++].End;
                    continue;
                }

                from = end;
                if (use == AddedTokenUse.SpecialAsText && token.Special)
                {
                    continue;
                }

                if (token.SingleWord && (EndsWithWord(text[..start]) || StartsWithWord(text[end..])))
                {
                    continue;
                }

                if (token.LeftStrip)
                {
                    start = start <= done ? done : done + text[done..start].TrimEnd().Length;
                }

                if (token.RightStrip)
                {
                    end = text.Length - text[end..].TrimStart().Length;
                }

                if (done < start)
                {
                    EncodePart(text, done, start, literal, matcher, ids, use);
                }

                ids.Add(token.Id);
                done = end;
            }

            if (done < text.Length)
            {
                EncodePart(text, done, text.Length, literal, matcher, ids, use);
            }
        }

        void EncodePart(
            ReadOnlySpan<char> text,
            int start,
            int end,
            List<(int Start, int End)> literal,
            AddedTokenMatcher matcher,
            List<int> ids,
            AddedTokenUse use
        )
        {
            ReadOnlySpan<char> part = text[start..end];
            if (matcher == tokenizer.normalized)
            {
                EncodePlain(part, ids);
            }
            else if (tokenizer.normalized.IsEmpty)
            {
                EncodePlain(Normalize(part), ids);
            }
            else
            {
                part = NormalizeWithLiterals(part, start, literal);
                EncodeParts(part, movedLiterals, tokenizer.normalized, ids, use);
            }
        }

        void EncodePlain(ReadOnlySpan<char> text, List<int> ids)
        {
            for (int start = 0; start < text.Length; )
            {
                int end = PieceSplitter.Next(definition.Pattern, text, start);
                pieces.Encode(text[start..end], ids);
                start = end;
            }
        }

        ReadOnlySpan<char> Normalize(ReadOnlySpan<char> text) => definition.Nfc ? nfc.Normalize(text) : text;

        /// <summary>Normalises a part of the text and leaves in <see cref="movedLiterals"/> where its literal ranges went.</summary>
        ReadOnlySpan<char> NormalizeWithLiterals(
            ReadOnlySpan<char> part,
            int offset,
            List<(int Start, int End)> literal
        )
        {
            movedLiterals.Clear();
            if (literal.Count == 0)
            {
                return Normalize(part);
            }

            // The part is cut where normalisation never reaches across. A literal range grows to such places: a character that
            // is composed of the user's and the program's text counts as the user's.
            var text = new StringBuilder();
            int done = 0;
            int first = literal.BinarySearch((offset, 0));
            for (int i = Math.Max(0, (first < 0 ? ~first : first) - 1); i < literal.Count; i++)
            {
                int start = Math.Max(literal[i].Start - offset, done);
                int end = Math.Min(literal[i].End - offset, part.Length);
                if (start >= part.Length)
                {
                    break;
                }

                if (start >= end)
                {
                    continue;
                }

                while (start > done && !Nfc.IsBoundary(part, start))
                {
                    start--;
                }

                while (!Nfc.IsBoundary(part, end))
                {
                    end++;
                }

                text.Append(Normalize(part[done..start]));
                int movedStart = text.Length;
                text.Append(Normalize(part[start..end]));
                movedLiterals.Add((movedStart, text.Length));
                done = end;
            }

            text.Append(Normalize(part[done..]));
            return text.ToString();
        }

        ReadOnlySpan<char> ReplaceLoneSurrogates(ReadOnlySpan<char> text)
        {
            int i = FindLoneSurrogate(text, 0);
            if (i < 0)
            {
                return text;
            }

            if (buffer.Length < text.Length)
            {
                buffer = new char[text.Length];
            }

            text.CopyTo(buffer);
            for (; i >= 0; i = FindLoneSurrogate(text, i + 1))
            {
                buffer[i] = '\uFFFD';
            }

            return buffer.AsSpan(0, text.Length);
        }

        static int FindLoneSurrogate(ReadOnlySpan<char> text, int from)
        {
            while (true)
            {
                int skip = text[from..].IndexOfAnyInRange('\uD800', '\uDFFF');
                if (skip < 0)
                {
                    return -1;
                }

                from += skip;
                if (from + 1 == text.Length || !char.IsSurrogatePair(text[from], text[from + 1]))
                {
                    return from;
                }

                from += 2;
            }
        }

        static bool EndsWithWord(ReadOnlySpan<char> text) =>
            Rune.DecodeLastFromUtf16(text, out Rune last, out _) == System.Buffers.OperationStatus.Done
            && CharacterClasses.IsWord(last.Value);

        static bool StartsWithWord(ReadOnlySpan<char> text) =>
            Rune.DecodeFromUtf16(text, out Rune first, out _) == System.Buffers.OperationStatus.Done
            && CharacterClasses.IsWord(first.Value);
    }
}
