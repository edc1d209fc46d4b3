using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using VlmSharp.Kernels;

namespace VlmSharp.Benchmarks;

/// <summary>Matrix products of a 2B model's widest layer, beside what the machine can multiply and read at best.</summary>
/// <remarks>The variant is that of <c>VLM_KERNELS</c>; run once for each to compare them.</remarks>
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
    public void Product() => MatMul.Apply(x, Columns, w, [], y, Outputs, Rows, pool);

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

/// <summary>The ceilings: fused multiply-adds without memory, and reading memory without arithmetic.</summary>
[Config(typeof(RateConfig))]
public unsafe class MachineBenchmarks : IDisposable
{
    const int Steps = 1_000_000;
    const int Chains = 12;
    const int Megabytes = 512;
    const int Parts = 64;

    WorkerPool pool = null!;
    AlignedBuffer memory = null!;

    /// <summary>Threads of the pool.</summary>
    [Params(1, 2)]
    public int Threads { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        pool = new WorkerPool(Threads);
        memory = new AlignedBuffer((long)Megabytes << 20);
        memory.Span<byte>(0, Megabytes << 20).Fill(1);
    }

    [GlobalCleanup]
    public void Dispose()
    {
        pool.Dispose();
        memory.Dispose();
        GC.SuppressFinalize(this);
    }

    [Benchmark]
    public void MultiplyAdd()
    {
        MultiplyAddBody body = default;
        pool.Run(Threads, ref body);
    }

    [Benchmark]
    public void Read()
    {
        var body = new ReadBody(memory.Pointer);
        pool.Run(Parts, ref body);
    }

    internal static (double Operations, double Bytes) Work(BenchmarkCase benchmark)
    {
        int width = Avx512F.IsSupported ? 16 : 8;
        int threads = (int)benchmark.Parameters[nameof(Threads)];
        return benchmark.Descriptor.WorkloadMethod.Name == nameof(Read)
            ? (0, (double)Megabytes * (1 << 20))
            : (2.0 * Steps * Chains * width * threads, 0);
    }

    struct MultiplyAddBody : IParallelBody
    {
        float result;

        public void Run(int part, int worker) => result += Avx512F.IsSupported ? Chain512(0.999f) : Chain256(0.999f);

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static float Chain512(float factor)
        {
            Vector512<float> m = Vector512.Create(factor);
            Vector512<float> a = m,
                b = m,
                c = m,
                d = m,
                e = m,
                f = m,
                g = m,
                h = m,
                i = m,
                j = m,
                k = m,
                l = m;
            for (int step = 0; step < Steps; step++)
            {
                a = Avx512F.FusedMultiplyAdd(a, m, m);
                b = Avx512F.FusedMultiplyAdd(b, m, m);
                c = Avx512F.FusedMultiplyAdd(c, m, m);
                d = Avx512F.FusedMultiplyAdd(d, m, m);
                e = Avx512F.FusedMultiplyAdd(e, m, m);
                f = Avx512F.FusedMultiplyAdd(f, m, m);
                g = Avx512F.FusedMultiplyAdd(g, m, m);
                h = Avx512F.FusedMultiplyAdd(h, m, m);
                i = Avx512F.FusedMultiplyAdd(i, m, m);
                j = Avx512F.FusedMultiplyAdd(j, m, m);
                k = Avx512F.FusedMultiplyAdd(k, m, m);
                l = Avx512F.FusedMultiplyAdd(l, m, m);
            }

            return Vector512.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        static float Chain256(float factor)
        {
            Vector256<float> m = Vector256.Create(factor);
            Vector256<float> a = m,
                b = m,
                c = m,
                d = m,
                e = m,
                f = m,
                g = m,
                h = m,
                i = m,
                j = m,
                k = m,
                l = m;
            for (int step = 0; step < Steps; step++)
            {
                a = Fma.MultiplyAdd(a, m, m);
                b = Fma.MultiplyAdd(b, m, m);
                c = Fma.MultiplyAdd(c, m, m);
                d = Fma.MultiplyAdd(d, m, m);
                e = Fma.MultiplyAdd(e, m, m);
                f = Fma.MultiplyAdd(f, m, m);
                g = Fma.MultiplyAdd(g, m, m);
                h = Fma.MultiplyAdd(h, m, m);
                i = Fma.MultiplyAdd(i, m, m);
                j = Fma.MultiplyAdd(j, m, m);
                k = Fma.MultiplyAdd(k, m, m);
                l = Fma.MultiplyAdd(l, m, m);
            }

            return Vector256.Sum(a + b + c + d + e + f + g + h + i + j + k + l);
        }
    }

    struct ReadBody(byte* memory) : IParallelBody
    {
        int result;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run(int part, int worker)
        {
            const int Bytes = Megabytes / Parts << 20;
            Vector256<int> a = default;
            Vector256<int> b = default;
            byte* end = memory + (part + 1L) * Bytes;
            for (byte* at = end - Bytes; at < end; at += 128)
            {
                a |= Vector256.Load((int*)at) | Vector256.Load((int*)(at + 32));
                b |= Vector256.Load((int*)(at + 64)) | Vector256.Load((int*)(at + 96));
            }

            result |= Vector256.Sum(a | b);
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
                benchmarkCase.Descriptor.Type == typeof(MatMulBenchmarks)
                    ? MatMulBenchmarks.Work(benchmarkCase)
                    : MachineBenchmarks.Work(benchmarkCase)
            );
            return work > 0 && nanoseconds > 0 ? (work / nanoseconds.Value).ToString("F1") : "";
        }

        public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) =>
            GetValue(summary, benchmarkCase);

        public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

        public bool IsAvailable(Summary summary) => true;
    }
}
