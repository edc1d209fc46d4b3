using System.Diagnostics;
using System.Globalization;
using VlmSharp.Engine;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Media.Images;
using VlmSharp.Models;
using VlmSharp.Tensors;
using VlmSharp.Vision;

namespace VlmSharp.Cli.Bench;

/// <summary>One measurement.</summary>
/// <param name="Name">load, prefill, decode or encode.</param>
/// <param name="Weights">Storage of the decoder's weights.</param>
/// <param name="Tokens">Tokens that were computed.</param>
/// <param name="Depth">Tokens that were in the cache before.</param>
/// <param name="Threads">Threads that computed.</param>
/// <param name="Seconds">Median.</param>
/// <param name="Limit">What of the machine bounds it: stream, fma, bf16dot or int8dot; null where nothing was compared.</param>
/// <param name="Share">Of that limit, measured in the same run.</param>
/// <param name="MemoryBytes">Memory of the process, without files that are mapped.</param>
sealed record SpeedResult(
    string Name,
    string Weights,
    int Tokens,
    int Depth,
    int Threads,
    double Seconds,
    string? Limit,
    double? Share,
    long MemoryBytes
)
{
    /// <summary>Width x height of a picture.</summary>
    public string? Picture { get; init; }

    /// <summary>For people.</summary>
    public string What => Picture is null ? Name : $"{Name} {Picture}";

    /// <summary>Tokens by seconds.</summary>
    public double TokensPerSecond => Tokens / Seconds;
}

/// <summary>Measures a loaded model.</summary>
sealed class SpeedTest
{
    readonly IVisionLanguageModel model;
    readonly CpuOps ops;
    readonly int runs;
    readonly Action<string> onProgress;
    readonly string weights;
    readonly double weightBytes; // of one weight of the decoder
    readonly double decoderWeights; // a token is multiplied with, those of the output matrix left out
    readonly double headWeights;
    readonly string towerLimit;
    readonly string decoderLimit;

    /// <summary>A test of a model.</summary>
    /// <param name="model">Borrowed.</param>
    /// <param name="checkpoint">Where it came from.</param>
    /// <param name="ops">Where it runs.</param>
    /// <param name="runs">Of which the median is taken.</param>
    /// <param name="onProgress">Told what is being measured.</param>
    public SpeedTest(IVisionLanguageModel model, Checkpoint checkpoint, CpuOps ops, int runs, Action<string> onProgress)
    {
        this.model = model;
        this.ops = ops;
        this.runs = runs;
        this.onProgress = onProgress;
        ModelInfo info = model.Info;
        double textBytes = checkpoint.Weights.Where(w => !w.Name.Contains("visual.")).Sum(w => (double)w.LoadedBytes);
        weightBytes = textBytes / info.TextParameters;
        bool bf16 = weightBytes < 3 && checkpoint.Tensors.Any(t => t.Type == SafetensorsType.BF16);
        weights =
            checkpoint.Packing is { } packing ? packing.Name
            : bf16 ? "bf16"
            : weightBytes < 3 ? "f16"
            : "f32"; // quantised layers are unpacked to that
        headWeights = (double)info.Vocabulary * info.Hidden;
        bool tied = !checkpoint.Contains("lm_head.weight");
        decoderWeights = info.ActiveTextParameters - (headWeights * (tied ? 1 : 2));
        bool dots = ops.MayRound && KernelTables.All.Any(t => t is { Name: "matmul", ActiveName: "avx512dot" });
        towerLimit = dots && bf16 ? "bf16dot" : "fma";
        decoderLimit = dots && checkpoint.Packing is not null ? "int8dot" : towerLimit;
    }

    /// <summary>Loading took so long.</summary>
    public SpeedResult Load(TimeSpan time) =>
        new("load", weights, 0, 0, ops.Pool.Threads, time.TotalSeconds, null, null, Memory());

    /// <summary>A prompt of so many tokens.</summary>
    public SpeedResult Prefill(int tokens)
    {
        onProgress($"prefill of {tokens} tokens");
        using InferenceEngine engine = new(model, ops, tokens + 1);
        double seconds = Median(() =>
        {
            using Sequence sequence = Start(engine, tokens);
            long start = Stopwatch.GetTimestamp();
            Compute(engine, sequence);
            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        });
        ModelInfo info = model.Info;
        double pairs = tokens * (tokens + 1.0) / 2; // of tokens that see each other
        double operations =
            (2 * decoderWeights * tokens)
            + (2 * headWeights)
            + (4 * pairs * info.Attention.Heads * info.Attention.HeadDim * info.Layers);
        return Result("prefill", decoderLimit, tokens, seconds, operations);
    }

