using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using VlmSharp.Media.Images;

namespace VlmSharp.Testing;

/// <summary>Writes tiled TIFFs of any size: equal tiles are stored once, so a slide of gigapixels is a small file.</summary>
public static class TestSlides
{
    /// <summary>Pixels of a tile.</summary>
    public const int TileSide = 256;

    /// <summary>How a slide is stored.</summary>
    public sealed record Layout(int Width, int Height)
    {
        /// <summary>Factors of the stored levels, the full picture first.</summary>
        public int[] Factors { get; init; } = [1];

        /// <summary>BigTIFF.</summary>
        public bool Big { get; init; }

        /// <summary>Levels below the first directory and not beside it.</summary>
        public bool Nested { get; init; }

        /// <summary>NewSubfileType of the smaller levels.</summary>
        public int LevelKind { get; init; } = 1;

        /// <summary>8 deflate, 7 JPEG.</summary>
        public int Compression { get; init; } = 8;

        /// <summary>3 RGB, 4 with alpha: opaque on the left half of each tile only.</summary>
        public int Samples { get; init; } = 3;

        /// <summary>As EXIF has it.</summary>
        public int Orientation { get; init; } = 1;

        /// <summary>ImageDescription, by which vendors' formats are told.</summary>
        public string? Description { get; init; }

        /// <summary>What TileWidth claims; real tiles stay as they are.</summary>
        public int ClaimedTile { get; init; } = TileSide;

        /// <summary>(factor of the level, x, y of the tile) to a number below 256 that decides what the tile looks like.</summary>
        public Func<int, int, int, int> Kind { get; init; } = Position;

        /// <summary>(factor, kind) to [height, width, samples] of a tile.</summary>
        public Func<int, int, byte[]>? Paint { get; init; }
    }

    /// <summary>What the full picture of <see cref="Layout.Kind"/> <see cref="Position"/> shows: red and green count pixels, blue counts tiles.</summary>
    public static (int R, int G, int B) At(int x, int y) => (x & 255, y & 255, Blue(x >> 8, y >> 8));

    static int Blue(int tileX, int tileY) => ((3 * tileX) + (5 * tileY)) & 255;

    /// <summary>The kind of tile for a picture in which each pixel tells where it is.</summary>
    public static int Position(int factor, int tileX, int tileY) => Blue(tileX * factor, tileY * factor);

    /// <summary>The mean of the full picture over an area.</summary>
    public static double[] Mean(double left, double top, double right, double bottom)
    {
        double[] sums = new double[3];
        for (int y = (int)top; y < bottom; y++)
        {
            double height = Math.Min(bottom, y + 1) - Math.Max(top, y);
            for (int x = (int)left; x < right; x++)
            {
                double area = height * (Math.Min(right, x + 1) - Math.Max(left, x));
                (int r, int g, int b) = At(x, y);
                sums[0] += area * r;
                sums[1] += area * g;
                sums[2] += area * b;
            }
        }

        return [.. sums.Select(s => s / ((right - left) * (bottom - top)))];
    }

    /// <summary>Writes the file.</summary>
    public static void Write(string path, Layout layout)
    {
        using FileStream file = File.Create(path);
        new Writer(file, layout).Write();
    }

    static byte[] PaintPosition(int factor, int kind, int samples)
    {
        byte[] tile = new byte[TileSide * TileSide * samples];
        for (int y = 0, at = 0; y < TileSide; y++)
        {
            for (int x = 0; x < TileSide; x++, at += samples)
            {
                (int fullX, int fullY) = (x * factor, y * factor);
                tile[at] = (byte)((fullX & 255) + (factor / 2));
                tile[at + 1] = (byte)((fullY & 255) + (factor / 2));
                tile[at + 2] = (byte)(kind + Blue(fullX >> 8, fullY >> 8));
                if (samples == 4)
                {
                    tile[at + 3] = (byte)(x < 128 ? 255 : 0);
                }
            }
        }

        return tile;
    }

    sealed class Writer(Stream file, Layout layout)
    {
        readonly Dictionary<(int Factor, int Kind), (long At, int Length)> tiles = [];

