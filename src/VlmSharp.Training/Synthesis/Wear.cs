using VlmSharp.Formats;
using VlmSharp.Media.Images;

namespace VlmSharp.Training.Synthesis;

/// <summary>What cameras, scanners and files do to pictures; each with its probability.</summary>
/// <remarks>Nothing moves, so that boxes stay true.</remarks>
sealed record Wear(double Blur, double Noise, double Contrast, double Shadow, double Jpeg)
{
    public static Wear Read(JsonObjectReader? json)
    {
        if (json is null)
        {
            return new(0, 0, 0, 0, 0);
        }

        json.AllowOnly("blur", "noise", "contrast", "shadow", "jpeg");
        return new(Share("blur"), Share("noise"), Share("contrast"), Share("shadow"), Share("jpeg"));

        double Share(string name) => json.Number(name, 0, 1, 0);
    }

    /// <summary>The finished picture.</summary>
    public RgbImage Apply(Painting painting, CounterRandom random)
    {
        if (random.Chance(Shadow))
        {
            AddShadow(painting, random);
        }

        if (random.Chance(Contrast))
        {
            ChangeContrast(painting.Pixels, random.Number(0.6, 1), random.Number(-20, 20));
        }

        if (random.Chance(Blur))
        {
            painting.Replace(Blurred(painting, random.Number(0.1, 0.6)));
        }

        if (random.Chance(Noise))
        {
            AddNoise(painting.Pixels, random.Int(4, 20), random);
        }

        RgbImage image = painting.ToImage();
        return random.Chance(Jpeg)
            ? ImageDecoder.Decode(ImageEncoder.Jpeg(image, random.Int(30, 90)), "a drawn picture")
            : image;
    }

    static void AddShadow(Painting painting, CounterRandom random)
    {
        (double sine, double cosine) = Math.SinCos(random.Number(0, 2 * Math.PI));
        double edge = random.Number(-0.3, 0.3) * painting.Width;
        double softness = random.Number(4, 30);
        double depth = random.Number(0.1, 0.35);
        for (int y = 0; y < painting.Height; y++)
        {
            for (int x = 0; x < painting.Width; x++)
            {
                double distance =
                    ((x - (painting.Width / 2.0)) * cosine) + ((y - (painting.Height / 2.0)) * sine) - edge;
                double light = 1 - (depth * Math.Clamp((distance / softness) + 0.5, 0, 1));
                foreach (ref byte sample in painting.Pixels.AsSpan(3 * ((y * painting.Width) + x), 3))
                {
                    sample = (byte)((sample * light) + 0.5);
                }
            }
        }
    }

    static void ChangeContrast(byte[] pixels, double factor, double brighter)
    {
        byte[] table = new byte[256];
        for (int i = 0; i < table.Length; i++)
        {
            table[i] = (byte)Math.Clamp(((i - 128) * factor) + 128 + brighter, 0, 255);
        }

        for (int i = 0; i < pixels.Length; i++)
        {
            pixels[i] = table[pixels[i]];
        }
    }

    // Each pixel takes a share from its neighbours, along rows and then along columns.
    static byte[] Blurred(Painting painting, double share)
    {
        int row = 3 * painting.Width;
        int side = (int)(share / (1 + share) * 128);
        byte[] across = new byte[painting.Pixels.Length];
        for (int start = 0; start < across.Length; start += row)
        {
            Smear(painting.Pixels.AsSpan(start, row), across.AsSpan(start, row), 3, side);
        }

        byte[] down = new byte[across.Length];
        Smear(across, down, row, side);
        return down;
    }

    // At both ends a sample stands for the neighbour that it lacks.
    static void Smear(ReadOnlySpan<byte> from, Span<byte> to, int step, int side)
    {
        for (int i = 0; i < from.Length; i++)
        {
            int before = from[i >= step ? i - step : i];
            int after = from[i + step < from.Length ? i + step : i];
            to[i] = (byte)(((from[i] * (256 - (2 * side))) + ((before + after) * side) + 128) >> 8);
        }
    }

    static void AddNoise(byte[] pixels, int depth, CounterRandom random)
    {
        ulong bits = 0;
        for (int i = 0; i < pixels.Length; i++)
        {
            bits = i % 4 == 0 ? random.Bits() : bits >> 16;
            // The sum of two bytes is a triangle around 255.
            int level = (int)((bits & 0xFF) + ((bits >> 8) & 0xFF)) - 255;
            pixels[i] = (byte)Math.Clamp(pixels[i] + ((level * depth) >> 8), 0, 255);
        }
    }
}
