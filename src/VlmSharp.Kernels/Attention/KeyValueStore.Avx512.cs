using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

public static unsafe partial class KeyValueStore
{
    // Tokens that a transposed square takes.
    const int Square = Square16.Size;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    [SkipLocalsInit]
    static void Avx512(
        float* k,
        nint kStride,
        float* v,
        nint vStride,
        int tokens,
        KvLayout layout,
        byte* head,
        int first
    )
    {
        while (tokens > 0)
        {
            int count = Math.Min(tokens, Square - (first % Square));
            if (count == Square)
            {
                switch (layout.Storage)
                {
                    case KvStorage.F32:
                        KeysF32(k, kStride, layout, head, first);
                        for (int i = 0; i < Square; i++)
                        {
                            ValueF32(v + (i * vStride), layout, head, first + i);
                        }

                        break;
                    case KvStorage.BF16:
                        KeysBF16(k, kStride, layout, head, first);
                        ValuesBF16(v, vStride, layout, head, first);
                        break;
                    default:
                        KeysQ8(k, kStride, layout, head, first);
                        ValuesQ8(v, vStride, layout, head, first);
                        break;
                }
            }
            else
            {
                Portable(k, kStride, v, vStride, count, layout, head, first);
            }

            tokens -= count;
            first += count;
            k += count * kStride;
            v += count * vStride;
        }
    }

    static void KeysF32(float* k, nint kStride, KvLayout layout, byte* head, int first)
    {
        float* to = (float*)head + KeyPlace(layout, first);
        int i = 0;
        for (; i <= layout.HeadDim - Square; i += Square)
        {
            Square16.Transpose((uint*)k + i, kStride, (uint*)to + (i * KvLayout.KeyPanel), KvLayout.KeyPanel, Square);
        }

        for (; i < layout.HeadDim; i++)
        {
            for (int token = 0; token < Square; token++)
            {
                to[(i * KvLayout.KeyPanel) + token] = k[(token * kStride) + i];
            }
        }
    }

    static void ValueF32(float* v, KvLayout layout, byte* head, int token)
    {
        for (int i = 0; i < layout.ValueChannels; i += 16)
        {
            int start = i / KvLayout.ValuePanel * KvLayout.ValuePanel;
            float* panel = (float*)(head + layout.ValueOffset) + (start * KvLayout.PageTokens);
            Load(v, i, layout.HeadDim).Store(panel + (token * layout.PanelWidth(start)) + i - start);
        }
    }

    [SkipLocalsInit]
    static void KeysBF16(float* k, nint kStride, KvLayout layout, byte* head, int first)
    {
        uint* words = stackalloc uint[Square * Square];
        uint* to = (uint*)head + (KeyPlace(layout, first) / 2);
        for (int pair = 0; pair < layout.Pairs; pair += Square)
        {
            for (int token = 0; token < Square; token++)
            {
                float* from = k + (token * kStride);
                Rounded(from, pair * 2, layout.HeadDim).Store((ushort*)(words + (token * Square)));
                Rounded(from, (pair * 2) + 16, layout.HeadDim).Store((ushort*)(words + (token * Square) + 8));
            }

            int count = Math.Min(Square, layout.Pairs - pair);
            Square16.Transpose(words, Square, to + (pair * KvLayout.KeyPanel), KvLayout.KeyPanel, count);
        }
    }

    static void ValuesBF16(float* v, nint vStride, KvLayout layout, byte* head, int first)
    {
        for (int token = 0; token < Square; token += 2, v += 2 * vStride)
        {
            for (int i = 0; i < layout.ValueChannels; i += 16)
            {
                Vector512<uint> low = Bf16.RoundUpper(Load(v, i, layout.HeadDim));
                Vector512<uint> high = Bf16.RoundUpper(Load(v + vStride, i, layout.HeadDim));
                uint* to = (uint*)(head + layout.ValueOffset) + (ValuePlace(layout, i, first + token) / 2);
                Bf16.Pair(low, high).Store(to);
            }
        }
    }

