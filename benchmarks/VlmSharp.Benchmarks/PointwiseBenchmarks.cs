using System.Diagnostics.CodeAnalysis;
using BenchmarkDotNet.Attributes;
using VlmSharp.Kernels;

namespace VlmSharp.Benchmarks;

/// <summary>Norms and activations of a prefill's 2048 rows and of one decoded token.</summary>
[MemoryDiagnoser]
[SuppressMessage("Design", "CA1001", Justification = "BenchmarkDotNet calls Cleanup instead of Dispose")]
public class PointwiseBenchmarks
{
    WorkerPool pool = null!;
    float[] x = [];
    float[] other = [];
    float[] y = [];
    float[] weight = [];

    [Params(1, 2048)]
    public int Rows { get; set; }

    [Params(1536, 8960)]
    public int Width { get; set; }

    [Params(1, 2)]
    public int Threads { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        pool = new WorkerPool(Threads);
        var random = new Random(1);
        x = [.. Enumerable.Range(0, Rows * Width).Select(_ => (random.NextSingle() * 8) - 4)];
        other = [.. x];
        y = [.. x];
        weight = x[..Width];
    }

    [GlobalCleanup]
    public void Cleanup() => pool.Dispose();

    [Benchmark]
    public void RmsNorm() => Kernels.RmsNorm.Apply(x, Width, weight, y, Width, Rows, Width, 1e-6f, pool);

    [Benchmark]
    public void LayerNorm() => Kernels.LayerNorm.Apply(x, Width, weight, weight, y, Width, Rows, Width, 1e-6f, pool);

    [Benchmark]
    public void SwiGlu() => Kernels.SwiGlu.Apply(x, Width, other, Width, y, Width, Rows, Width, pool);

    [Benchmark]
    public void QuickGelu() => Kernels.QuickGelu.Apply(x, Width, y, Width, Rows, Width, pool);

    [Benchmark]
    public void Gelu() => Kernels.Gelu.Apply(x, Width, y, Width, Rows, Width, pool);
}
