using VlmSharp.Grounding;

namespace VlmSharp.Training.Synthesis;

/// <summary>What things are drawn on. Every kind stays within a few levels of its colour, so that ink stands out everywhere.</summary>
static class Backgrounds
{
    public static readonly string[] Kinds = ["plain", "gradient", "noise", "paper", "stripes", "checks", "blobs"];

    // Levels of brightness that a texture may differ from its colour.
    const double Depth = 18;

    public static void Paint(Painting painting, string kind, Colour colour, CounterRandom random)
    {
        if (kind == "plain")
        {
            for (int i = 0; i < painting.Pixels.Length; i += 3)
            {
                (painting.Pixels[i], painting.Pixels[i + 1], painting.Pixels[i + 2]) = (
                    colour.Red,
                    colour.Green,
                    colour.Blue
                );
            }

            return;
        }

        (int width, int height) = (painting.Width, painting.Height);
        double angle = random.Number(0, 2 * Math.PI);
        (double sine, double cosine) = Math.SinCos(angle);
        double period = random.Number(6, 40);
        double depth = random.Number(0.4, 1) * Depth;
        Noise coarse = new(random);
        ulong bits = 0;
        Func<int, int, double> levelAt = kind switch
        {
            "gradient" => (x, y) =>
                4 * (((x - (width / 2.0)) * cosine) + ((y - (height / 2.0)) * sine)) / (width + height),
            "noise" => (x, _) => Grain(x),
            "paper" => (x, y) => (0.6 * coarse.At(x / 9.0, y / 9.0)) + (0.4 * Grain(x)),
            "stripes" => (x, y) => Along(x, y) % 2 == 0 ? 0.6 : -0.6,
            "checks" => (x, y) => (Along(x, y) + Along(y, -x)) % 2 == 0 ? 0.5 : -0.5,
            _ => (x, y) => coarse.At(x / period, y / period),
        };
        for (int y = 0; y < height; y++)
        {
            for (int x = 0; x < width; x++)
            {
                double level = levelAt(x, y);
                int at = 3 * ((y * width) + x);
                int add = (int)Math.Round(depth * Math.Clamp(level, -1, 1));
                painting.Pixels[at] = (byte)Math.Clamp(colour.Red + add, 0, 255);
                painting.Pixels[at + 1] = (byte)Math.Clamp(colour.Green + add, 0, 255);
                painting.Pixels[at + 2] = (byte)Math.Clamp(colour.Blue + add, 0, 255);
            }
        }

        // Which stripe across the direction.
        int Along(int x, int y) => (int)Math.Floor(((x * cosine) + (y * sine)) / period);

        // One byte of a random word for each pixel.
        double Grain(int x)
        {
            bits = x % 8 == 0 ? random.Bits() : bits >> 8;
            return ((bits & 0xFF) / 127.5) - 1;
        }
    }

    /// <summary>Smooth noise: random values at whole numbers, smoothly connected.</summary>
    public sealed class Noise
    {
        const int Size = 32;
        readonly double[] values = new double[Size * Size];

        public Noise(CounterRandom random)
        {
            for (int i = 0; i < values.Length; i++)
            {
                values[i] = random.Number(-1, 1);
            }
        }

        /// <summary>From -1 to 1; repeats after 32.</summary>
        public double At(double x, double y)
        {
            (int left, int top) = ((int)Math.Floor(x), (int)Math.Floor(y));
            double right = Smooth(x - left);
            double bottom = Smooth(y - top);
            double upper = (Value(left, top) * (1 - right)) + (Value(left + 1, top) * right);
            double lower = (Value(left, top + 1) * (1 - right)) + (Value(left + 1, top + 1) * right);
            return (upper * (1 - bottom)) + (lower * bottom);
        }

        double Value(int x, int y) => values[((y & (Size - 1)) * Size) + (x & (Size - 1))];

        static double Smooth(double t) => t * t * (3 - (2 * t));
    }
}