        internal void Write()
        {
            file.Write(layout.Big ? [0x49, 0x49, 43, 0, 8, 0, 0, 0] : [0x49, 0x49, 42, 0]);
            long link = file.Position;
            file.Write(new byte[layout.Big ? 8 : 4]);
            long[] nested = layout.Nested ? [.. layout.Factors[1..].Select(f => WriteDirectory(f, [], out _))] : [];
            foreach (int factor in layout.Nested ? layout.Factors[..1] : layout.Factors)
            {
                long at = WriteDirectory(factor, factor == 1 ? nested : [], out long next);
                Link(link, at);
                link = next;
            }
        }

        long WriteDirectory(int factor, long[] children, out long next)
        {
            (int width, int height) = (layout.Width / factor, layout.Height / factor);
            (int across, int down) = ((width + TileSide - 1) / TileSide, (height + TileSide - 1) / TileSide);
            long[] offsets = new long[across * down];
            long[] lengths = new long[across * down];
            for (int i = 0; i < offsets.Length; i++)
            {
                (offsets[i], lengths[i]) = Tile(factor, layout.Kind(factor, i % across, i / across));
            }

            List<(int Tag, int Type, long[] Values)> entries =
            [
                (254, 4, [factor == 1 ? 0 : layout.LevelKind]),
                (256, 4, [width]),
                (257, 4, [height]),
                (258, 3, [.. Enumerable.Repeat(8L, layout.Samples)]),
                (259, 3, [layout.Compression]),
                (262, 3, [layout.Compression == 7 ? 6 : 2]),
                (274, 3, [layout.Orientation]),
                (277, 3, [layout.Samples]),
                (284, 3, [1]),
                (322, 4, [layout.ClaimedTile]),
                (323, 4, [layout.ClaimedTile]),
                (324, layout.Big ? 16 : 4, offsets),
                (325, 4, lengths),
            ];
            if (layout.Description is { } description)
            {
                entries.Add((270, 2, [.. Encoding.ASCII.GetBytes(description + "\0").Select(b => (long)b)]));
            }

            if (layout.Samples == 4)
            {
                entries.Add((338, 3, [2])); // unassociated alpha
            }

            if (layout.Compression == 7)
            {
                entries.Add((530, 3, [1, 1])); // no subsampling
            }

            if (children.Length > 0)
            {
                entries.Add((330, layout.Big ? 16 : 4, children));
            }

            return WriteEntries([.. entries.OrderBy(e => e.Tag)], out next);
        }

        long WriteEntries((int Tag, int Type, long[] Values)[] entries, out long next)
        {
            int inline = layout.Big ? 8 : 4;
            List<byte[]> fields = [];
            foreach ((int tag, int type, long[] values) in entries)
            {
                byte[] data = [.. values.SelectMany(v => Number(v, Size(type)))];
                byte[] place = new byte[inline];
                if (data.Length > inline)
                {
                    place = Number(file.Position, inline);
                    file.Write(data);
                }
                else
                {
                    data.CopyTo(place, 0);
                }

                fields.Add([.. Number(tag, 2), .. Number(type, 2), .. Number(values.Length, inline), .. place]);
            }

            long at = file.Position;
            file.Write(Number(entries.Length, layout.Big ? 8 : 2));
            file.Write([.. fields.SelectMany(f => f)]);
            next = file.Position;
            file.Write(new byte[inline]);
            return at;
        }

        (long At, int Length) Tile(int factor, int kind)
        {
            if (!tiles.TryGetValue((factor, kind), out (long, int) known))
            {
                byte[] raw = layout.Paint?.Invoke(factor, kind) ?? PaintPosition(factor, kind, layout.Samples);
                byte[] packed =
                    layout.Compression == 7 ? ImageEncoder.Jpeg(new(TileSide, TileSide, raw), 95) : Deflate(raw);
                known = (file.Position, packed.Length);
                file.Write(packed);
                tiles.Add((factor, kind), known);
            }

            return known;
        }

        void Link(long from, long to)
        {
            file.Position = from;
            file.Write(Number(to, layout.Big ? 8 : 4));
            file.Position = file.Length;
        }

        static byte[] Deflate(byte[] raw)
        {
            using MemoryStream packed = new();
            using (ZLibStream zlib = new(packed, CompressionLevel.Fastest))
            {
                zlib.Write(raw);
            }

            return packed.ToArray();
        }

        static int Size(int type) =>
            type switch
            {
                2 => 1,
                3 => 2,
                16 => 8,
                _ => 4,
            };

        static byte[] Number(long value, int size)
        {
            byte[] bytes = new byte[8];
            BinaryPrimitives.WriteInt64LittleEndian(bytes, value);
            return bytes[..size];
        }
    }
}