    /// <summary>Tokens of an answer behind a prompt.</summary>
    /// <param name="depth">Tokens of the prompt.</param>
    /// <param name="tokens">Of the answer.</param>
    public SpeedResult Decode(int depth, int tokens)
    {
        onProgress($"decode at depth {depth}");
        using InferenceEngine engine = new(model, ops, depth + tokens + 2);
        using Sequence sequence = Start(engine, Math.Max(depth, 1));
        Compute(engine, sequence);
        sequence.EnsureRoom(tokens + 1);
        sequence.Append(1);
        Compute(engine, sequence); // warm
        int begin = sequence.Tokens.Length;
        double seconds = Median(() =>
        {
            sequence.Rewind(begin);
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < tokens; i++)
            {
                sequence.Append(1 + i);
                Compute(engine, sequence);
            }

            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        });
        onProgress("streaming read");
        double stream = MachineLimits.Stream(ops.Pool);
        double cache =
            (depth + (tokens / 2.0))
            * KvCache.BytesPerToken(model.Info.Layers, model.Info.Attention.Layout(ops.CacheStorage));
        double bytes = ((decoderWeights + headWeights) * weightBytes) + cache; // for each token
        return new(
            "decode",
            weights,
            tokens,
            depth,
            ops.Pool.Threads,
            seconds,
            "stream",
            bytes * tokens / seconds / stream,
            Memory()
        );
    }

    /// <summary>A picture through the vision tower.</summary>
    public SpeedResult Encode(int width, int height)
    {
        string size = string.Create(CultureInfo.InvariantCulture, $"{width}x{height}");
        onProgress($"encode {size}");
        byte[] pixels = new byte[width * height * 3];
        new Random(1).NextBytes(pixels);
        MediaSource source = MediaSource.Image(new RgbImage(width, height, pixels));
        using PreparedMedia prepared = model.Info.Processor.Prepare(source, default, ops.Pool);
        using InferenceEngine engine = new(model, ops, 1);
        double seconds = Median(() =>
        {
            long start = Stopwatch.GetTimestamp();
            engine.Encode(prepared).Dispose();
            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        });
        double operations = model.Info.TowerOperations(prepared.Plan.Grid);
        return Result("encode", towerLimit, prepared.Plan.Tokens, seconds, operations) with { Picture = size };
    }

    SpeedResult Result(string name, string instruction, int tokens, double seconds, double operations)
    {
        double limit = instruction switch
        {
            "int8dot" => MachineLimits.Int8Dot(ops.Pool),
            "bf16dot" => MachineLimits.Bf16Dot(ops.Pool),
            _ => MachineLimits.MultiplyAdd(ops.Pool),
        };
        return new(
            name,
            weights,
            tokens,
            0,
            ops.Pool.Threads,
            seconds,
            instruction,
            operations / seconds / limit,
            Memory()
        );
    }

    Sequence Start(InferenceEngine engine, int tokens)
    {
        Random random = new(tokens);
        int[] prompt = [.. Enumerable.Range(0, tokens).Select(_ => random.Next(Math.Min(1000, model.Info.Vocabulary)))];
        Sequence sequence = engine.CreateSequence();
        sequence.SetPrompt(prompt, [], []);
        return sequence;
    }

    static void Compute(InferenceEngine engine, Sequence sequence)
    {
        Sequence[] one = [sequence];
        while (sequence.Pending > 0)
        {
            engine.Run(one);
        }
    }

    double Median(Func<double> run)
    {
        double[] seconds = [.. Enumerable.Range(0, runs).Select(_ => run()).Order()];
        return seconds[seconds.Length / 2];
    }

    /// <summary>Memory that is the process' own: what of the checkpoint's file is mapped does not count.</summary>
    static long Memory()
    {
        const string field = "RssAnon:";
        string? line = File.Exists("/proc/self/status")
            ? File.ReadLines("/proc/self/status").FirstOrDefault(l => l.StartsWith(field, StringComparison.Ordinal))
            : null;
        return line is null
            ? Environment.WorkingSet
            : long.Parse(line[field.Length..].Replace("kB", "").Trim(), CultureInfo.InvariantCulture) << 10;
    }
}
