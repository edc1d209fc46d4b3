using BenchmarkDotNet.Attributes;
using VlmSharp.Kernels;
using VlmSharp.Vision;

namespace VlmSharp.Benchmarks;

/// <summary>From a 12-megapixel picture in memory to the patches of about one megapixel.</summary>
[MemoryDiagnoser]
[MinColumn]
[MedianColumn]
public class VisionBenchmarks : IDisposable
{
    const int Width = 4000;
    const int Height = 3000;

    static readonly PatchConfig Config = new(
        14,
        2,
        2,
        [0.48145466f, 0.4578275f, 0.40821073f],
        [0.26862954f, 0.26130258f, 0.27577711f],
        1 / 255.0,
        3136,
        1176 * 896
    );

    readonly ReadOnlyMemory<byte>[] frames = new ReadOnlyMemory<byte>[1];
    float[] values = [];
    WorkerPool? pool;
    GridThw grid;

    /// <summary>Threads that share the work.</summary>
    [Params(1, 2)]
    public int Threads { get; set; }

    /// <summary>A picture of noise over gradients.</summary>
    [GlobalSetup]
    public void Setup()
    {
        byte[] rgb = new byte[Width * Height * 3];
        new Random(1).NextBytes(rgb);
        for (int i = 0; i < rgb.Length; i++)
        {
            rgb[i] = (byte)((rgb[i] & 31) + i % (Width * 3) * 224 / (Width * 3));
        }

        frames[0] = rgb;
        grid = PatchBuilder.Plan(Width, Height, 1, Config);
        values = new float[grid.Patches * Config.PatchLength];
        pool = new WorkerPool(Threads);
    }

    /// <summary>Ends the threads.</summary>
    [GlobalCleanup]
    public void Dispose()
    {
        pool?.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>Resize, normalise and cut; the array of patches is reused.</summary>
    [Benchmark]
    public float PictureToPatches()
    {
        PatchBuilder.Build(frames, Width, Height, Config, grid, values, pool!);
        return values[0];
    }
}
