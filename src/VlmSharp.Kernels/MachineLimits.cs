using System.Diagnostics;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using VlmSharp.Kernels.MachineCode;

namespace VlmSharp.Kernels;

/// <summary>How fast this machine can be: measured, so that results can be read as shares of it.</summary>
public static unsafe class MachineLimits
{
    const int Runs = 5;

    /// <summary>Multiplications and additions of f32 per second, by fused instructions of the widest kind the kernels use.</summary>
    public static double MultiplyAdd(WorkerPool pool) =>
        Best(
            pool,
            (long)(
                InstructionSets.Avx512 ? 16
                : InstructionSets.Avx2 ? 8
                : 1
            )
                * 2
                * Chains,
            new MultiplyAddBody()
        );

    /// <summary>Multiplications and additions per second of dot products of bf16 pairs; 0 where the machine has none.</summary>
    public static double Bf16Dot(WorkerPool pool) =>
        Bf16Chains.Kernel is null ? 0 : Best(pool, 16L * 2 * 2 * Chains, new Bf16Body());

    /// <summary>Multiplications and additions per second of dot products of bytes; 0 where the machine has none.</summary>
    public static double Int8Dot(WorkerPool pool) =>
        Int8Chains.Kernel is null ? 0 : Best(pool, 16L * 4 * 2 * Chains, new Int8Body());

