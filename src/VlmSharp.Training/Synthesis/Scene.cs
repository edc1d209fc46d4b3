using VlmSharp.Datasets;
using VlmSharp.Grounding;
using VlmSharp.Media.Images;

namespace VlmSharp.Training.Synthesis;

/// <summary>What generators know while they make one example.</summary>
sealed class Scene
{
    readonly SynthesisRecipe recipe;
    readonly FontShelf fonts;

    // Generators that try several sizes, and write a word twice, set it once.
    readonly Dictionary<(string Text, FontFace Face, int Size), TextImage> setTexts = [];

    public Scene(SynthesisRecipe recipe, FontShelf fonts, CounterRandom random)
    {
        (this.recipe, this.fonts, Random) = (recipe, fonts, random);
        (int width, int height) = random.Pick(recipe.Sizes);
        Language = random.Pick(recipe.Languages);
        IsShort = random.Chance(recipe.ShortPrompts);
        Painting = new(width, height);
    }

    public CounterRandom Random { get; }

    /// <summary>What is drawn on.</summary>
    public Painting Painting { get; private set; }

    /// <summary>Of question and answer: en or zh.</summary>
    public string Language { get; }

    /// <summary>Whether the question is the fixed one of its task.</summary>
    public bool IsShort { get; }

    public bool IsChinese => Language == "zh";

    /// <summary>The picture as somebody would get it.</summary>
    public RgbImage Finish() => recipe.Wear.Apply(Painting, Random);

    /// <summary>Starts another picture of the same size, as the next of a film.</summary>
    /// <param name="pixels">What it shows; copied.</param>
    public void Restart(byte[] pixels)
    {
        Painting = new(Painting.Width, Painting.Height);
        pixels.CopyTo(Painting.Pixels, 0);
    }

    public FontFace Font(string text) => fonts.Pick(text, Random);

    /// <summary>Sets a line of text.</summary>
    /// <param name="text">Has something visible in it.</param>
    /// <param name="face">The font.</param>
    /// <param name="size">In pixels.</param>
    /// <param name="angle">Turned clockwise by so much, in radians.</param>
    /// <exception cref="MediaException">There is nothing to see.</exception>
    public Lettering Letters(string text, FontFace face, double size, double angle = 0)
    {
        int ready = Lettering.ReadySize(size);
        if (!setTexts.TryGetValue((text, face, ready), out TextImage? image))
        {
            image =
                TextImage.Render(text, ready, face: face)
                ?? throw new MediaException(face.Family, $"shows nothing for '{text}'");
            setTexts.Add((text, face, ready), image);
        }

        return Lettering.From(image, size / ready, angle);
    }

    /// <summary>Paints a background and says which colour stands out from it.</summary>
    public Colour PaintPaper()
    {
        (Colour paper, Colour ink) = PickColours();
        PaintPaper(paper);
        return ink;
    }

    public void PaintPaper(Colour paper) => Backgrounds.Paint(Painting, Random.Pick(recipe.Backgrounds), paper, Random);

    /// <summary>A colour for paper and one for ink, far enough apart to be read.</summary>
    public (Colour Paper, Colour Ink) PickColours()
    {
        if (recipe.Colours == "black-on-white")
        {
            return (new(255, 255, 255), new(0, 0, 0));
        }

        while (true)
        {
            (Colour paper, Colour ink) = (AnyColour(), AnyColour());
            (double light, double dark) = (Palette.Brightness(paper), Palette.Brightness(ink));
            bool fits = recipe.Colours == "dark-on-light" ? light > 190 && dark < 90 : Math.Abs(light - dark) > 95;
            if (fits)
            {
                return (paper, ink);
            }
        }
    }

    /// <summary>The task's question in the language of the example.</summary>
    public IReadOnlyList<ExamplePart> Ask(string task, params ReadOnlySpan<object> about) =>
        Phrases.Ask(task, this, about);

    /// <summary>The answer to a question that has two.</summary>
    public string YesNo(bool yes) =>
        (yes, IsChinese) switch
        {
            (true, true) => "是",
            (false, true) => "否",
            (true, false) => "yes",
            _ => "no",
        };

    // Half of them near grey, as most paper and print is.
    Colour AnyColour()
    {
        byte Sample() => (byte)Random.Int(0, 255);

        byte grey = Sample();
        return Random.Chance(0.5) ? Palette.Vary(new(grey, grey, grey), Random, 12) : new(Sample(), Sample(), Sample());
    }
}
