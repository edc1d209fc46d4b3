using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

/// <summary>Takes one head of a page to a wider storage, which kernels read.</summary>
/// <remarks>To f32 exactly; q8 to bf16 to the nearest, ties away from zero. Unused slots may hold anything and become anything.</remarks>
internal static unsafe class KvPages
{
    /// <summary>bf16 or q8 to f32.</summary>
    /// <param name="from">How the head is stored.</param>
    /// <param name="head">Its first byte.</param>
    /// <param name="to">As much as a head of <see cref="KvStorage.F32"/> takes.</param>
    internal static void WidenToF32(KvLayout from, byte* head, float* to)
    {
        if (from.Storage == KvStorage.BF16)
        {
            BF16ToF32(from, (uint*)head, to);
        }
        else
        {
            Q8ToF32(from, head, to);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void BF16ToF32(KvLayout from, uint* pairs, float* to)
    {
        for (int panel = 0; panel < KvLayout.PageTokens; panel += KvLayout.KeyPanel)
        {
            for (int channel = 0; channel < from.HeadDim; channel += 2)
            {
                // The last of an odd number of channels is alone in its pair.
                to = Split(pairs, KvLayout.KeyPanel, to, channel + 1 < from.HeadDim);
                pairs += KvLayout.KeyPanel;
            }
        }

        for (int channel = 0; channel < from.ValueChannels; channel += KvLayout.ValuePanel)
        {
            int width = from.PanelWidth(channel);
            for (int token = 0; token < KvLayout.PageTokens; token += 2, pairs += width)
            {
                to = Split(pairs, width, to, true);
            }
        }
    }

    /// <summary>The lower halves of some pairs, then the upper ones.</summary>
    /// <returns>Behind the last number written.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static float* Split(uint* pairs, int count, float* to, bool both)
    {
        var upper = new Vector<uint>(0xFFFF0000);
        for (int i = 0; i < count; i += Vector<uint>.Count)
        {
            Vector<uint> pair = Vector.Load(pairs + i);
            Vector.Store(pair << 16, (uint*)to + i);
            if (both)
            {
                Vector.Store(pair & upper, (uint*)to + count + i);
            }
        }

        return to + (both ? 2 * count : count);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    [SkipLocalsInit]
    static void Q8ToF32(KvLayout from, byte* head, float* to)
    {
        float* factors = stackalloc float[KvLayout.PageTokens];
        var bits = (ushort*)(head + from.FactorOffset);
        var pairs = (short*)head;
        for (int panel = 0; panel < KvLayout.PageTokens; panel += KvLayout.KeyPanel)
        {
            for (int channel = 0; channel < from.HeadDim; channel += 2, pairs += KvLayout.KeyPanel)
            {
                if (channel % KvLayout.ValuePanel == 0)
                {
                    Widen(bits, KvLayout.KeyPanel, factors);
                    bits += KvLayout.KeyPanel;
                }

                bool both = channel + 1 < from.HeadDim;
                for (int i = 0; i < KvLayout.KeyPanel; i += Vector<short>.Count)
                {
                    Vector<float> first = Vector.Load(factors + i);
                    Vector<float> second = Vector.Load(factors + i + Vector<float>.Count);
                    Vector<short> pair = Vector.Load(pairs + i);
                    Scale((pair << 8) >> 8, first, second, to + i);
                    if (both)
                    {
                        Scale(pair >> 8, first, second, to + KvLayout.KeyPanel + i);
                    }
                }

                to += both ? 2 * KvLayout.KeyPanel : KvLayout.KeyPanel;
            }
        }

        for (int channel = 0; channel < from.ValueChannels; channel += KvLayout.ValuePanel)
        {
            Widen(bits, KvLayout.PageTokens, factors);
            bits += KvLayout.PageTokens;
            int width = from.PanelWidth(channel);
            for (int token = 0; token < KvLayout.PageTokens; token += 2, pairs += width, to += 2 * width)
            {
                var even = new Vector<float>(factors[token]);
                var odd = new Vector<float>(factors[token + 1]);
                for (int i = 0; i < width; i += Vector<short>.Count)
                {
                    Vector<short> pair = Vector.Load(pairs + i);
                    Scale((pair << 8) >> 8, even, even, to + i);
                    Scale(pair >> 8, odd, odd, to + width + i);
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Scale(Vector<short> numbers, Vector<float> first, Vector<float> second, float* to)
    {
        Vector.Widen(numbers, out Vector<int> low, out Vector<int> high);
        Vector.Store(Vector.ConvertToSingle(low) * first, to);
        Vector.Store(Vector.ConvertToSingle(high) * second, to + Vector<float>.Count);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Widen(ushort* bits, int count, float* to)
    {
        for (int i = 0; i < count; i++)
        {
            to[i] = Kernels.Widen.BF16(bits[i]);
        }
    }

    /// <summary>q8 to bf16; needs <see cref="InstructionSets.Avx512"/>.</summary>
    /// <param name="from">How the head is stored.</param>
    /// <param name="head">Its first byte.</param>
    /// <param name="to">As much as a head of <see cref="KvStorage.BF16"/> takes.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Q8ToBF16(KvLayout from, byte* head, uint* to)
    {
        var bits = (ushort*)(head + from.FactorOffset);
        var pairs = (short*)head;
        for (int panel = 0; panel < KvLayout.PageTokens; panel += KvLayout.KeyPanel)
        {
            for (int pair = 0; pair < from.Pairs; bits += KvLayout.KeyPanel)
            {
                // One factor for each token.
                Vector512<float> first = Factors(bits);
                Vector512<float> second = Factors(bits + 16);
                int end = Math.Min(pair + (KvLayout.ValuePanel / 2), from.Pairs);
                for (; pair < end; pair++, pairs += KvLayout.KeyPanel, to += KvLayout.KeyPanel)
                {
                    Scaled(Vector256.Load(pairs), first, first).Store(to);
                    Scaled(Vector256.Load(pairs + 16), second, second).Store(to + 16);
                }
            }
        }

        for (int channel = 0; channel < from.ValueChannels; channel += KvLayout.ValuePanel)
        {
            int width = from.PanelWidth(channel);
            for (int token = 0; token < KvLayout.PageTokens; token += 2, bits += 2, pairs += width, to += width)
            {
                Vector512<float> low = Vector512.Create(Kernels.Widen.BF16(bits[0]));
                Vector512<float> high = Vector512.Create(Kernels.Widen.BF16(bits[1]));
                Scaled(Vector256.Load(pairs), low, high).Store(to);
                if (width == KvLayout.ValuePanel)
                {
                    Scaled(Vector256.Load(pairs + 16), low, high).Store(to + 16);
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<float> Factors(ushort* bits) =>
        (Avx512F.ConvertToVector512UInt32(Vector256.Load(bits)) << 16).AsSingle();

    /// <summary>16 pairs of signed bytes, each times its factor, as pairs of bf16.</summary>
    /// <remarks>A product has at most 15 bits. NaN times a byte keeps its upper bits when the rounding is added.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<uint> Scaled(Vector256<short> pairs, Vector512<float> low, Vector512<float> high)
    {
        Vector512<int> wide = Avx512F.ConvertToVector512Int32(pairs);
        Vector512<float> a = Avx512F.ConvertToVector512Single((wide << 24) >> 24) * low;
        Vector512<float> b = Avx512F.ConvertToVector512Single(wide >> 8) * high;
        Vector512<uint> half = Vector512.Create(0x8000u);
        return Bf16.Pair(a.AsUInt32() + half, b.AsUInt32() + half);
    }
}
