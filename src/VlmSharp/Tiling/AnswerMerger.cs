using System.Text;
using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Generation;

namespace VlmSharp.Tiling;

/// <summary>Makes one answer of the answers about tiles, with as many prompts as the context requires.</summary>
/// <remarks>
/// Answers that fit into one prompt are merged by it. Else runs of neighbouring answers are summarised first, as many in a prompt
/// as fit but at least two, and the summaries take their place, until one prompt holds them all. An answer that takes more than its
/// half of a prompt is cut off there, and says so. All prompts are text alone.
/// </remarks>
sealed class AnswerMerger
{
    const string CutMark = " [...]";

    readonly string picture;
    readonly string question;
    readonly ITileModel model;
    readonly int frame; // tokens of a prompt without answers

    /// <summary>Checks that questions and answers fit into prompts.</summary>
    internal AnswerMerger(int width, int height, string question, ITileModel model)
    {
        picture = $"A picture of {width}x{height} pixels";
        this.question = question;
        this.model = model;
        frame = Math.Max(model.CountTokens(FinalPrompt([], "")), model.CountTokens(SummaryPrompt([])));
        if (frame > model.MaxTextTokens / 2)
        {
            throw new CacheFullException(
                $"Merging the answers takes {frame} tokens for the question and the words around it, of {model.MaxTextTokens} that fit beside the longest answer; a shorter question, shorter answers (max tokens) or a larger context help."
            );
        }
    }

    /// <summary>Answers the question for the whole picture.</summary>
    /// <param name="tiles">Those that were skipped do not count.</param>
    /// <param name="items">What was found in all of them.</param>
    /// <param name="onPrompt">Told before each prompt how many are answered.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>Null where no tile was asked about. A single answer stays as it is.</returns>
    internal (string? Answer, FinishReason? Finish) Merge(
        IReadOnlyList<ScannedTile> tiles,
        IReadOnlyList<FoundItem> items,
        Action<int> onPrompt,
        CancellationToken cancellation
    )
    {
        ScannedTile[] asked = [.. tiles.Where(t => t.Answer is not null)];
        if (asked.Length < 2)
        {
            return asked.Length == 0 ? (null, null) : (asked[0].AnswerInPicture, asked[0].Finish);
        }

        string found = Found(items);
        int room = model.MaxTextTokens - frame - model.CountTokens(found);
        List<Note> notes =
        [
            .. asked.Select(t => Cut(new($"row {t.Tile.Row + 1}, column {t.Tile.Column + 1}", t), room / 2)),
        ];
        int prompts = 0;
        while (notes.Sum(Count) > room)
        {
            List<Note> summaries = [];
            foreach (List<Note> group in Groups(notes, room))
            {
                if (group.Count == 1)
                {
                    summaries.Add(group[0]);
                    continue;
                }

                TileReply summary = Ask(SummaryPrompt(group));
                summaries.Add(Cut(new(group[0].First, group[^1].Last, summary.Text), room / 2));
            }

            notes = summaries;
        }

        TileReply reply = Ask(FinalPrompt(notes, found));
        return (reply.Text, reply.Finish);

        TileReply Ask(string prompt)
        {
            onPrompt(prompts++);
            cancellation.ThrowIfCancellationRequested();
            return model.Ask([new ChatText(prompt)], cancellation);
        }
    }

    string FinalPrompt(IReadOnlyList<Note> notes, string found) =>
        $"{picture} was looked at in overlapping tiles, one at a time. This was asked about each tile:\n{question}\n\n"
        + $"These are the answers. Coordinates in them are pixels of the whole picture.\n{Join(notes)}\n{found}"
        + "Answer the question for the whole picture, from these answers alone. What overlapping tiles show twice counts once.";

    string SummaryPrompt(IReadOnlyList<Note> notes) =>
        $"{picture} was looked at in overlapping tiles, one at a time. This was asked about each tile:\n{question}\n\n"
        + $"These are the answers about some of them. Coordinates in them are pixels of the whole picture.\n{Join(notes)}\n"
        + "Summarise these answers in a few sentences. Keep numbers, names, places and whatever answers the question; what overlapping tiles show twice counts once.";

    static string Join(IReadOnlyList<Note> notes) => string.Concat(notes.Select(n => n.ToString()));

    /// <summary>How many things of each name there are, the most frequent first: models count badly.</summary>
    string Found(IReadOnlyList<FoundItem> items)
    {
        StringBuilder line = new();
        foreach (
            IGrouping<string, FoundItem> group in items
                .GroupBy(i => (i.Item.Label ?? "unnamed").Trim(), StringComparer.OrdinalIgnoreCase)
                .OrderByDescending(g => g.Count())
        )
        {
            int length = line.Length;
            line.Append(length == 0 ? "Counted in all tiles, each thing once: " : ", ")
                .Append($"{group.Count()} x {group.Key}");
            if (model.CountTokens(line.ToString()) > model.MaxTextTokens / 8)
            {
                line.Length = length;
                break;
            }
        }

        return line.Length == 0 ? "" : line.Append(".\n\n").ToString();
    }

    /// <summary>Runs of answers that fit into a prompt each; two always do.</summary>
    IEnumerable<List<Note>> Groups(IReadOnlyList<Note> notes, int room)
    {
        List<Note> group = [];
        int tokens = 0;
        foreach (Note note in notes)
        {
            int count = Count(note);
            if (group.Count >= 2 && tokens + count > room)
            {
                yield return group;
                (group, tokens) = ([], 0);
            }

            group.Add(note);
            tokens += count;
        }

        yield return group;
    }

    int Count(Note note) => model.CountTokens(note.ToString());

    /// <summary>Shortens an answer so that two of its kind fit.</summary>
    Note Cut(Note note, int most)
    {
        if (Count(note) <= most)
        {
            return note;
        }

        (int low, int high) = (0, note.Text.Length);
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            (low, high) = Count(Shortened(middle)) <= most ? (middle, high) : (low, middle - 1);
        }

        return Shortened(low);

        Note Shortened(int length) =>
            note with
            {
                Text =
                    // Not between the two halves of a character.
                    note.Text[..(length > 0 && char.IsHighSurrogate(note.Text[length - 1]) ? length - 1 : length)]
                    + CutMark,
            };
    }

    /// <summary>An answer about a tile, or a summary of some.</summary>
    /// <param name="First">The first tile it is about.</param>
    /// <param name="Last">The last one.</param>
    /// <param name="Text">What is said.</param>
    sealed record Note(string First, string Last, string Text)
    {
        internal Note(string name, ScannedTile tile)
            : this(name, name, tile.AnswerInPicture!) => Position = tile.Tile.Position;

        string? Position { get; }

        public override string ToString() =>
            $"\n[{Position ?? (First == Last ? First : $"{First} to {Last}")}]\n{Text.Trim()}\n";
    }
}
