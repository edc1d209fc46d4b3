namespace VlmSharp.Training.Recipes;

/// <summary>A part of a vision-language model that a recipe can freeze or give a rate of its own.</summary>
public enum ModelPart
{
    /// <summary>The vision tower.</summary>
    Vision,

    /// <summary>What brings its features to the decoder: mergers, or a resampler.</summary>
    Merger,

    /// <summary>The decoder with embedding and head.</summary>
    Language,
}

/// <summary>Which part and layer a tensor belongs to, by the names that checkpoints give it.</summary>
public static class ModelParts
{
    // What stands below the tower's name and is no part of the tower: mergers, or a resampler with its norm and its projection.
    static readonly string[] Connectors = ["merger", "deepstack_merger_list", "attn_pool", "ln_post", "proj"];

    /// <summary>The part, and the layer of the tower or of the decoder where it belongs to one.</summary>
    /// <param name="name">The name of a tensor in the checkpoint.</param>
    public static (ModelPart Part, int? Layer) Of(string name)
    {
        string[] segments = name.Split('.');
        int tower = Array.IndexOf(segments, "visual");
        bool connector = tower >= 0 && tower + 1 < segments.Length && Connectors.Contains(segments[tower + 1]);
        ModelPart part =
            tower < 0 ? ModelPart.Language
            : connector ? ModelPart.Merger
            : ModelPart.Vision;
        foreach (string segment in segments.Skip(tower + 1))
        {
            if (!connector && int.TryParse(segment, out int layer))
            {
                return (part, layer); // the first number: others count experts
            }
        }

        return (part, null);
    }
}

/// <summary>Something that is not trained: a part, or some of its layers.</summary>
/// <param name="Part">The part.</param>
/// <param name="Layers">First and last layer from 0, both inclusive; null for the whole part.</param>
public sealed record FrozenPart(ModelPart Part, (int First, int Last)? Layers)
{
    /// <summary>Whether it holds a tensor.</summary>
    public bool Holds(string name)
    {
        (ModelPart part, int? layer) = ModelParts.Of(name);
        return part == Part && (Layers is not { } range || (layer >= range.First && layer <= range.Last));
    }

    /// <summary>Reads <c>vision</c>, <c>language.3</c> or <c>language.0-11</c>; null where it is something else.</summary>
    public static FrozenPart? Parse(string text)
    {
        string[] halves = text.Split('.');
        if (!Enum.TryParse(halves[0], ignoreCase: true, out ModelPart part) || int.TryParse(halves[0], out _))
        {
            return null;
        }

        if (halves.Length == 1)
        {
            return new FrozenPart(part, null);
        }

        string[] ends = halves[1].Split('-');
        return
            halves.Length == 2
            && part != ModelPart.Merger
            && ends.Length <= 2
            && uint.TryParse(ends[0], out uint first)
            && uint.TryParse(ends[^1], out uint last)
            && first <= last
            && last < int.MaxValue
            ? new FrozenPart(part, ((int)first, (int)last))
            : null;
    }

    /// <summary>As <see cref="Parse"/> reads it.</summary>
    public override string ToString() =>
        Part.ToString().ToLowerInvariant() + (Layers is { } range ? $".{range.First}-{range.Last}" : "");
}
