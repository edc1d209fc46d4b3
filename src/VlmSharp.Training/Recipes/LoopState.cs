using System.Text.Json;
using VlmSharp.Formats;

namespace VlmSharp.Training.Recipes;

/// <summary>Where a training loop stands, besides values and moments.</summary>
/// <param name="Position">In the data.</param>
/// <param name="Curriculum">In the curriculum.</param>
/// <param name="Trained">[sources]: examples that were learnt from.</param>
/// <param name="Skipped">[sources]: examples that were left out.</param>
/// <param name="Tokens">That were trained on, media included.</param>
public sealed record LoopState(
    DataPosition Position,
    CurriculumState Curriculum,
    IReadOnlyList<long> Trained,
    IReadOnlyList<long> Skipped,
    long Tokens
)
{
    /// <summary>Writes it to the disk.</summary>
    internal void Write(string path, int updates, ulong seed, IReadOnlyList<MixtureEntry> entries)
    {
        using FileStream file = new(path, FileMode.Create, FileAccess.Write, FileShare.None);
        using (Utf8JsonWriter json = new(file, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteNumber("updates", updates);
            json.WriteNumber("seed", seed);
            json.WriteNumber("drawn", Position.Drawn);
            json.WriteNumber("tokens", Tokens);
            json.WriteNumber("level", Curriculum.Level);
            json.WriteNumber("levelSteps", Curriculum.Steps);
            if (Curriculum.Smoothed is { } smoothed)
            {
                json.WriteNumber("smoothed", smoothed);
            }

            json.WriteStartArray("sources");
            for (int i = 0; i < entries.Count; i++)
            {
                json.WriteStartObject();
                json.WriteString("source", entries[i].Source);
                json.WriteNumber("drawn", Position.PerSource[i]);
                json.WriteNumber("trained", Trained[i]);
                json.WriteNumber("skipped", Skipped[i]);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        file.Flush(flushToDisk: true);
    }

    /// <summary>Reads what <see cref="Write"/> wrote.</summary>
    /// <exception cref="CheckpointException">It cannot be read, or belongs to other data or another seed.</exception>
    internal static (LoopState State, int Updates) Read(
        string path,
        ulong seed,
        IReadOnlyList<MixtureEntry> entries,
        int levels
    )
    {
        JsonObjectReader json = JsonObjectReader.Open(path);
        JsonObjectReader[] sources = json.Objects("sources", entries.Count);
        if (!sources.Select(s => s.Text("source")).SequenceEqual(entries.Select(e => e.Source)))
        {
            throw json.Error("sources", "are others than the recipe's: the position in the data would mean nothing");
        }

        if (json.Long("seed", 0, long.MaxValue) != (long)seed)
        {
            throw json.Error("seed", $"is {json.Long("seed", 0, long.MaxValue)}, the recipe's is {seed}");
        }

        long[] All(string name) => [.. sources.Select(s => s.Long(name, 0, long.MaxValue))];
        LoopState state = new(
            new DataPosition(json.Long("drawn", 0, long.MaxValue), All("drawn")),
            new CurriculumState(
                json.Int("level", 0, levels - 1),
                json.Int("levelSteps", 0, int.MaxValue),
                json.Has("smoothed") ? json.Number("smoothed", double.MinValue, double.MaxValue) : null
            ),
            All("trained"),
            All("skipped"),
            json.Long("tokens", 0, long.MaxValue)
        );
        return (state, json.Int("updates", 0, int.MaxValue));
    }
}
