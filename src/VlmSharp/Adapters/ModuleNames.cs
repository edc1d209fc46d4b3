namespace VlmSharp.Adapters;

/// <summary>Names of modules in adapters and of the tensors of checkpoints that belong to them.</summary>
/// <remarks>
/// Checkpoints of the Qwen2-VL line name their tensors as transformers did when they were made; adapters name modules as the version
/// did with which they were trained. Since 4.52 there is a <c>model.</c> before the vision tower and the decoder.
/// </remarks>
public static class ModuleNames
{
    const string Vision = "visual.";
    const string Decoder = "model.";
    const string NewVision = "model.visual.";
    const string NewDecoder = "model.language_model.";
    const string MiddleDecoder = "language_model.model.";

    /// <summary>The name of a module in current versions of transformers.</summary>
    /// <param name="name">A name in a checkpoint.</param>
    public static string Current(string name) =>
        name.StartsWith(NewVision, StringComparison.Ordinal) || name.StartsWith(NewDecoder, StringComparison.Ordinal)
            ? name
        : name.StartsWith(Vision, StringComparison.Ordinal) ? NewVision + name[Vision.Length..]
        : name.StartsWith(Decoder, StringComparison.Ordinal) ? NewDecoder + name[Decoder.Length..]
        : name;

    /// <summary>The name that a checkpoint has for what an adapter names.</summary>
    /// <param name="name">A name in an adapter.</param>
    /// <param name="contains">Whether the checkpoint has a name.</param>
    /// <returns>Null where it has none.</returns>
    public static string? Find(string name, Func<string, bool> contains) => Spellings(name).FirstOrDefault(contains);

    static IEnumerable<string> Spellings(string name)
    {
        yield return name;
        string current = name.StartsWith(MiddleDecoder, StringComparison.Ordinal)
            ? NewDecoder + name[MiddleDecoder.Length..]
            : Current(name);
        yield return current;
        if (current.StartsWith(NewVision, StringComparison.Ordinal))
        {
            yield return Vision + current[NewVision.Length..];
        }
        else if (current.StartsWith(NewDecoder, StringComparison.Ordinal))
        {
            yield return Decoder + current[NewDecoder.Length..];
        }
    }
}
