namespace VlmSharp.Testing;

/// <summary>Kernels in double precision, as slow and obvious as they come.</summary>
public static partial class Reference
{
    /// <summary>y[r, o] = sum over i of x[r, i] * w[o, i], + bias[o], + old[r, o].</summary>
    /// <param name="x">[rows, columns], row r at r * <paramref name="xStride"/></param>
    /// <param name="xStride">Elements from row to row.</param>
    /// <param name="w">[outputs, columns]</param>
    /// <param name="bias">[outputs] or empty</param>
    /// <param name="old">[rows, outputs] or empty: what was in y before accumulating</param>
    /// <param name="rows">Rows of x.</param>
    /// <param name="columns">Inputs.</param>
    /// <param name="outputs">Outputs.</param>
    /// <returns>The products, and for each the sum of the absolute values that were added up: what rounding errors are measured by.</returns>
    public static (double[] Y, double[] Magnitude) MatMul(
        ReadOnlySpan<float> x,
        int xStride,
        ReadOnlySpan<float> w,
        ReadOnlySpan<float> bias,
        ReadOnlySpan<float> old,
        int rows,
        int columns,
        int outputs
    )
    {
        double[] y = new double[rows * outputs];
        double[] magnitude = new double[rows * outputs];
        for (int r = 0; r < rows; r++)
        {
            for (int o = 0; o < outputs; o++)
            {
                double sum = 0;
                double size = 0;
                for (int i = 0; i < columns; i++)
                {
                    double product = (double)x[r * xStride + i] * w[o * columns + i];
                    sum += product;
                    size += Math.Abs(product);
                }

                int at = r * outputs + o;
                double b = bias.IsEmpty ? 0 : bias[o];
                double before = old.IsEmpty ? 0 : old[at];
                y[at] = sum + b + before;
                magnitude[at] = size + Math.Abs(b) + Math.Abs(before);
            }
        }

        return (y, magnitude);
    }
}