    /// <summary>Bytes per second of reading memory once, front to back, all threads together.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="bytes">How much; far more than the caches hold.</param>
    public static double Stream(WorkerPool pool, long bytes = 1L << 30)
    {
        ArgumentNullException.ThrowIfNull(pool);
        using AlignedBuffer buffer = new(bytes);
        new Span<byte>(buffer.Pointer, (int)Math.Min(bytes, int.MaxValue)).Fill(1);
        const int part = 4 << 20;
        double best = 0;
        for (int run = 0; run < Runs; run++)
        {
            StreamBody body = new(buffer.Pointer, part);
            long start = Stopwatch.GetTimestamp();
            pool.Run((int)(bytes / part), ref body);
            best = Math.Max(best, bytes / Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return best;
    }

    const int Chains = 12; // independent sums, so that no instruction waits for another's result
    const int Repeats = 1 << 20;

    static double Best<TBody>(WorkerPool pool, long operations, TBody body)
        where TBody : struct, IParallelBody
    {
        ArgumentNullException.ThrowIfNull(pool);
        double best = 0;
        for (int run = 0; run < Runs; run++)
        {
            long start = Stopwatch.GetTimestamp();
            // One part for each thread: those of a pool that others use as well would measure those others.
            pool.Run(pool.Threads, ref body);
            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            best = Math.Max(best, (double)operations * Repeats * pool.Threads / seconds);
        }

        return best;
    }

    readonly struct StreamBody(byte* memory, int part) : IParallelBody
    {
        public void Run(int number, int worker) => Read(memory + ((long)number * part), part);

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Read(byte* from, int bytes)
        {
            Vector<byte> a = default;
            Vector<byte> b = default;
            for (byte* end = from + bytes; from < end; from += 2 * Vector<byte>.Count)
            {
                a |= Unsafe.ReadUnaligned<Vector<byte>>(from);
                b |= Unsafe.ReadUnaligned<Vector<byte>>(from + Vector<byte>.Count);
            }

            Keep((a | b)[0]);
        }
    }

    readonly struct MultiplyAddBody : IParallelBody
    {
        public void Run(int part, int worker)
        {
            if (InstructionSets.Avx512)
            {
                Wide();
            }
            else if (InstructionSets.Avx2)
            {
                Narrow();
            }
            else
            {
                Scalar();
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Wide()
        {
            Vector512<float> x = Vector512.Create(0.999f);
            Vector512<float> a = x,
                b = x,
                c = x,
                d = x,
                e = x,
                f = x,
                g = x,
                h = x,
                i = x,
                j = x,
                k = x,
                l = x;
            for (int n = 0; n < Repeats; n++)
            {
                a = Avx512F.FusedMultiplyAdd(a, x, x);
                b = Avx512F.FusedMultiplyAdd(b, x, x);
                c = Avx512F.FusedMultiplyAdd(c, x, x);
                d = Avx512F.FusedMultiplyAdd(d, x, x);
                e = Avx512F.FusedMultiplyAdd(e, x, x);
                f = Avx512F.FusedMultiplyAdd(f, x, x);
                g = Avx512F.FusedMultiplyAdd(g, x, x);
                h = Avx512F.FusedMultiplyAdd(h, x, x);
                i = Avx512F.FusedMultiplyAdd(i, x, x);
                j = Avx512F.FusedMultiplyAdd(j, x, x);
                k = Avx512F.FusedMultiplyAdd(k, x, x);
                l = Avx512F.FusedMultiplyAdd(l, x, x);
            }

            Keep((byte)(a + b + c + d + e + f + g + h + i + j + k + l)[0]);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Narrow()
        {
            Vector256<float> x = Vector256.Create(0.999f);
            Vector256<float> a = x,
                b = x,
                c = x,
                d = x,
                e = x,
                f = x,
                g = x,
                h = x,
                i = x,
                j = x,
                k = x,
                l = x;
            for (int n = 0; n < Repeats; n++)
            {
                a = Fma.MultiplyAdd(a, x, x);
                b = Fma.MultiplyAdd(b, x, x);
                c = Fma.MultiplyAdd(c, x, x);
                d = Fma.MultiplyAdd(d, x, x);
                e = Fma.MultiplyAdd(e, x, x);
                f = Fma.MultiplyAdd(f, x, x);
                g = Fma.MultiplyAdd(g, x, x);
                h = Fma.MultiplyAdd(h, x, x);
                i = Fma.MultiplyAdd(i, x, x);
                j = Fma.MultiplyAdd(j, x, x);
                k = Fma.MultiplyAdd(k, x, x);
                l = Fma.MultiplyAdd(l, x, x);
            }

            Keep((byte)(a + b + c + d + e + f + g + h + i + j + k + l)[0]);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Scalar()
        {
            float x = 0.999f;
            (float a, float b, float c, float d) = (x, x, x, x);
            for (int n = 0; n < Repeats * (Chains / 4); n++)
            {
                a = (a * x) + x;
                b = (b * x) + x;
                c = (c * x) + x;
                d = (d * x) + x;
            }

            Keep((byte)(a + b + c + d));
        }
    }

    readonly struct Bf16Body : IParallelBody
    {
        public void Run(int part, int worker) => RunChains(Bf16Chains.Kernel);
    }

    readonly struct Int8Body : IParallelBody
    {
        public void Run(int part, int worker) => RunChains(Int8Chains.Kernel);
    }

    static class Bf16Chains
    {
        public static readonly delegate* unmanaged[SuppressGCTransition]<void*, void> Kernel =
            InstructionSets.Avx512Bf16 ? WriteChains((code, sum, x) => code.Vdpbf16ps(sum, x, x)) : null;
    }

    static class Int8Chains
    {
        public static readonly delegate* unmanaged[SuppressGCTransition]<void*, void> Kernel =
            InstructionSets.Avx512Vnni ? WriteChains((code, sum, x) => code.Vpdpbusd(sum, x, x)) : null;
    }

    static void RunChains(delegate* unmanaged[SuppressGCTransition]<void*, void> kernel)
    {
        nint repeats = Repeats;
        kernel(&repeats);
    }

    static delegate* unmanaged[SuppressGCTransition]<void*, void> WriteChains(Action<Assembler, Vec, Vec> link) =>
        KernelWriter.Publish(code =>
        {
            RegisterFile vectors = new(512, 32);
            code.Mov(Gpr.Rcx, new Mem(Gpr.Rax));
            code.Vpxord(vectors["x"], vectors["x"], vectors["x"]);
            for (int i = 0; i < Chains; i++)
            {
                code.Vpxord(vectors["sum", i], vectors["sum", i], vectors["sum", i]);
            }

            Assembler.Label loop = code.Here();
            for (int i = 0; i < Chains; i++)
            {
                link(code, vectors["sum", i], vectors["x"]);
            }

            code.Sub(Gpr.Rcx, 1);
            code.Jnz(loop);
        });

    static volatile byte kept;

    // What nobody uses would not be computed.
    [MethodImpl(MethodImplOptions.NoInlining)]
    static void Keep(byte value) => kept = value;
}
