using VlmSharp.Grounding;

namespace VlmSharp.Training.Synthesis;

/// <summary>A thing's name in both languages.</summary>
/// <param name="English">In the singular.</param>
/// <param name="Plural">In English.</param>
/// <param name="Chinese">The same.</param>
sealed record Term(string English, string Plural, string Chinese)
{
    public string In(string language, bool plural = false) =>
        language == "zh" ? Chinese
        : plural ? Plural
        : English;
}

/// <summary>Colours with names that people agree on.</summary>
sealed record NamedColour(Term Name, Colour Colour);

/// <summary>Which colours there are, and which of them go together.</summary>
static class Palette
{
    public static readonly NamedColour[] All =
    [
        Named("red", "红色", 220, 35, 40),
        Named("green", "绿色", 40, 160, 60),
        Named("blue", "蓝色", 35, 80, 225),
        Named("yellow", "黄色", 250, 220, 30),
        Named("orange", "橙色", 245, 135, 20),
        Named("purple", "紫色", 130, 45, 175),
        Named("pink", "粉色", 250, 140, 190),
        Named("brown", "棕色", 125, 75, 35),
        Named("black", "黑色", 20, 20, 20),
        Named("white", "白色", 250, 250, 250),
        Named("grey", "灰色", 130, 130, 130),
    ];

    /// <summary>Shades that have no name of the list.</summary>
    public static readonly Colour[] Papers =
    [
        new(255, 255, 255),
        new(240, 240, 232),
        new(222, 232, 240),
        new(205, 205, 200),
        new(60, 64, 72),
        new(28, 34, 44),
        new(180, 195, 190),
    ];

    public static double Brightness(Colour colour) =>
        (0.299 * colour.Red) + (0.587 * colour.Green) + (0.114 * colour.Blue);

    /// <summary>How far apart two colours are, in levels of a sample.</summary>
    public static double Distance(Colour a, Colour b) =>
        Math.Sqrt(
            ((double)(a.Red - b.Red) * (a.Red - b.Red))
                + ((double)(a.Green - b.Green) * (a.Green - b.Green))
                + ((double)(a.Blue - b.Blue) * (a.Blue - b.Blue))
        );

    /// <summary>A shade nearby.</summary>
    public static Colour Vary(Colour colour, CounterRandom random, int depth)
    {
        return new(Near(colour.Red), Near(colour.Green), Near(colour.Blue));

        byte Near(byte sample) => (byte)Math.Clamp(sample + random.Int(-depth, depth), 0, 255);
    }

    static NamedColour Named(string english, string chinese, byte red, byte green, byte blue) =>
        new(new(english, english, chinese), new(red, green, blue));
}
