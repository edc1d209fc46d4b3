using System.Text;

namespace VlmSharp.Formats;

/// <summary>Puts names from a file into messages: cut where they are absurdly long, control characters visible.</summary>
static class Quote
{
    const int MaxLength = 120;

    /// <summary>The name in quotation marks.</summary>
    public static string Name(string name) => $"'{Short(name)}'";

    /// <inheritdoc cref="Name(string)"/>
    /// <param name="utf8">Need not be valid.</param>
    public static string Name(ReadOnlySpan<byte> utf8) => $"'{Short(utf8)}'";

    /// <inheritdoc cref="Short(string)"/>
    /// <param name="utf8">Need not be valid.</param>
    public static string Short(ReadOnlySpan<byte> utf8) =>
        Short(Encoding.UTF8.GetString(utf8[..Math.Min(utf8.Length, 4 * MaxLength)]));

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