    [SkipLocalsInit]
    static void KeysQ8(float* k, nint kStride, KvLayout layout, byte* head, int first)
    {
        uint* words = stackalloc uint[Square * Square];
        uint* turned = stackalloc uint[Square * Square];
        ushort* factors = (ushort*)(head + layout.FactorOffset);
        ushort* to = (ushort*)head + (KeyPlace(layout, first) / 2);
        for (int group = 0; group < layout.Groups; group++)
        {
            int start = group * KvLayout.ValuePanel;
            for (int token = 0; token < Square; token++)
            {
                // 32 bytes are 16 pairs of channels.
                Vector256<byte> bytes = Quantized(k + (token * kStride), start, layout.HeadDim, out ushort factor);
                factors[KeyFactorPlace(layout, group, first + token)] = factor;
                Avx512F.ConvertToVector512Int32(bytes.AsUInt16()).AsUInt32().Store(words + (token * Square));
            }

            int count = Math.Min(Square, layout.Pairs - (start / 2));
            Square16.Transpose(words, Square, turned, Square, count);
            for (int pair = 0; pair < count; pair++)
            {
                Vector256<ushort> row = Avx512F.ConvertToVector256UInt16(Vector512.Load(turned + (pair * Square)));
                row.Store(to + (((start / 2) + pair) * KvLayout.KeyPanel));
            }
        }
    }

    static void ValuesQ8(float* v, nint vStride, KvLayout layout, byte* head, int first)
    {
        ushort* factors = (ushort*)(head + layout.FactorOffset + layout.FactorBytes);
        for (int token = 0; token < Square; token += 2, v += 2 * vStride)
        {
            for (int group = 0; group < layout.Groups; group++)
            {
                int start = group * KvLayout.ValuePanel;
                ushort* factor = factors + (group * KvLayout.PageTokens) + first + token;
                Vector256<byte> low = Quantized(v, start, layout.HeadDim, out factor[0]);
                Vector256<byte> high = Quantized(v + vStride, start, layout.HeadDim, out factor[1]);
                Vector512<ushort> pairs =
                    Avx512BW.ConvertToVector512UInt16(low) | (Avx512BW.ConvertToVector512UInt16(high) << 8);
                byte* to = head + layout.ValueOffset + ValuePlace(layout, start, first + token);
                if (layout.PanelWidth(start) == KvLayout.ValuePanel)
                {
                    pairs.Store((ushort*)to);
                }
                else
                {
                    pairs.GetLower().Store((ushort*)to);
                }
            }
        }
    }

    /// <summary>Up to 32 numbers from a channel on as signed bytes, and their factor; zeros behind the last channel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<byte> Quantized(float* x, int channel, int channels, out ushort factor)
    {
        Vector512<float> a = Load(x, channel, channels);
        Vector512<float> b = Load(x, channel + 16, channels);
        Vector512<uint> unsigned = Vector512.Create((uint)int.MaxValue);
        Vector512<uint> sizes = Avx512F.Max(a.AsUInt32() & unsigned, b.AsUInt32() & unsigned);
        Vector256<uint> half = System.Runtime.Intrinsics.X86.Avx2.Max(sizes.GetLower(), sizes.GetUpper());
        Vector128<uint> quarter = Sse41.Max(half.GetLower(), half.GetUpper());
        quarter = Sse41.Max(quarter, Vector128.Shuffle(quarter, Vector128.Create(2u, 3, 0, 1)));
        quarter = Sse41.Max(quarter, Vector128.Shuffle(quarter, Vector128.Create(1u, 0, 3, 2)));
        factor = Factor(quarter.ToScalar());
        float by = Widen.BF16(factor);
        if (!(by > 0))
        {
            return Vector256<byte>.Zero;
        }

        Vector512<float> divisor = Vector512.Create(by);
        Vector128<sbyte> low = Avx512F.ConvertToVector128SByteWithSaturation(
            Avx512F.ConvertToVector512Int32(a / divisor)
        );
        Vector128<sbyte> high = Avx512F.ConvertToVector128SByteWithSaturation(
            Avx512F.ConvertToVector512Int32(b / divisor)
        );
        return Vector256.Create(low, high).AsByte();
    }

    /// <summary>16 numbers from a channel on as bf16; zeros behind the last channel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<ushort> Rounded(float* x, int channel, int channels) =>
        Avx512F.ConvertToVector256UInt16(Bf16.RoundUpper(Load(x, channel, channels)) >> 16);

    /// <summary>16 numbers from a channel on; zeros behind the last channel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<float> Load(float* x, int channel, int channels) =>
        channel <= channels - 16
            ? Vector512.Load(x + channel)
            : Avx512F.MaskLoad(x + channel, Masks.First512(channels - channel), Vector512<float>.Zero);
}
