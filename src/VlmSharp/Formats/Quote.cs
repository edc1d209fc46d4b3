using System.Text;

namespace VlmSharp.Formats;

/// <summary>Puts names from a file into messages: cut where they are absurdly long, control characters visible.</summary>
static class Quote
{
    const int MaxLength = 120;

    /// <summary>The name in quotation marks.</summary>
    public static string Name(string name) => $"'{Short(name)}'";

    /// <summary>The name without them.</summary>
    public static string Short(string name)
    {
        StringBuilder text = new();
        foreach (char c in name.AsSpan(0, Math.Min(name.Length, MaxLength)))
        {
            if (char.IsControl(c))
            {
                text.Append($"\\u{(int)c:x4}");
            }
            else
            {
                text.Append(c);
            }
        }

        return text.Append(name.Length > MaxLength ? "..." : "").ToString();
    }
}
