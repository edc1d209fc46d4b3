using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Testing;
using VlmSharp.Training;
using Xunit;

namespace VlmSharp.Tests.Training;

public sealed class TrainerTests : IDisposable
{
    readonly WorkerPool pool = new(2);
    readonly TrainableModel model;
    readonly Trainer trainer;

    public TrainerTests()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Goldens.Local("qwen3-vl-moe/checkpoint"));
        model = TrainableModel.Load(checkpoint, pool);
        trainer = new Trainer(model, pool);
    }

    public void Dispose()
    {
        trainer.Dispose();
        model.Dispose();
        pool.Dispose();
    }

    static Sample Text(int[] tokens, int learnt) =>
        new(tokens, [.. tokens.Select((t, i) => i < tokens.Length - learnt ? CrossEntropy.Ignored : t)], []);

    [Fact]
    public void Two_answers_are_learnt_by_heart()
    {
        Sample[] batch = [Text([5, 17, 99, 4, 31, 8], 3), Text([5, 17, 12, 7, 7, 20, 64], 4)];
        Optimizer optimizer = new(model.Parameters, new OptimizerSettings(), pool);
        double first = 0;
        double last = 0;
        for (int k = 0; k < 40; k++)
        {
            model.Parameters.ZeroGradients();
            BatchLoss loss = trainer.Accumulate(batch, 1.0 / 7);
            Assert.Equal(7, loss.Labels);
            optimizer.Update(_ => 1e-2);
            last = loss.CrossEntropy / 7;
            first = k == 0 ? last : first;
        }

        Assert.True(first > 4, $"{first}");
        Assert.True(last < 0.1, $"{last}");
    }

    [Fact]
    public void Accumulated_batches_equal_one_batch_of_all()
    {
        Sample one = Text([5, 17, 99, 4, 31, 8], 3);
        Sample two = Text([9, 3, 12, 7, 7, 20, 64], 4);
        model.Parameters.ZeroGradients();
        trainer.Accumulate([one, two], 1.0 / 7);
        float[][] together = [.. model.Parameters.All.Select(p => p.Gradient.ToArray())];
        model.Parameters.ZeroGradients();
        trainer.Accumulate([one], 1.0 / 7);
        trainer.Accumulate([two], 1.0 / 7);
        for (int i = 0; i < together.Length; i++)
        {
            Near.RelativeToLargest(
                1e-5,
                Array.ConvertAll(together[i], v => (double)v),
                model.Parameters.All[i].Gradient,
                model.Parameters.All[i].Name
            );
        }
    }

    [Fact]
    public void A_batch_without_labels_adds_nothing()
    {
        model.Parameters.ZeroGradients();
        Assert.Equal(default, trainer.Accumulate([Text([1, 2, 3], 0)], 1));
        Assert.Equal(0, new Optimizer(model.Parameters, new OptimizerSettings(), pool).GradientNorm());
    }

    [Fact]
    public void A_gradient_that_is_no_number_changes_nothing()
    {
        Optimizer optimizer = new(model.Parameters, new OptimizerSettings(), pool);
        float[] before = model.Parameters.All[0].Values.ToArray();
        model.Parameters.ZeroGradients();
        model.Parameters.All[1].Gradient[0] = float.NaN;
        Assert.Equal(double.NaN, optimizer.Update(_ => 1));
        Near.SameBits(before, model.Parameters.All[0].Values);
        Assert.Equal(0, optimizer.Updates);
    }

    [Fact]
    public void Labels_and_pixels_of_the_wrong_number_are_refused()
    {
        Assert.Throws<ArgumentException>(() => trainer.Accumulate([new Sample([1, 2, 3], [-100, 2], [])], 1));
        SampleMedium medium = new(new float[7], new(1, 2, 2), []);
        Assert.Throws<ArgumentException>(() => trainer.Accumulate([new Sample([1, 2], [-100, 2], [medium])], 1));
    }
}
