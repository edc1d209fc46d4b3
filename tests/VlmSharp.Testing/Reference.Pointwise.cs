namespace VlmSharp.Testing;

public static partial class Reference
{
    /// <summary>1 / (1 + e^-x).</summary>
    public static double Sigmoid(double x) => 1 / (1 + Math.Exp(-x));

    /// <summary>x / (1 + e^-x).</summary>
    public static double Silu(double x) => x / (1 + Math.Exp(-x));

    /// <summary>x * (1 + erf(x / sqrt 2)) / 2, without the cancellation for negative x.</summary>
    public static double Gelu(double x) => x * Erfc(-x / Math.Sqrt(2)) / 2;

    /// <summary>x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2, without the cancellation for negative x.</summary>
    public static double GeluTanh(double x) => x * Sigmoid(Math.Sqrt(8 / Math.PI) * (x + (0.044715 * x * x * x)));

    /// <summary>The complementary error function: Maclaurin series near zero, continued fraction in the tail; about 1e-12 relative.</summary>
    public static double Erfc(double z)
    {
        if (double.IsNaN(z))
        {
            return z;
        }

        if (z < 0)
        {
            return 2 - Erfc(-z);
        }

        if (z < 2)
        {
            double term = z;
            double sum = z;
            for (int n = 1; n < 60; n++)
            {
                term *= -z * z / n;
                sum += term / ((2 * n) + 1);
            }

            return 1 - (2 / Math.Sqrt(Math.PI) * sum);
        }

        double fraction = z;
        for (int n = 200; n > 0; n--)
        {
            fraction = z + (n / 2.0 / fraction);
        }

        return Math.Exp(-z * z) / Math.Sqrt(Math.PI) / fraction;
    }
}
