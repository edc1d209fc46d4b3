using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using VlmSharp.Kernels;

namespace VlmSharp.Benchmarks;

/// <summary>Matrix products of a 2B model's widest layer; <c>vlm bench</c> says what the machine can multiply and read at best.</summary>
/// <remarks>The variant is that of <c>VLM_ISA</c>; run once for each to compare them.</remarks>
[Config(typeof(RateConfig))]
public class MatMulBenchmarks : IDisposable
{
    const int Columns = 1536;
    const int Outputs = 8960;

    float[] x = [];
    float[] y = [];
    PackedMatrix w = null!;
    WorkerPool pool = null!;

    /// <summary>Threads of the pool.</summary>
    [Params(1, 2)]
    public int Threads { get; set; }

    /// <summary>Rows of x: 1 is a decode step, 512 a prompt.</summary>
    [Params(1, 4, 16, 512)]
    public int Rows { get; set; }

    /// <summary>How weights are stored.</summary>
    [Params(ElementType.F32, ElementType.BF16, ElementType.F16)]
    public ElementType Storage { get; set; }

    /// <summary>Whether x may be rounded to the 16 bits of the weights.</summary>
    [Params(false, true)]
    public bool MayRound { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        pool = new WorkerPool(Threads);
        w = new PackedMatrix(Outputs, Columns, Storage);
        byte[] row = new byte[Columns * Storage.Size()];
        var random = new Random(1);
        for (int r = 0; r < Outputs; r++)
        {
            Fill(row, random);
            w.PackRows(r, 1, row, Storage, pool);
        }

        x = [.. Enumerable.Range(0, Rows * Columns).Select(_ => random.NextSingle() - 0.5f)];
        y = new float[Rows * Outputs];
    }

    [GlobalCleanup]
    public void Dispose()
    {
        w.Dispose();
        pool.Dispose();
        GC.SuppressFinalize(this);
    }

    [Benchmark]
    public void Product() => MatMul.Apply(x, Columns, w, [], y, Outputs, Rows, pool, mayRound: MayRound);

    /// <summary>Operations and bytes of weights of one call.</summary>
    internal static (double Operations, double Bytes) Work(BenchmarkCase benchmark)
    {
        int rows = (int)benchmark.Parameters[nameof(Rows)];
        var storage = (ElementType)benchmark.Parameters[nameof(Storage)];
        return (2.0 * rows * Columns * Outputs, (double)Columns * Outputs * storage.Size());
    }

    void Fill(byte[] row, Random random)
    {
        for (int i = 0; i < Columns; i++)
        {
            float value = random.NextSingle() - 0.5f;
            switch (Storage)
            {
                case ElementType.F32:
                    MemoryMarshal.Cast<byte, float>(row.AsSpan())[i] = value;
                    break;
                case ElementType.F16:
                    MemoryMarshal.Cast<byte, Half>(row.AsSpan())[i] = (Half)value;
                    break;
                default:
                    MemoryMarshal.Cast<byte, ushort>(row.AsSpan())[i] = (ushort)(
                        BitConverter.SingleToUInt32Bits(value) >> 16
                    );
                    break;
            }
        }
    }
}

/// <summary>A dozen short measurements in this process, and their best time as GFLOP/s and GB/s: other work on the machine only slows.</summary>
public sealed class RateConfig : ManualConfig
{
    public RateConfig()
    {
        AddJob(
            Job.Default.WithToolchain(InProcessEmitToolchain.Instance)
                .WithWarmupCount(2)
                .WithIterationCount(12)
                .WithInvocationCount(4)
                .WithUnrollFactor(1)
        );
        AddColumn(new Rate("GFLOP/s", work => work.Operations), new Rate("GB/s", work => work.Bytes));
    }

    sealed class Rate(string name, Func<(double Operations, double Bytes), double> amount) : IColumn
    {
        public string Id => name;
        public string ColumnName => name;
        public bool AlwaysShow => true;
        public ColumnCategory Category => ColumnCategory.Custom;
        public int PriorityInCategory => 0;
        public bool IsNumeric => true;
        public UnitType UnitType => UnitType.Dimensionless;
        public string Legend => $"{name} of the fastest iteration";

        public string GetValue(Summary summary, BenchmarkCase benchmarkCase)
        {
            double? nanoseconds = summary[benchmarkCase]?.ResultStatistics?.Min;
            double work = amount(
                benchmarkCase.Descriptor.Type == typeof(BlockMatMulBenchmarks)
                    ? BlockMatMulBenchmarks.Work(benchmarkCase)
                    : MatMulBenchmarks.Work(benchmarkCase)
            );
            return work > 0 && nanoseconds > 0 ? (work / nanoseconds.Value).ToString("F1") : "";
        }

        public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) =>
            GetValue(summary, benchmarkCase);

        public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

        public bool IsAvailable(Summary summary) => true;
    }
}
