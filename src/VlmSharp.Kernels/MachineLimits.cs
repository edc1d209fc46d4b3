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
                Multiply<Vector512<float>, Wide>(Vector512.Create(0.999f));
            }
            else if (InstructionSets.Avx2)
            {
                Multiply<Vector256<float>, Narrow>(Vector256.Create(0.999f));
            }
            else
            {
                Multiply<float, Scalar>(0.999f);
            }
        }

        // Sums are locals, as many as there are chains: the compiler would keep an array in memory.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static void Multiply<T, TLink>(T x)
            where TLink : ILink<T>
        {
            (T a, T b, T c, T d, T e, T f) = (x, x, x, x, x, x);
            (T g, T h, T i, T j, T k, T l) = (x, x, x, x, x, x);
            for (int n = 0; n < Repeats; n++)
            {
                a = TLink.Next(a, x);
                b = TLink.Next(b, x);
                c = TLink.Next(c, x);
                d = TLink.Next(d, x);
                e = TLink.Next(e, x);
                f = TLink.Next(f, x);
                g = TLink.Next(g, x);
                h = TLink.Next(h, x);
                i = TLink.Next(i, x);
                j = TLink.Next(j, x);
                k = TLink.Next(k, x);
                l = TLink.Next(l, x);
            }

            a = TLink.Next(TLink.Next(a, b), TLink.Next(c, d));
            e = TLink.Next(TLink.Next(e, f), TLink.Next(g, h));
            i = TLink.Next(TLink.Next(i, j), TLink.Next(k, l));
            Keep(TLink.Byte(TLink.Next(TLink.Next(a, e), i)));
        }
    }

    interface ILink<T>
    {
        /// <summary>a * x + x</summary>
        static abstract T Next(T a, T x);

        /// <summary>Anything that depends on a.</summary>
        static abstract byte Byte(T a);
    }

    readonly struct Wide : ILink<Vector512<float>>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<float> Next(Vector512<float> a, Vector512<float> x) =>
            Avx512F.FusedMultiplyAdd(a, x, x);

        public static byte Byte(Vector512<float> a) => (byte)a[0];
    }

    readonly struct Narrow : ILink<Vector256<float>>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector256<float> Next(Vector256<float> a, Vector256<float> x) => Fma.MultiplyAdd(a, x, x);

        public static byte Byte(Vector256<float> a) => (byte)a[0];
    }

    readonly struct Scalar : ILink<float>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static float Next(float a, float x) => (a * x) + x;

        public static byte Byte(float a) => (byte)a;
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
