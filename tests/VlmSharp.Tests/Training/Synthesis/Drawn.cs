using System.Text;
using VlmSharp.Datasets;
using VlmSharp.Media.Images;
using VlmSharp.Training.Synthesis;

namespace VlmSharp.Tests.Training.Synthesis;

/// <summary>Made-up examples, and what can be found in their pictures without knowing what was drawn.</summary>
static class Drawn
{
    public static SyntheticSource Source(string recipe, ulong seed = 0, bool heldOut = false) =>
        new(SynthesisRecipe.Parse("recipe.json", Encoding.UTF8.GetBytes(recipe)), seed, heldOut);

    public static RgbImage Image(this Example example) => example.Messages[0].Content.OfType<Picture>().Single().Pixels;

    public static string Question(this Example example) =>
        string.Concat(example.Messages[0].Content.OfType<TextPart>().Select(part => part.Text));

    public static string Answer(this Example example) =>
        string.Concat(example.Messages[1].Content.OfType<TextPart>().Select(part => part.Text));

    public static IEnumerable<BoxPart> Boxes(this Example example) =>
        example.Messages.SelectMany(message => message.Content).OfType<BoxPart>();

    /// <summary>Something drawn: pixels that hang together and differ from the picture's corner.</summary>
    /// <param name="Box">x1, y1, x2, y2 in pixels.</param>
    /// <param name="Pixels">How many.</param>
    /// <param name="Colour">The name of the colour that most resembles that of most of its pixels.</param>
    public sealed record Blob(double[] Box, int Pixels, string Colour)
    {
        public double X => (Box[0] + Box[2]) / 2;

        public double Y => (Box[1] + Box[3]) / 2;
    }

    /// <summary>Finds them on a plain background, neighbours at corners included.</summary>
    public static List<Blob> Blobs(RgbImage image, int difference = 24)
    {
        (int width, int height) = (image.Width, image.Height);
        bool[] ink = new bool[width * height];
        for (int i = 0; i < ink.Length; i++)
        {
            for (int channel = 0; channel < 3; channel++)
            {
                ink[i] |= Math.Abs(image.Pixels[(3 * i) + channel] - image.Pixels[channel]) >= difference;
            }
        }

        List<Blob> blobs = [];
        for (int start = 0; start < ink.Length; start++)
        {
            if (!ink[start])
            {
                continue;
            }

            ink[start] = false;
            Queue<int> open = new([start]);
            List<int> found = [];
            while (open.TryDequeue(out int at))
            {
                found.Add(at);
                for (int next = 0; next < 9; next++)
                {
                    (int x, int y) = ((at % width) + (next % 3) - 1, (at / width) + (next / 3) - 1);
                    if (x >= 0 && y >= 0 && x < width && y < height && ink[(y * width) + x])
                    {
                        ink[(y * width) + x] = false;
                        open.Enqueue((y * width) + x);
                    }
                }
            }

            double[] box =
            [
                found.Min(at => at % width),
                found.Min(at => at / width),
                found.Max(at => at % width) + 1,
                found.Max(at => at / width) + 1,
            ];
            byte[] pixels = image.Pixels.ToArray();
            string colour = found
                .GroupBy(at => (pixels[3 * at], pixels[(3 * at) + 1], pixels[(3 * at) + 2]))
                .MaxBy(group => group.Count())!
                .Key
                is var (red, green, blue)
                ? Palette.All.MinBy(named => Palette.Distance(named.Colour, new(red, green, blue)))!.Name.English
                : "";
            blobs.Add(new(box, found.Count, colour));
        }

        return blobs;
    }
}
