using System.Runtime.Intrinsics;
using VlmSharp.Kernels;
using Xunit;

namespace VlmSharp.Tests.Kernels.Pointwise;

public sealed class VectorMathTests
{
    public delegate float Function(float x);

    static Function Exp2(int width) =>
        width == 512
            ? x => VectorMath.Exp2(Vector512.Create(x)).ToScalar()
            : x => VectorMath.Exp2(Vector256.Create(x)).ToScalar();

    static Function Exp(int width) =>
        width == 512
            ? x => VectorMath.Exp(Vector512.Create(x)).ToScalar()
            : x => VectorMath.Exp(Vector256.Create(x)).ToScalar();

    // Relative, while the result is a normal number.
    [Theory, InlineData(512), InlineData(256)]
    public void Exponentials_have_the_stated_error(int width)
    {
        SkipUnlessSupported(width);
        Function exp2 = Exp2(width);
        Function exp = Exp(width);
        (double worst2, double worst) = (0, 0);
        for (float x = -0f; x > -126; x = (x * 1.0003f) - 1e-7f)
        {
            worst2 = Math.Max(worst2, Math.Abs((exp2(x) / Math.Pow(2, x)) - 1));
            if (x > -87)
            {
                worst = Math.Max(worst, Math.Abs((exp(x) / Math.Exp(x)) - 1));
            }
        }

        Assert.InRange(worst2, 0, 0.9e-7);
        Assert.InRange(worst, 0, 1e-7);
    }

    [Theory, InlineData(512), InlineData(256)]
    public void Exponentials_are_exact_where_softmax_relies_on_it(int width)
    {
        SkipUnlessSupported(width);
        foreach (Function f in new[] { Exp2(width), Exp(width) })
        {
            Assert.Equal(1, f(0));
            Assert.Equal(1, f(-0f));
            Assert.Equal(0, f(float.NegativeInfinity));
            Assert.Equal(0, f(float.MinValue));
            Assert.Equal(0, f(-200));
            Assert.True(float.IsNaN(f(float.NaN)));
        }
    }

    static void SkipUnlessSupported(int width) =>
        Assert.SkipUnless(
            width == 512 ? InstructionSets.Avx512 : InstructionSets.Avx2,
            $"this machine has no {width}-bit vectors, or they are switched off"
        );
}
