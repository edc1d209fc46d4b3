using System.CommandLine;
using System.Diagnostics;
using Spectre.Console;
using VlmSharp.Engine;
using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;
using VlmSharp.Kernels;
using VlmSharp.Media.Images;
using VlmSharp.Models;
using VlmSharp.Tensors;
using VlmSharp.Text;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm inspect</c>: what a checkpoint is, and what a picture would cost, without loading weights.</summary>
static class InspectCommand
{
    const int AnswerTokens = 256;

    public static Command Create()
    {
        CommonOptions common = new();
        Option<string[]> images = new("--image")
        {
            Description = "Also show what becomes of this picture; may be repeated.",
            HelpName = "FILE",
        };
        Command command = new(
            "inspect",
            "Show architecture, sizes, parameters, memory and tokenizer; for pictures size, grid, tokens, memory and time."
        );
        common.AddModelTo(command);
        command.Options.Add(images);
        command.Options.Add(common.MinPixels);
        command.Options.Add(common.MaxPixels);
        command.SetAction(parsed => Terminal.Guard(() => Run(parsed, common, parsed.GetValue(images) ?? [])));
        return command;
    }

    static int Run(ParseResult parsed, CommonOptions common, string[] images)
    {
        int threads = common.ThreadCount(parsed) ?? Environment.ProcessorCount;
        PixelLimits limits = common.Limits(parsed);
        string path = parsed.GetRequiredValue(common.Model).FullName;
        if (path.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase) && File.Exists(path))
        {
            // Files of other models, and projectors alone, can be looked at too.
            using GgufFile file = GgufFile.Open(path);
            GgufSummary.Write(file);
            if (file.Architecture is not ("qwen2vl" or "qwen3vl" or "qwen3vlmoe"))
            {
                return 0;
            }
        }

        using Checkpoint checkpoint = Checkpoint.Open(path, parsed.GetValue(common.Projector)?.FullName);
        if (common.Packing(parsed) is { } packing)
        {
            checkpoint.PackTo(packing);
        }

        if (checkpoint.Gguf is [_, var projector])
        {
            GgufSummary.Write(projector);
        }

        ModelInfo model = ModelRegistry.Describe(checkpoint);
        Tokenizer tokenizer = Tokenizer.Load(checkpoint);

        Table table = NewTable();
        AttentionShape heads = model.Attention;
        string storage = string.Join(
            ", ",
            checkpoint
                .Tensors.GroupBy(t => t.Type)
                .OrderByDescending(g => g.Sum(t => t.Size))
                .Select(g => $"{g.Key.ToString().ToLowerInvariant()} {MemoryPlan.Size(g.Sum(t => t.Size))}")
        );
        Row(table, "architecture", model.Architecture);
        string active =
            model.ActiveTextParameters < model.TextParameters
                ? $", of which {model.ActiveTextParameters:n0} work on a token"
                : "";
        Row(
            table,
            "parameters",
            $"{model.VisionParameters + model.TextParameters:n0} (vision {model.VisionParameters:n0}, text {model.TextParameters:n0}{active})"
        );
        Row(table, "weights", storage);
        if (checkpoint.Quantization is { } quantization)
        {
            Row(table, "quantised", $"{quantization}; about {MemoryPlan.Size(model.WeightBytes)} when loaded");
        }

        Row(table, "vision tower", $"{model.Tower.Depth} blocks, {model.Tower.Width} wide, {model.Tower.Heads} heads");
        Row(
            table,
            "decoder",
            $"{model.Layers} layers, {model.Hidden} wide, {heads.Heads} query and {heads.KvHeads} key heads of {heads.HeadDim}"
        );
        Row(table, "positions", $"{model.MaxPositions:n0}");
        Row(table, "vocabulary", $"{model.Vocabulary:n0} rows, the tokenizer uses {tokenizer.VocabularySize:n0}");
        Row(
            table,
            "end tokens",
            string.Join(", ", checkpoint.Generation.StopIds.Select(id => $"{id} {tokenizer.Decode([id])}"))
        );
        Row(
            table,
            "cache",
            string.Join(
                ", ",
                Enum.GetValues<KvStorage>()
                    .Select(s =>
                        $"{CommonOptions.Name(s)} {MemoryPlan.Size(KvCache.BytesPerToken(model.Layers, heads.Layout(s)))}"
                    )
            ) + " a token"
        );
        Row(table, "memory, 4096 tokens", Describe(Plan(model, Math.Min(4096, model.MaxPositions), [])));
        Row(table, "kernels", string.Join(", ", KernelTables.All.Select(k => k.ActiveName).Distinct()));
        Terminal.Out.Write(table);

