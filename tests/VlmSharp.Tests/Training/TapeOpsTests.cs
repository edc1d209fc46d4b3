using VlmSharp.Kernels;
using VlmSharp.Tensors;
using VlmSharp.Tests.Kernels.Backward;
using VlmSharp.Training;
using Xunit;

namespace VlmSharp.Tests.Training;

/// <summary>What the tape promises beyond the arithmetic of single operations.</summary>
public sealed class TapeOpsTests : IDisposable
{
    const int Rows = 4;
    const int Width = 6;
    const float Epsilon = 1e-3f;

    readonly WorkerPool pool = new(2);
    readonly ParameterSet parameters = new();
    readonly TapeOps tape;
    readonly float[] x = Differences.Normal(1, Rows * Width);
    readonly float[] dy = Differences.Normal(2, Rows * Width);
    readonly Vector ones = new("ones", [1, 1, 1, 1, 1, 1]);

    public TapeOpsTests() => tape = new TapeOps(parameters, pool);

    public void Dispose()
    {
        tape.Dispose();
        parameters.Dispose();
        pool.Dispose();
    }

    static double[] Normalised(double[] x)
    {
        double[] y = new double[x.Length];
        for (int at = 0; at < x.Length; at += Width)
        {
            double mean = Enumerable.Range(at, Width).Sum(i => x[i] * x[i]) / Width;
            for (int i = at; i < at + Width; i++)
            {
                y[i] = x[i] / Math.Sqrt(mean + Epsilon);
            }
        }

        return y;
    }

    double Weighted(double[] y) => y.Select((v, i) => v * dy[i]).Sum();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_consumed_argument_that_a_backward_pass_reads_is_copied(bool recompute)
    {
        tape.Recompute = recompute;
        Tensor input = tape.Variable(Rows, x);
        Arena.Mark mark = tape.Mark;
        Tensor norm = tape.RmsNorm(input, ones, Epsilon);
        Tensor sum = tape.Release(mark, tape.Add(norm, input)); // norm is consumed, and nobody reads it
        Tensor again = tape.RmsNorm(sum, ones, Epsilon);
        Tensor y = tape.Add(sum, again); // sum is consumed, but its norm needs it
        tape.Seed(y, dy);
        tape.Backward();
        double Forward(double[] v)
        {
            double[] first = [.. Normalised(v).Zip(v, (a, b) => a + b)];
            return Weighted([.. Normalised(first).Zip(first, (a, b) => a + b)]);
        }

        Differences.Near(Differences.Of(Forward, x), tape.Gradient(input), "x");
    }

    [Fact]
    public void Parts_of_a_result_hand_back_to_the_whole()
    {
        Tensor input = tape.Variable(Rows, x);
        Tensor whole = tape.RmsNorm(input, ones, Epsilon);
        Tensor left = tape.RmsNormHeads(whole.Columns(0, 3), new Vector("l", [1, 2, 3]), Epsilon);
        Tensor rows = tape.TakeRows(whole.Columns(3, 3), [2, 0, 2, 1]);
        Tensor y = tape.Concatenate(left, rows);
        y = tape.ReplaceRows(y, 1, tape.TakeRows(whole, [3]));
        tape.Seed(y, dy);
        tape.Backward();
        double Forward(double[] v)
        {
            double[] n = Normalised(v);
            double[] result = new double[Rows * Width];
            int[] taken = [2, 0, 2, 1];
            for (int r = 0; r < Rows; r++)
            {
                double mean = Enumerable.Range(0, 3).Sum(i => n[(r * Width) + i] * n[(r * Width) + i]) / 3;
                for (int i = 0; i < 3; i++)
                {
                    result[(r * Width) + i] = n[(r * Width) + i] / Math.Sqrt(mean + Epsilon) * (i + 1);
                    result[(r * Width) + 3 + i] = n[(taken[r] * Width) + 3 + i];
                }
            }

            Array.Copy(n, 3 * Width, result, Width, Width);
            return Weighted(result);
        }

        Differences.Near(Differences.Of(Forward, x), tape.Gradient(input), "x");
    }

    [Fact]
    public void A_sequence_with_cached_tokens_is_refused()
    {
        KvPlacement placement = new();
        placement.Add([0], queryCount: 2, keyCount: 5);
        AttentionShape shape = new(1, 1, 4);
        using KvCache cache = new(0, shape.Layout(KvStorage.F32), 0);
        Tensor q = tape.Variable(2, new float[8]);
        Assert.Throws<ArgumentException>(() => tape.CachedAttention(q, q, q, shape, cache, 0, placement));
    }

    [Fact]
    public void Weights_that_were_not_loaded_for_training_are_refused_by_name()
    {
        using PackedMatrix matrix = new(3, Width, ElementType.F32);
        Tensor input = tape.Variable(Rows, x);
        NotSupportedException error = Assert.Throws<NotSupportedException>(() =>
            tape.Linear(input, new Linear("model.q_proj.weight", matrix, []))
        );
        Assert.Contains("model.q_proj.weight", error.Message);
    }
}
