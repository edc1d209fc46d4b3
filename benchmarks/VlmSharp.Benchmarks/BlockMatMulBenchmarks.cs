using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Running;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Benchmarks;

/// <summary>Products with blocks of integers: a decode step by a matrix that no cache holds, and a prompt by a small one.</summary>
/// <remarks>The variant is that of <c>VLM_ISA</c>; run once for each to compare them.</remarks>
[Config(typeof(RateConfig))]
public class BlockMatMulBenchmarks : IDisposable
{
    const int Columns = 2048;

    float[] x = [];
    float[] y = [];
    PackedMatrix w = null!;
    WorkerPool pool = null!;

    /// <summary>Every format of blocks.</summary>
    public static IEnumerable<WeightFormat> Formats => PanelBlocks.All.Select(blocks => blocks.Format);

    /// <summary>Threads of the pool.</summary>
    [Params(1, 2)]
    public int Threads { get; set; }

    /// <summary>Rows of x: 1 is a decode step, 512 a prompt.</summary>
    [Params(1, 512)]
    public int Rows { get; set; }

    /// <summary>How weights are stored.</summary>
    [ParamsSource(nameof(Formats))]
    public WeightFormat Storage { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        pool = new WorkerPool(Threads);
        int outputs = Outputs(Rows);
        w = new PackedMatrix(outputs, Columns, Storage);
        Fill(w);
        var random = new Random(1);
        x = [.. Enumerable.Range(0, Rows * Columns).Select(_ => random.NextSingle() - 0.5f)];
        y = new float[Rows * outputs];
    }

    [GlobalCleanup]
    public void Dispose()
    {
        w.Dispose();
        pool.Dispose();
        GC.SuppressFinalize(this);
    }

    [Benchmark]
    public void Product() => MatMul.Apply(x, Columns, w, [], y, w.Rows, Rows, pool, mayRound: true);

    /// <summary>Operations and bytes of weights of one call.</summary>
    internal static (double Operations, double Bytes) Work(BenchmarkCase benchmark)
    {
        int rows = (int)benchmark.Parameters[nameof(Rows)];
        PanelBlocks blocks = PanelBlocks.Of((WeightFormat)benchmark.Parameters[nameof(Storage)])!;
        double values = (double)Columns * Outputs(rows);
        return (2 * rows * values, values / PackedMatrix.PanelRows / blocks.Columns * blocks.PanelBytes);
    }

    // At least 215 MB with one row.
    static int Outputs(int rows) => rows == 1 ? 196_608 : 4096;

    // Any bytes are blocks; without these bits no scale is infinite or NaN.
    static unsafe void Fill(PackedMatrix w)
    {
        var random = new Random(1);
        byte* panel = w.Panels;
        for (int i = 0; i < w.PanelCount; i++, panel += w.PanelBytes)
        {
            Span<byte> bytes = new(panel, (int)w.PanelBytes);
            random.NextBytes(bytes);
            foreach (ref byte value in bytes)
            {
                value &= 0x3B;
            }
        }
    }
}
