using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

/// <summary>Elementary functions on vectors, each with its error; all arguments are at most zero, which is all that softmax and the activations need.</summary>
/// <remarks>
/// 2^x = 2^n * 2^f with n = round(x) and f in [-0.5, 0.5]; 2^f = 1 + f * P(f), P the minimax polynomial of degree 5 (relative
/// error 2.6e-9, so rounding decides: 2^x within 9e-8, and 2^0 is exactly 1). NaN stays NaN, -infinity gives exactly 0, and
/// results below 2^-126 are exactly 0 under AVX2 and may be subnormal under AVX-512.
/// </remarks>
internal static class VectorMath
{
    // Minimax coefficients of (2^f - 1) / f, f in [-0.5, 0.5], for the relative error of 2^f.
    const float E1 = 0.69314724f;
    const float E2 = 0.24022652f;
    const float E3 = 0.055503104f;
    const float E4 = 0.009617693f;
    const float E5 = 0.0013406675f;
    const float E6 = 0.00015594758f;

    // log2(e) as a float and what the float leaves over.
    const float Log2E = 1.4426950408889634f;
    const float Log2ERest = (float)(1.4426950408889634 - Log2E);

    // 0.5 * erfc(a / sqrt 2) * exp(a^2 / 2) for a in [0, 15] as a polynomial in u = (a - 3) / (a + 3), the substitution of
    // Shepherd and Laframboise (Math. Comp. 36, 1981); minimax for the relative error (1.1e-8), so rounding decides again.
    const float TailCentre = 3f;
    const float TailEnd = 15f; // exp(-15^2 / 2) is below the smallest subnormal
    const float T0 = 0.12151395f;
    const float T1 = -0.20640261f;
    const float T2 = 0.123225056f;
    const float T3 = -0.046213236f;
    const float T4 = 0.006131811f;
    const float T5 = 0.0029042137f;
    const float T6 = -0.0009828224f;
    const float T7 = -0.0003385459f;
    const float T8 = 0.00011450458f;
    const float T9 = 0.000052676416f;

    /// <summary>2^x for x &lt;= 0; relative error 9e-8.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<float> Exp2(Vector512<float> x)
    {
        // vmaxps answers its second operand when either is NaN: NaN survives, -infinity becomes a number whose power is 0.
        x = Avx512F.Max(Vector512.Create(-200f), x);
        Vector512<float> n = Avx512F.RoundScale(x, 0);
        return Scale(Power(x - n), n);
    }

    /// <inheritdoc cref="Exp2(Vector512{float})"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector256<float> Exp2(Vector256<float> x)
    {
        // At -127 the exponent field is zero: everything below 2^-126.5 becomes exactly 0.
        x = Avx.Max(Vector256.Create(-127f), x);
        Vector256<float> n = Avx.RoundToNearestInteger(x);
        return Scale(Power(x - n), n);
    }

    /// <summary>e^x for x &lt;= 0; relative error 1e-7.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<float> Exp(Vector512<float> x) => Exp(x, Vector512<float>.Zero);

    /// <inheritdoc cref="Exp(Vector512{float})"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector256<float> Exp(Vector256<float> x) => Exp(x, Vector256<float>.Zero);