        if (images.Length > 0)
        {
            using WorkerPool pool = new(threads);
            double rate = MultiplyRate(pool);
            foreach (string image in images)
            {
                Inspect(image, model, limits, rate);
            }
        }

        return 0;
    }

    static void Inspect(string path, ModelInfo model, PixelLimits limits, double rate)
    {
        ImageInfo info = ImageDecoder.ReadInfo(File.ReadAllBytes(CommonOptions.PictureFile(path)), path);
        MediaPlan plan = model.Processor.Plan(new MediaShape(MediaKind.Image, info.Width, info.Height), limits);
        double tower = model.TowerOperations(plan.Grid);
        double decoder = 2.0 * model.ActiveTextParameters * plan.Tokens;
        Table table = NewTable();
        Row(
            table,
            path,
            $"{info.Format}, {info.Width}x{info.Height}{(info.Orientation > 1 ? ", turned upright" : "")}"
        );
        Row(table, "seen as", $"{plan.ResizedWidth}x{plan.ResizedHeight}");
        Row(table, "grid (t, h, w)", $"{plan.Grid.T}, {plan.Grid.H}, {plan.Grid.W}");
        string tooMany =
            plan.Tokens < model.MaxPositions
                ? ""
                : $", but the model has only {model.MaxPositions:n0} positions: lower --max-pixels";
        Row(table, "visual tokens", $"{plan.Tokens:n0}{tooMany}");
        Row(table, $"memory, {AnswerTokens} more tokens", Describe(Plan(model, plan.Tokens + AnswerTokens, [plan])));
        Row(
            table,
            "time to the answer",
            $"about {Seconds((tower + decoder) / rate)} s: {Giga(tower)} GFLOP vision, {Giga(decoder)} GFLOP text, at {rate / 1e9:f0} GFLOP/s measured here"
        );
        Terminal.Out.Write(table);
    }

    static string Giga(double operations) => operations < 100e9 ? $"{operations / 1e9:g3}" : $"{operations / 1e9:n0}";

    static string Seconds(double time) => time < 10 ? $"{time:g2}" : $"{time:n0}";

    /// <summary>As the other commands do by default.</summary>
    static MemoryPlan Plan(ModelInfo model, int tokens, IReadOnlyCollection<MediaPlan> media) =>
        MemoryPlan.For(model, tokens, 512, media, CpuOps.DefaultCacheStorage(mayRound: true));

    static string Describe(MemoryPlan plan) => $"{MemoryPlan.Size(plan.Total)}: {plan}";

    /// <summary>Multiplications and additions a second of a matrix product of a common shape.</summary>
    static double MultiplyRate(WorkerPool pool)
    {
        const int rows = 256;
        const int width = 1024;
        using PackedMatrix weights = new(width, width, ElementType.BF16);
        float[] x = new float[rows * width];
        float[] y = new float[rows * width];
        double best = 0;
        for (int run = 0; run < 8; run++)
        {
            Stopwatch watch = Stopwatch.StartNew();
            MatMul.Apply(x, width, weights, [], y, width, rows, pool, mayRound: true);
            best = Math.Max(best, 2.0 * rows * width * width / watch.Elapsed.TotalSeconds);
        }

        return best;
    }

    internal static Table NewTable() =>
        new Table().HideHeaders().Border(TableBorder.None).AddColumn(new TableColumn("").NoWrap()).AddColumn("");

    internal static void Row(Table table, string name, string value) =>
        table.AddRow(Markup.Escape(name), Markup.Escape(value));
}
