using System.Diagnostics;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Training;
using VlmSharp.Training.Recipes;
using VlmSharp.Vision;

namespace VlmSharp.Cli.Bench;

/// <summary>An update of a model: forward, backward, clipping, AdamW.</summary>
/// <param name="Precision">Of the products.</param>
/// <param name="Threads">Threads that computed.</param>
/// <param name="Seconds">Median.</param>
/// <param name="ProcessorSeconds">Median of the time all processors spent on it.</param>
/// <param name="Tokens">Tokens in it.</param>
/// <param name="Patches">Patches in it.</param>
/// <param name="Operations">Six for each parameter of the decoder and token, and for each one of tower and merger and patch.</param>
sealed record TrainingResult(
    TrainingPrecision Precision,
    int Threads,
    double Seconds,
    double ProcessorSeconds,
    int Tokens,
    int Patches,
    double Operations
)
{
    /// <summary>Operations in a second of time.</summary>
    public double Rate => Operations / Seconds;

    /// <summary>Operations in a second of as many processors as there are threads: what the rate is while nothing else runs.</summary>
    public double ProcessorRate => Operations * Threads / ProcessorSeconds;
}

/// <summary>Measures updates over batches of made-up samples: 64 of one 112x112 picture and 32 tokens of text, of which 29 are learnt.</summary>
sealed class TrainingTest : IDisposable
{
    const int Samples = 64;
    const int Side = 8; // patches
    const int Text = 32;
    const int Learnt = 29;
    const int WarmUp = 2;
    const int ProductSize = 1024;

    readonly TrainableModel model;
    readonly WorkerPool pool;
    readonly int runs;
    readonly Sample[] batch;

    public TrainingTest(TrainableModel model, WorkerPool pool, int runs)
    {
        (this.model, this.pool, this.runs) = (model, pool, runs);
        Random random = new(1);
        batch = [.. Enumerable.Range(0, Samples).Select(_ => MakeUp(random))];
    }

    Sample MakeUp(Random random)
    {
        ModelInfo info = model.Model.Info;
        GridThw grid = new(1, Side, Side);
        float[] pixels = new float[grid.Patches * info.PatchWidth];
        for (int i = 0; i < pixels.Length; i++)
        {
            pixels[i] = (float)((random.NextDouble() * 4) - 2);
        }

        const int merge = 2;
        int[] tokens =
        [
            .. Enumerable.Repeat(info.ImageToken, grid.MergedTokens(merge)),
            .. Enumerable.Range(0, Text).Select(_ => random.Next(info.Vocabulary - 16)),
        ];
        int[] labels = [.. tokens.Select((t, i) => i < tokens.Length - Learnt ? CrossEntropy.Ignored : t)];
        return new Sample(tokens, labels, [new SampleMedium(pixels, grid, [new MediaSpan(0, grid, merge)])]);
    }

    /// <summary>Measures updates.</summary>
    public TrainingResult Run(TrainingPrecision precision)
    {
        using Trainer trainer = new(model, pool) { MayRound = precision == TrainingPrecision.BF16 };
        Optimizer optimizer = new(model.Parameters, new OptimizerSettings(), pool);
        int labels = batch.Sum(sample => sample.LabelCount);
        (double seconds, double busy) = Measure(() =>
        {
            model.Parameters.ZeroGradients();
            trainer.Accumulate(batch, 1.0 / labels);
            optimizer.Update(_ => 1e-5);
        });
        ModelInfo info = model.Model.Info;
        int tokens = batch.Sum(sample => sample.Tokens.Length);
        int patches = batch.Sum(sample => sample.Media.Sum(m => m.Grid.Patches));
        double operations = 6 * (((double)info.TextParameters * tokens) + ((double)info.VisionParameters * patches));
        return new TrainingResult(precision, pool.Threads, seconds, busy, tokens, patches, operations);
    }

    /// <summary>What a large product of f32 matrices reaches: operations in a second, and in a second of as many processors as there are threads.</summary>
    public (double Rate, double ProcessorRate) Product()
    {
        using PackedMatrix weights = new(ProductSize, ProductSize, ElementType.F32);
        float[] x = new float[ProductSize * ProductSize];
        float[] y = new float[ProductSize * ProductSize];
        x.AsSpan().Fill(0.5f);
        (double seconds, double busy) = Measure(() =>
        {
            for (int i = 0; i < 8; i++)
            {
                MatMul.Apply(x, ProductSize, weights, [], y, ProductSize, ProductSize, pool);
            }
        });
        double operations = 8 * 2.0 * ProductSize * ProductSize * ProductSize;
        return (operations / seconds, operations * pool.Threads / busy);
    }

    (double Seconds, double ProcessorSeconds) Measure(Action action)
    {
        for (int i = 0; i < WarmUp; i++)
        {
            action();
        }

        double[] seconds = new double[runs];
        double[] busy = new double[runs];
        using Process process = Process.GetCurrentProcess();
        for (int i = 0; i < runs; i++)
        {
            process.Refresh();
            TimeSpan before = process.TotalProcessorTime;
            long start = Stopwatch.GetTimestamp();
            action();
            seconds[i] = Stopwatch.GetElapsedTime(start).TotalSeconds;
            process.Refresh();
            busy[i] = (process.TotalProcessorTime - before).TotalSeconds;
        }

        Array.Sort(seconds);
        Array.Sort(busy);
        return (seconds[runs / 2], busy[runs / 2]);
    }

    public void Dispose() => model.Dispose();
}
