using System.Runtime.Intrinsics;

namespace VlmSharp.Kernels;

/// <summary>One row of an elementwise kernel: y[i] = f(a[i], b[i]) for i in [0, length); y may be a or b.</summary>
internal unsafe delegate void ElementwiseKernel(float* a, float* b, float* y, int length);

/// <summary>The arithmetic of an elementwise kernel. Functions of one operand get the same value twice.</summary>
internal interface IElementwiseOperator
{
    static abstract Vector512<float> Apply(Vector512<float> a, Vector512<float> b);

    static abstract Vector256<float> Apply(Vector256<float> a, Vector256<float> b);

    static abstract float Apply(float a, float b);
}

/// <summary>The loop under every elementwise kernel; the arithmetic is a type parameter.</summary>
/// <remarks>An element's result depends on its operands alone, not on where in the row it stands: tails run the vector code under a mask.</remarks>
internal static unsafe partial class Elementwise
{
    /// <summary>The variants of one kernel.</summary>
    internal static KernelTable<ElementwiseKernel> Table<TOperator>(string name)
        where TOperator : struct, IElementwiseOperator =>
        new(
            name,
            ("avx512", InstructionSets.Avx512, Avx512<TOperator>),
            ("avx2", InstructionSets.Avx2, Avx2<TOperator>),
            ("portable", true, Portable<TOperator>)
        );

    /// <summary>y[r, i] = f(a[r, i], b[r, i]); y may be a or b.</summary>
    internal static void Apply(
        ElementwiseKernel kernel,
        ReadOnlySpan<float> a,
        int aStride,
        ReadOnlySpan<float> b,
        int bStride,
        Span<float> y,
        int yStride,
        int rows,
        int width,
        WorkerPool pool
    )
    {
        RowMatrix.Check(a.Length, aStride, rows, width);
        RowMatrix.Check(b.Length, bStride, rows, width);
        RowMatrix.Check(y.Length, yStride, rows, width);
        fixed (float* aStart = a)
        fixed (float* bStart = b)
        fixed (float* yStart = y)
        {
            var body = new Body
            {
                Kernel = kernel,
                A = aStart,
                B = bStart,
                Y = yStart,
                AStride = aStride,
                BStride = bStride,
                YStride = yStride,
                Width = width,
            };
            RowMatrix.ForRows(body, rows, width, pool);
        }
    }

    static void Portable<TOperator>(float* a, float* b, float* y, int length)
        where TOperator : struct, IElementwiseOperator
    {
        for (int i = 0; i < length; i++)
        {
            y[i] = TOperator.Apply(a[i], b[i]);
        }
    }

    struct Body : IRowBody
    {
        internal ElementwiseKernel Kernel;
        internal float* A;
        internal float* B;
        internal float* Y;
        internal int AStride;
        internal int BStride;
        internal int YStride;
        internal int Width;

        public readonly void Run(nint row) =>
            Kernel(A + (row * AStride), B + (row * BStride), Y + (row * YStride), Width);
    }
}
