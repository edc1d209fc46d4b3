using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Testing;
using VlmSharp.Training;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Training;

/// <summary>Training with products of bf16 beside training in f32.</summary>
public sealed class RoundedTrainingTests : IDisposable
{
    readonly WorkerPool pool = new(2);

    public void Dispose() => pool.Dispose();

    // A picture of 8 x 8 patches and some text on either side.
    static Sample WithPicture(ModelInfo info)
    {
        GridThw grid = new(1, 8, 8);
        Random random = new(5);
        float[] pixels = new float[grid.Patches * info.PatchWidth];
        for (int i = 0; i < pixels.Length; i++)
        {
            pixels[i] = (float)((random.NextDouble() * 4) - 2);
        }

        int[] tokens = [3, 9, .. Enumerable.Repeat(info.ImageToken, 16), 20, 21, 40, 50, 60];
        int[] labels = [.. tokens.Select((t, i) => i < 19 ? CrossEntropy.Ignored : t)];
        return new Sample(tokens, labels, [new SampleMedium(pixels, grid, [new MediaSpan(2, grid, 2)])]);
    }

    float[][] Gradients(string name, bool mayRound, out BatchLoss loss, out int products)
    {
        using Checkpoint checkpoint = Checkpoint.Open(Goldens.Local($"{name}/checkpoint"));
        using TrainableModel model = TrainableModel.Load(checkpoint, pool);
        using Trainer trainer = new(model, pool) { MayRound = mayRound };
        ModelInfo info = model.Model.Info;
        products = 2 * ((4 * (info.Tower.Depth + info.Layers)) + 4); // there and back: four in a block, patches, merger, head
        model.Parameters.ZeroGradients();
        loss = trainer.Accumulate([WithPicture(info)], 0.25);
        return [.. model.Parameters.All.Select(p => p.Gradient.ToArray())];
    }

    [Theory]
    [InlineData("qwen2-vl")]
    [InlineData("qwen2.5-vl")]
    [InlineData("qwen3-vl-tied-bf16")]
    public void Gradients_of_rounded_products_are_close_to_exact_ones(string name)
    {
        Assert.SkipUnless(MatMul.RoundsToBF16, "no products of bf16 here");
        float[][] exact = Gradients(name, mayRound: false, out BatchLoss loss, out int products);
        float[][] rounded = Gradients(name, mayRound: true, out BatchLoss roundedLoss, out _);
        double difference = 0;
        double norm = 0;
        for (int i = 0; i < exact.Length; i++)
        {
            for (int j = 0; j < exact[i].Length; j++)
            {
                difference += Math.Pow(rounded[i][j] - exact[i][j], 2);
                norm += Math.Pow(exact[i][j], 2);
            }
        }

        // Rounding changes a factor by at most 2^-9 of itself, so a product by 2^-8. In the chain of products from the pixels to the
        // logits and back, errors add up to first order where no step enlarges them; they are not alike, so their sum stays far below.
        double bound = products / 256.0;
        double error = Math.Sqrt(difference / norm);
        Assert.InRange(error, 1e-5, bound);
        Assert.InRange(Math.Abs(roundedLoss.CrossEntropy - loss.CrossEntropy) / loss.CrossEntropy, 0, bound);
        TestContext.Current.TestOutputHelper?.WriteLine($"{name}: {error} of at most {bound}");
    }

    [Fact]
    public void Rounded_gradients_depend_on_no_thread()
    {
        using WorkerPool single = new(1);
        float[][] one = Run(single);
        float[][] two = Run(pool);
        for (int i = 0; i < one.Length; i++)
        {
            Near.SameBits(one[i], two[i]);
        }

        static float[][] Run(WorkerPool threads)
        {
            using Checkpoint checkpoint = Checkpoint.Open(Goldens.Local("qwen2-vl/checkpoint"));
            using TrainableModel model = TrainableModel.Load(checkpoint, threads);
            using Trainer trainer = new(model, threads) { MayRound = true };
            Optimizer optimizer = new(model.Parameters, new OptimizerSettings(), threads);
            for (int k = 0; k < 3; k++)
            {
                model.Parameters.ZeroGradients();
                trainer.Accumulate([WithPicture(model.Model.Info)], 0.25);
                optimizer.Update(_ => 1e-3);
            }

            return [.. model.Parameters.All.Select(p => p.Values.ToArray())];
        }
    }
}