    /// <summary>e^(x + rest) for x &lt;= 0, where <paramref name="rest"/> is what the rounding of x left over.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<float> Exp(Vector512<float> x, Vector512<float> rest)
    {
        x = Avx512F.Max(Vector512.Create(-130f), x);
        Vector512<float> log2E = Vector512.Create(Log2E);
        Vector512<float> n = Avx512F.RoundScale(x * log2E, 0);
        Vector512<float> f = Avx512F.FusedMultiplySubtract(x, log2E, n);
        f = Avx512F.FusedMultiplyAdd(x, Vector512.Create(Log2ERest), f);
        f = Avx512F.FusedMultiplyAdd(rest, log2E, f);
        return Scale(Power(f), n);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> Exp(Vector256<float> x, Vector256<float> rest)
    {
        x = Avx.Max(Vector256.Create(-127f / Log2E), x);
        Vector256<float> log2E = Vector256.Create(Log2E);
        Vector256<float> n = Avx.RoundToNearestInteger(x * log2E);
        Vector256<float> f = Fma.MultiplySubtract(x, log2E, n);
        f = Fma.MultiplyAdd(x, Vector256.Create(Log2ERest), f);
        f = Fma.MultiplyAdd(rest, log2E, f);
        return Scale(Power(f), n);
    }

    /// <summary>1 / (1 + e^-x) for every x; relative error 2e-7 down to where the result leaves the normal range.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<float> Sigmoid(Vector512<float> x)
    {
        Vector512<float> one = Vector512<float>.One;
        Vector512<float> e = Exp(-Vector512.Abs(x));
        return Vector512.ConditionalSelect(Vector512.LessThan(x, Vector512<float>.Zero), e, one) / (one + e);
    }

    /// <inheritdoc cref="Sigmoid(Vector512{float})"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector256<float> Sigmoid(Vector256<float> x)
    {
        Vector256<float> one = Vector256<float>.One;
        Vector256<float> e = Exp(-Vector256.Abs(x));
        return Vector256.ConditionalSelect(Vector256.LessThan(x, Vector256<float>.Zero), e, one) / (one + e);
    }

    /// <summary>The standard normal distribution function, (1 + erf(x / sqrt 2)) / 2; relative error 3e-7 for x &gt;= -5 and 6e-7 in the lower tail.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<float> NormalCdf(Vector512<float> x)
    {
        Vector512<float> a = Avx512F.Min(Vector512.Create(TailEnd), Vector512.Abs(x));
        Vector512<float> centre = Vector512.Create(TailCentre);
        Vector512<float> u = (a - centre) / (a + centre);
        Vector512<float> r = Avx512F.FusedMultiplyAdd(Vector512.Create(T9), u, Vector512.Create(T8));
        r = Avx512F.FusedMultiplyAdd(r, u, Vector512.Create(T7));
        r = Avx512F.FusedMultiplyAdd(r, u, Vector512.Create(T6));
        r = Avx512F.FusedMultiplyAdd(r, u, Vector512.Create(T5));
        r = Avx512F.FusedMultiplyAdd(r, u, Vector512.Create(T4));
        r = Avx512F.FusedMultiplyAdd(r, u, Vector512.Create(T3));
        r = Avx512F.FusedMultiplyAdd(r, u, Vector512.Create(T2));
        r = Avx512F.FusedMultiplyAdd(r, u, Vector512.Create(T1));
        r = Avx512F.FusedMultiplyAdd(r, u, Vector512.Create(T0));
        // -a^2 / 2 and its rounding error: the exponential would magnify the latter.
        Vector512<float> half = a * Vector512.Create(-0.5f);
        Vector512<float> square = half * a;
        Vector512<float> tail = r * Exp(square, Avx512F.FusedMultiplySubtract(half, a, square));
        return Vector512.ConditionalSelect(
            Vector512.LessThan(x, Vector512<float>.Zero),
            tail,
            Vector512<float>.One - tail
        );
    }

    /// <inheritdoc cref="NormalCdf(Vector512{float})"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector256<float> NormalCdf(Vector256<float> x)
    {
        Vector256<float> a = Avx.Min(Vector256.Create(TailEnd), Vector256.Abs(x));
        Vector256<float> centre = Vector256.Create(TailCentre);
        Vector256<float> u = (a - centre) / (a + centre);
        Vector256<float> r = Fma.MultiplyAdd(Vector256.Create(T9), u, Vector256.Create(T8));
        r = Fma.MultiplyAdd(r, u, Vector256.Create(T7));
        r = Fma.MultiplyAdd(r, u, Vector256.Create(T6));
        r = Fma.MultiplyAdd(r, u, Vector256.Create(T5));
        r = Fma.MultiplyAdd(r, u, Vector256.Create(T4));
        r = Fma.MultiplyAdd(r, u, Vector256.Create(T3));
        r = Fma.MultiplyAdd(r, u, Vector256.Create(T2));
        r = Fma.MultiplyAdd(r, u, Vector256.Create(T1));
        r = Fma.MultiplyAdd(r, u, Vector256.Create(T0));
        Vector256<float> half = a * Vector256.Create(-0.5f);
        Vector256<float> square = half * a;
        Vector256<float> tail = r * Exp(square, Fma.MultiplySubtract(half, a, square));
        return Vector256.ConditionalSelect(
            Vector256.LessThan(x, Vector256<float>.Zero),
            tail,
            Vector256<float>.One - tail
        );
    }

    /// <summary>The portable form of <see cref="Sigmoid(Vector512{float})"/>, correctly rounded but for the last division.</summary>
    internal static float Sigmoid(float x) => (float)(1 / (1 + Math.Exp(-(double)x)));

    /// <summary>The portable form of <see cref="NormalCdf(Vector512{float})"/>; relative error 1e-7.</summary>
    internal static float NormalCdf(float x)
    {
        double a = Math.Min(TailEnd, Math.Abs((double)x));
        double u = (a - TailCentre) / (a + TailCentre);
        double r = (T9 * u) + T8;
        r = (r * u) + T7;
        r = (r * u) + T6;
        r = (r * u) + T5;
        r = (r * u) + T4;
        r = (r * u) + T3;
        r = (r * u) + T2;
        r = (r * u) + T1;
        r = (r * u) + T0;
        double tail = r * Math.Exp(-0.5 * a * a);
        return (float)(x < 0 ? tail : 1 - tail);
    }

    /// <summary>2^f for f in [-0.5, 0.5].</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<float> Power(Vector512<float> f)
    {
        Vector512<float> p = Avx512F.FusedMultiplyAdd(Vector512.Create(E6), f, Vector512.Create(E5));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(E4));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(E3));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(E2));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(E1));
        return Avx512F.FusedMultiplyAdd(p, f, Vector512<float>.One);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> Power(Vector256<float> f)
    {
        Vector256<float> p = Fma.MultiplyAdd(Vector256.Create(E6), f, Vector256.Create(E5));
        p = Fma.MultiplyAdd(p, f, Vector256.Create(E4));
        p = Fma.MultiplyAdd(p, f, Vector256.Create(E3));
        p = Fma.MultiplyAdd(p, f, Vector256.Create(E2));
        p = Fma.MultiplyAdd(p, f, Vector256.Create(E1));
        return Fma.MultiplyAdd(p, f, Vector256<float>.One);
    }

    /// <summary>p * 2^n for a whole n.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<float> Scale(Vector512<float> p, Vector512<float> n) => Avx512F.Scale(p, n);

    /// <summary>p * 2^n for a whole n in [-127, 127]; exactly 0 at -127.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> Scale(Vector256<float> p, Vector256<float> n)
    {
        Vector256<int> exponent = Avx.ConvertToVector256Int32(n) + Vector256.Create(127);
        return p * Avx2.ShiftLeftLogical(exponent, 23).AsSingle();
    }
}
