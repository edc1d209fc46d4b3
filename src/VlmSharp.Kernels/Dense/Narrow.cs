using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

/// <summary>f32 to fewer bits.</summary>
public static unsafe class Narrow
{
    const int Part = 1 << 14;

    /// <summary>To bf16: to the nearest, ties to even; a NaN stays one.</summary>
    /// <param name="values">As many as <paramref name="rounded"/> has.</param>
    /// <param name="rounded">The upper halves of what was rounded.</param>
    /// <param name="pool">Threads to share the work.</param>
    public static void ToBF16(ReadOnlySpan<float> values, Span<ushort> rounded, WorkerPool pool)
    {
        ArgumentNullException.ThrowIfNull(pool);
        if (values.Length != rounded.Length)
        {
            throw new ArgumentException($"{values.Length} values for {rounded.Length} places");
        }

        fixed (float* from = values)
        fixed (ushort* to = rounded)
        {
            Body body = new(from, to, values.Length);
            pool.Run((values.Length + Part - 1) / Part, ref body);
        }
    }

    readonly struct Body(float* from, ushort* to, int count) : IParallelBody
    {
        public void Run(int part, int worker) =>
            ToBF16(from + ((nint)part * Part), to + ((nint)part * Part), Math.Min(Part, count - (part * Part)));
    }

    /// <summary>A value as bf16, to the nearest, ties to even; a NaN stays one.</summary>
    public static ushort ToBF16(float value) => Bf16.Round(value);

    /// <summary>Some numbers, on this thread.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void ToBF16(float* from, ushort* to, int count)
    {
        int i = 0;
        if (InstructionSets.Avx512)
        {
            for (; i <= count - 16; i += 16)
            {
                Avx512F.ConvertToVector256UInt16(Bf16.RoundUpper(Vector512.Load(from + i)) >> 16).Store(to + i);
            }
        }

        for (; i < count; i++)
        {
            to[i] = Bf16.Round(from[i]);
        }
    }
}
