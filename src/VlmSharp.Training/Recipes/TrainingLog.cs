using System.Text.Json;

namespace VlmSharp.Training.Recipes;

/// <summary>The log of a run: a JSON object on each line, appended as things happen.</summary>
/// <remarks>
/// <c>{"step": 10, "loss": ...}</c> for an update, <c>{"step": 10, "evaluation": ...}</c> for a held-out loss, <c>{"step": 10,
/// "note": ...}</c> for what people should know.
/// </remarks>
/// <param name="path">The file.</param>
public sealed class TrainingLog(string path)
{
    /// <summary>Drops what was logged after an update: a run that goes on from there does it again.</summary>
    public void Truncate(int updates)
    {
        if (File.Exists(path))
        {
            string[] kept =
            [
                .. File.ReadLines(path).Where(line => Number(line, "step") is { } step && step <= updates),
            ];
            string copy = $"{path}.writing";
            File.WriteAllLines(copy, kept);
            File.Move(copy, path, overwrite: true);
        }
    }

    /// <summary>An update.</summary>
    public void Add(StepReport step) =>
        Add(
            step.Update,
            json =>
            {
                Number(json, "loss", step.Loss);
                json.WriteNumber("labels", step.Labels);
                json.WriteNumber("tokens", step.Tokens);
                json.WriteNumber("patches", step.Patches);
                json.WriteNumber("samples", step.Samples);
                Number(json, "norm", step.Norm);
                Number(json, "rate", step.Rate);
                json.WriteNumber("level", step.Level);
                Number(json, "seconds", Math.Round(step.Seconds, 4));
            }
        );

    /// <summary>A held-out loss.</summary>
    public void Evaluation(int update, double loss) => Add(update, json => Number(json, "evaluation", loss));

    /// <summary>Something to know.</summary>
    public void Note(int update, string text) => Add(update, json => json.WriteString("note", text));

    void Add(int step, Action<Utf8JsonWriter> write)
    {
        using MemoryStream line = new();
        using (Utf8JsonWriter json = new(line))
        {
            json.WriteStartObject();
            json.WriteNumber("step", step);
            write(json);
            json.WriteEndObject();
        }

        line.WriteByte((byte)'\n');
        using FileStream file = new(path, FileMode.Append, FileAccess.Write, FileShare.Read);
        file.Write(line.GetBuffer().AsSpan(0, (int)line.Length));
    }

    static void Number(Utf8JsonWriter json, string name, double value)
    {
        if (double.IsFinite(value))
        {
            json.WriteNumber(name, value);
        }
        else
        {
            json.WriteNull(name);
        }
    }

    /// <summary>A value over the updates: <c>loss</c>, <c>rate</c>, <c>evaluation</c> and the like.</summary>
    public IEnumerable<(int Step, double Value)> Read(string name)
    {
        if (!File.Exists(path))
        {
            yield break;
        }

        foreach (string line in File.ReadLines(path))
        {
            if (Number(line, name) is { } value && Number(line, "step") is { } step)
            {
                yield return ((int)step, value);
            }
        }
    }

    // Null where there is none, and for a line that a crash cut off.
    static double? Number(string line, string name)
    {
        try
        {
            using JsonDocument json = JsonDocument.Parse(line);
            return
                json.RootElement.ValueKind == JsonValueKind.Object
                && json.RootElement.TryGetProperty(name, out JsonElement value)
                && value.ValueKind == JsonValueKind.Number
                ? value.GetDouble()
                : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
