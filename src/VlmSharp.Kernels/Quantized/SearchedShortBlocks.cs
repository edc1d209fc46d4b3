using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels.Quantized;

/// <summary>Packs blocks of 32 values with searched scales, eight blocks at a time.</summary>
static unsafe class SearchedShortBlocks
{
    const int Size = 32;
    const int Lanes = ScaleSearch.Lanes;

    /// <summary>A row of IQ4_NL, Q4_0, Q4_1, Q5_0 or Q5_1.</summary>
    [SkipLocalsInit]
    public static void Row(GgmlType type, ReadOnlySpan<float> row, Span<byte> blocks, ReadOnlySpan<float> importance)
    {
        float* x = stackalloc float[Size * Lanes];
        float* w = stackalloc float[Size * Lanes];
        float* q = stackalloc float[Size * Lanes];
        int bytes = type.BlockBytes();
        for (int column = 0; column < row.Length; column += Size * Lanes)
        {
            int lanes = Math.Min(Lanes, (row.Length - column) / Size);
            Groups.Gather(row[column..], x, Size, lanes);
            Groups.Weights(importance.IsEmpty ? [] : importance[column..], w, Size, lanes);
            Vector256<float> least = Vector256<float>.Zero;
            Vector256<float> scale = type switch
            {
                GgmlType.IQ4_NL => ScaleSearch.Uneven(x, w, Size),
                GgmlType.Q4_0 => ScaleSearch.Symmetric(x, w, Size, -8, 7),
                GgmlType.Q5_0 => ScaleSearch.Symmetric(x, w, Size, -16, 15),
                _ => ScaleSearch.Affine(x, w, Size, type == GgmlType.Q4_1 ? 15 : 31, atMostZero: false, out least),
            };
            scale = Groups.Halves(scale);
            least = Groups.Halves(least);
            switch (type)
            {
                case GgmlType.IQ4_NL:
                    ScaleSearch.UnevenPlaces(x, q, Size, scale);
                    break;
                case GgmlType.Q4_0 or GgmlType.Q5_0:
                    int half = type == GgmlType.Q4_0 ? 8 : 16;
                    // What integer 0 stands for: levels are counted from the lowest.
                    ScaleSearch.Integers(x, q, Size, scale, scale * -half, 0, (2 * half) - 1);
                    break;
                default:
                    ScaleSearch.Integers(x, q, Size, scale, least, 0, type == GgmlType.Q4_1 ? 15 : 31);
                    break;
            }

            for (int lane = 0; lane < lanes; lane++, blocks = blocks[bytes..])
            {
                Write(type, q, lane, scale[lane], least[lane], blocks);
            }
        }
    }

    [SkipLocalsInit]
    static void Write(GgmlType type, float* q, int lane, float scale, float least, Span<byte> block)
    {
        Span<byte> levels = stackalloc byte[Size];
        for (int i = 0; i < Size; i++)
        {
            levels[i] = (byte)q[(i * Lanes) + lane];
        }

        PlainNumbers.WriteHalf(block, scale);
        block = block[2..];
        if (type is GgmlType.Q4_1 or GgmlType.Q5_1)
        {
            PlainNumbers.WriteHalf(block, least);
            block = block[2..];
        }

        if (type is GgmlType.Q5_0 or GgmlType.Q5_1)
        {
            BlockBits.PackFive(levels, block[..20]);
        }
        else
        {
            BlockBits.PackFour(levels, block[..16]);
        }
    }
}

/// <summary>Groups of a row side by side: value i of group g becomes element [i][g].</summary>
static unsafe class Groups
{
    const int Lanes = ScaleSearch.Lanes;

    /// <summary>Lays some groups side by side; those that are missing are zeros.</summary>
    /// <param name="values">Groups one after the other.</param>
    /// <param name="lanes">[size][8]</param>
    /// <param name="size">Values of a group.</param>
    /// <param name="count">How many groups there are, at most 8.</param>
    public static void Gather(ReadOnlySpan<float> values, float* lanes, int size, int count)
    {
        for (int group = 0; group < Lanes; group++)
        {
            for (int i = 0; i < size; i++)
            {
                lanes[(i * Lanes) + group] = group < count ? values[(group * size) + i] : 0;
            }
        }
    }

    /// <summary>Lays the importance of groups side by side: ones where there is none, or none in a whole group.</summary>
    /// <inheritdoc cref="Gather"/>
    public static void Weights(ReadOnlySpan<float> values, float* lanes, int size, int count)
    {
        if (values.IsEmpty)
        {
            new Span<float>(lanes, size * Lanes).Fill(1);
            return;
        }

        Gather(values, lanes, size, count);
        for (int group = 0; group < Lanes; group++)
        {
            float sum = 0;
            for (int i = 0; i < size; i++)
            {
                sum += lanes[(i * Lanes) + group];
            }

            for (int i = 0; i < size && !(sum > 0); i++)
            {
                lanes[(i * Lanes) + group] = 1;
            }
        }
    }

    /// <summary>Rounded to what a half holds; no infinities.</summary>
    public static Vector256<float> Halves(Vector256<float> values)
    {
        for (int lane = 0; lane < Lanes; lane++)
        {
            values = values.WithElement(lane, Half(values[lane]));
        }

        return values;
    }

    /// <summary>Rounded to what a half holds; no infinities.</summary>
    public static float Half(float value) => (float)(Half)Math.Clamp(value, -65504f, 65504f);
}
