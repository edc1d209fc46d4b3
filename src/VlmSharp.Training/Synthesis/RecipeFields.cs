using VlmSharp.Formats;

namespace VlmSharp.Training.Synthesis;

/// <summary>Kinds of fields that recipes have.</summary>
static class RecipeFields
{
    /// <summary>Two integers, the first not above the second.</summary>
    public static (int Low, int High) Range(
        this JsonObjectReader json,
        string name,
        int min,
        int max,
        (int, int) fallback
    )
    {
        if (!json.Has(name))
        {
            return fallback;
        }

        int[] ends = json.IntOrInts(name, 2, min, max);
        return ends switch
        {
            [int only] => (only, only),
            [int low, int high] when low <= high => (low, high),
            _ => throw json.Error(name, $"is no range, expected one number or [least, most] in {min} .. {max}"),
        };
    }

    /// <summary>Some of a list of names.</summary>
    public static string[] Choices(this JsonObjectReader json, string name, string[] known, string[] fallback)
    {
        if (!json.Has(name))
        {
            return fallback;
        }

        string[] chosen = json.Texts(name, 1000);
        return chosen.Length == 0 ? throw json.Error(name, $"is empty, expected some of {string.Join(", ", known)}")
            : chosen.FirstOrDefault(item => !known.Contains(item)) is { } other
                ? throw json.Error(name, $"has '{other}', expected some of {string.Join(", ", known)}")
            : chosen;
    }

    /// <summary>An object of names and their weights.</summary>
    public static (string Item, double Weight)[] Weights(
        this JsonObjectReader json,
        string name,
        string[] known,
        (string, double)[] fallback
    )
    {
        if (json.OptionalObject(name) is not { } weights)
        {
            return fallback;
        }

        weights.AllowOnly(known);
        (string Item, double Weight)[] read = [.. weights.Names.Select(item => (item, weights.Number(item, 0, 1e6)))];
        return read.Any(item => item.Weight > 0)
            ? read
            : throw json.Error(name, $"has no weight above 0, expected some of {string.Join(", ", known)}");
    }
}
