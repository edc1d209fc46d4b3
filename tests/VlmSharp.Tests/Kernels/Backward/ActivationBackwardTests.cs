using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.Backward;

public sealed class ActivationBackwardTests : IDisposable
{
    const int Rows = 3;
    readonly WorkerPool pool = new(2);

    static readonly Dictionary<string, (KernelTable<ElementwiseKernel> Table, Func<double, double> Forward)> Functions =
        new()
        {
            ["quick_gelu"] = (QuickGeluBackward.Variants, x => x * Reference.Sigmoid(1.702 * x)),
            ["gelu"] = (GeluBackward.Variants, Reference.Gelu),
            ["gelu_tanh"] = (GeluTanhBackward.Variants, Reference.GeluTanh),
        };

    public static TheoryData<string, string> Variants
    {
        get
        {
            TheoryData<string, string> data = [];
            foreach ((string name, (KernelTable<ElementwiseKernel> table, _)) in Functions)
            {
                foreach (string variant in table.SupportedNames)
                {
                    data.Add(name, variant);
                }
            }

            return data;
        }
    }

    public static TheoryData<string> SwiGluVariants => [.. SwiGluBackward.Variants.SupportedNames];

    public void Dispose() => pool.Dispose();

    static double Slope(Func<double, double> f, double x)
    {
        double step = 1e-5 * Math.Max(1, Math.Abs(x));
        return (f(x + step) - f(x - step)) / (2 * step);
    }

    [Theory, MemberData(nameof(Variants))]
    public void Slopes_are_those_of_differences_at_every_width(string name, string variant)
    {
        (KernelTable<ElementwiseKernel> table, Func<double, double> forward) = Functions[name];
        ElementwiseKernel kernel = table.Supported.Single(v => v.Name == variant).Run;
        for (int width = 0; width <= 67; width++)
        {
            float[] values = Differences.Normal(width, Rows * width, scale: 3);
            float[] grads = Differences.Normal(width + 1, Rows * width);
            using Strided x = new(Rows, width, width + 1, (r, i) => values[(r * width) + i]);
            using Strided dy = new(Rows, width, width, (r, i) => grads[(r * width) + i], guardBefore: true);
            Elementwise.Apply(kernel, dy.Span, dy.Stride, x.Span, x.Stride, dy.Span, dy.Stride, Rows, width, pool);
            double[] expected = [.. values.Zip(grads, (v, g) => g * Slope(forward, v))];
            Near.Within([.. grads.Select(g => 3e-6 * Math.Abs(g))], expected, dy.ToArray(), $"{name} {width}");
        }
    }

    [Theory, MemberData(nameof(SwiGluVariants))]
    public void Both_slopes_of_SwiGlu_are_those_of_differences_at_every_width(string variant)
    {
        SwiGluBackwardKernel kernel = SwiGluBackward.Variants.Supported.Single(v => v.Name == variant).Run;
        for (int width = 0; width <= 67; width++)
        {
            float[] values = Differences.Normal(width, Rows * 2 * width, scale: 3);
            float[] grads = Differences.Normal(width + 1, Rows * width);
            using Strided x = new(Rows, 2 * width, (2 * width) + 1, (r, i) => values[(r * 2 * width) + i]);
            using Strided dy = new(Rows, width, width, (r, i) => grads[(r * width) + i], guardBefore: true);
            SwiGluBackward.Apply(kernel, x.Span, x.Stride, dy.Span, dy.Stride, x.Span, x.Stride, Rows, width, pool);
            for (int r = 0; r < Rows; r++)
            {
                for (int i = 0; i < width; i++)
                {
                    double gate = values[(r * 2 * width) + i];
                    double up = values[(r * 2 * width) + width + i];
                    double d = grads[(r * width) + i];
                    Assert.Equal(d * up * Slope(Reference.Silu, gate), x.Row(r)[i], 3e-6 * (Math.Abs(d * up) + 1e-3));
                    Assert.Equal(d * Reference.Silu(gate), x.Row(r)[width + i], 3e-6 * (Math.Abs(d * gate) + 1e-3));
                }
            }
        }
    }
}
