using System.Globalization;

namespace VlmSharp.Grounding;

/// <summary>A colour of 8-bit samples, sRGB.</summary>
public readonly record struct Colour(byte Red, byte Green, byte Blue)
{
    static readonly (string Name, Colour Colour)[] Known =
    [
        ("red", new(230, 25, 75)),
        ("green", new(60, 180, 75)),
        ("blue", new(0, 110, 230)),
        ("orange", new(245, 130, 48)),
        ("purple", new(145, 30, 180)),
        ("cyan", new(70, 240, 240)),
        ("magenta", new(240, 50, 230)),
        ("lime", new(190, 240, 40)),
        ("yellow", new(255, 225, 25)),
        ("brown", new(170, 110, 40)),
        ("pink", new(250, 170, 190)),
        ("teal", new(0, 128, 128)),
        ("white", new(255, 255, 255)),
        ("black", new(0, 0, 0)),
        ("grey", new(128, 128, 128)),
        ("gray", new(128, 128, 128)),
    ];

    /// <summary>Black or white, whichever stands out more.</summary>
    public Colour Contrast => (299 * Red) + (587 * Green) + (114 * Blue) > 140_000 ? new(0, 0, 0) : new(255, 255, 255);

    /// <summary>Colours that can be told apart, for things that are numbered; they repeat after twelve.</summary>
    public static Colour Numbered(int number) => Known[number % 12].Colour;

    /// <summary>Reads a name or <c>#rrggbb</c>.</summary>
    public static bool TryParse(string text, out Colour colour)
    {
        foreach ((string name, Colour known) in Known)
        {
            if (text.Equals(name, StringComparison.OrdinalIgnoreCase))
            {
                colour = known;
                return true;
            }
        }

        bool hex = int.TryParse(
            text.StartsWith('#') && text.Length == 7 ? text.AsSpan(1) : "",
            NumberStyles.AllowHexSpecifier,
            CultureInfo.InvariantCulture,
            out int value
        );
        colour = new((byte)(value >> 16), (byte)(value >> 8), (byte)value);
        return hex;
    }

    /// <summary><c>#rrggbb</c>.</summary>
    public override string ToString() => $"#{Red:x2}{Green:x2}{Blue:x2}";
}
