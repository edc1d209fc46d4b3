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
/// <param name="MemoryBytes">Memory of the process, without files that are mapped; of load, the most there was, with them.</param>
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
    readonly Dictionary<WeightFormat, double> layers = []; // weights of the decoder's layers that a token is multiplied with
    readonly WeightSize head;
    readonly double decodedBytes; // that are read for each token
    readonly bool dots; // whether the kernels in use have dot products, and may round for them
    readonly WeightFormat main; // of most weights of the decoder
    readonly WeightFormat tower;

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
        dots = ops.MayRound && KernelTables.All.Any(t => t is { Name: "matmul", ActiveName: "avx512dot" });
        List<WeightSize> text = [.. checkpoint.Weights.Where(w => !w.Name.Contains("visual."))];
        tower = Most(checkpoint.Weights.Except(text));
        int embedding = text.FindIndex(w => w.Name.EndsWith("embed_tokens.weight") || w.Name.EndsWith(".wte.weight"));
        int output = text.FindIndex(w => w.Name == "lm_head.weight");
        head = text[output >= 0 ? output : embedding];
        WeightSize looked = text[embedding]; // of which a token needs one row
        text.RemoveAll(w => w == head || w == looked);
        double active = (double)(info.ActiveTextParameters - head.Count) / (info.TextParameters - head.Count);
        foreach (WeightSize weight in text)
        {
            layers[weight.Format] = layers.GetValueOrDefault(weight.Format) + (weight.Count * active);
        }

        main = Most(text);
        decodedBytes = (text.Sum(w => (double)w.LoadedBytes) * active) + head.LoadedBytes;
        weights = checkpoint.Packing?.Name ?? main.ToString().ToLowerInvariant();
    }

    static WeightFormat Most(IEnumerable<WeightSize> weights) =>
        weights.GroupBy(w => w.Format).MaxBy(group => group.Sum(w => w.Count))?.Key ?? WeightFormat.F32;

    string Limit(WeightFormat format) =>
        !dots ? "fma"
        : format == WeightFormat.BF16 ? "bf16dot"
        : format == WeightFormat.F8 ? "fma"
        : format.BlockColumns() > 1 ? "int8dot"
        : "fma";

    /// <summary>Loading took so long; its memory is the most there was meanwhile, pages of files included.</summary>
    public SpeedResult Load(TimeSpan time, long peak) =>
        new("load", weights, 0, 0, ops.Pool.Threads, time.TotalSeconds, null, null, peak);

    /// <summary>Forgets how much memory there was at most so far.</summary>
    public static void ForgetPeak()
    {
        const string file = "/proc/self/clear_refs";
        if (File.Exists(file))
        {
            File.WriteAllText(file, "5");
        }
    }

    /// <summary>The most memory there was.</summary>
    public static long Peak() => Status("VmHWM:") ?? Environment.WorkingSet;

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
        Dictionary<string, double> operations = [];
        // Behind attention the last layer goes on with one token, if it has no experts.
        double all = layers.Values.Sum();
        AttentionShape heads = info.Attention;
        double qkv = (double)info.Hidden * (heads.Heads + (2 * heads.KvHeads)) * heads.HeadDim;
        double left = info.ActiveTextParameters < info.TextParameters ? 0 : ((all / info.Layers) - qkv) / all;
        foreach ((WeightFormat format, double count) in layers)
        {
            Add(operations, Limit(format), 2 * count * (tokens - (left * (tokens - 1))));
        }

        Add(operations, Limit(head.Format), 2.0 * head.Count);
        Add(operations, dots ? "bf16dot" : "fma", 4 * pairs * heads.Heads * heads.HeadDim * info.Layers);
        return Result("prefill", Limit(main), tokens, seconds, operations);
    }

    static void Add(Dictionary<string, double> operations, string limit, double count) =>
        operations[limit] = operations.GetValueOrDefault(limit) + count;

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
        double bytes = decodedBytes + cache; // for each token
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
        Dictionary<string, double> operations = new()
        {
            [Limit(tower)] = model.Info.TowerOperations(prepared.Plan.Grid),
        };
        return Result("encode", Limit(tower), prepared.Plan.Tokens, seconds, operations) with { Picture = size };
    }

    // operations: how many are done by which instruction; limit names the one that most are done by
    SpeedResult Result(string name, string limit, int tokens, double seconds, Dictionary<string, double> operations)
    {
        double atBest = operations.Sum(o =>
            o.Value
            / o.Key switch
            {
                "int8dot" => MachineLimits.Int8Dot(ops.Pool),
                "bf16dot" => MachineLimits.Bf16Dot(ops.Pool),
                _ => MachineLimits.MultiplyAdd(ops.Pool),
            }
        );
        return new(name, weights, tokens, 0, ops.Pool.Threads, seconds, limit, atBest / seconds, Memory());
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
    static long Memory() => Status("RssAnon:") ?? Environment.WorkingSet;

    static long? Status(string field)
    {
        string? line = File.Exists("/proc/self/status")
            ? File.ReadLines("/proc/self/status").FirstOrDefault(l => l.StartsWith(field, StringComparison.Ordinal))
            : null;
        return line is null
            ? null
            : long.Parse(line[field.Length..].Replace("kB", "").Trim(), CultureInfo.InvariantCulture) << 10;
    }
}
