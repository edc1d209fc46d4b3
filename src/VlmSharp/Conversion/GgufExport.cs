using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Quantized;
using VlmSharp.Models;

namespace VlmSharp.Conversion;

/// <summary>How a model is written.</summary>
/// <param name="Text">Types of the language model's tensors.</param>
/// <param name="Vision">Types of tower and merger; null for those that lose nothing that matters: f32 with f32, f16 with f16, else bf16.</param>
/// <param name="Importance">What an error in each column counts; null where all count the same.</param>
public sealed record GgufExportOptions(Recipe Text, Recipe? Vision = null, Importance? Importance = null);

/// <summary>What was written.</summary>
/// <param name="LanguageModel">Path of the language model.</param>
/// <param name="Projector">Path of tower and merger.</param>
/// <param name="Types">For each file and type the number of tensors, of values and of bytes.</param>
/// <param name="Notes">What is not as was asked for: tensors of other types, settings without a key.</param>
public sealed record GgufExportReport(
    string LanguageModel,
    string Projector,
    IReadOnlyList<(string File, GgmlType Type, int Tensors, long Values, long Bytes)> Types,
    IReadOnlyList<string> Notes
);

/// <summary>Writes a checkpoint as a pair of GGUF files, as llama.cpp publishes them: the language model, and tower and merger.</summary>
public static class GgufExport
{
    const string Suffix = ".gguf";

    /// <summary>The path of the projector that belongs to a language model: beside it, named after it.</summary>
    public static string ProjectorOf(string languageModel) =>
        Path.Combine(
            Path.GetDirectoryName(Path.GetFullPath(languageModel))!,
            $"mmproj-{Path.GetFileName(languageModel)}"
        );

    /// <summary>Refuses what <see cref="Write"/> would refuse, short of reading the weights: for those who have work to do before it.</summary>
    /// <inheritdoc cref="Write"/>
    public static void Check(Checkpoint checkpoint, string target, GgufExportOptions options) =>
        Plan(checkpoint, target, options);

    static List<GgufPlan> Plan(Checkpoint checkpoint, string target, GgufExportOptions options)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        ArgumentNullException.ThrowIfNull(options);
        if (!target.EndsWith(Suffix, StringComparison.OrdinalIgnoreCase))
        {
            throw new IOException($"{target} does not end in {Suffix}: name the language model's file");
        }

        if (checkpoint.HasPanels)
        {
            throw new CheckpointException(
                checkpoint.Directory,
                "is packed for this program: take the checkpoint it was made of"
            );
        }

        foreach (string path in (string[])[target, ProjectorOf(target)])
        {
            if (Path.Exists(path))
            {
                throw new IOException($"{path} is there already; remove it or choose another name");
            }
        }

        return checkpoint.Gguf is [var first, var second]
            ? GgufPlan.OfPair(first, second, checkpoint, options)
            : GgufPlan.OfCheckpoint(checkpoint, Path.GetFileNameWithoutExtension(target), options);
    }

    /// <summary>Writes both files. Each appears when it is complete, the language model last.</summary>
    /// <param name="checkpoint">
    /// A Qwen2-VL, Qwen2.5-VL or Qwen3-VL that is not quantised, in any layout that can be opened. Of a pair of GGUF files all keys are kept.
    /// </param>
    /// <param name="target">Path of the language model, which ends in <c>.gguf</c>.</param>
    /// <param name="options">Types.</param>
    /// <param name="pool">Threads to pack with.</param>
    /// <param name="progress">Told the share of values done, 0 to 1.</param>
    /// <exception cref="CheckpointException">The checkpoint is of another architecture, quantised, or has something the format cannot say.</exception>
    /// <exception cref="IOException">A file is there already, or cannot be written.</exception>
    public static GgufExportReport Write(
        Checkpoint checkpoint,
        string target,
        GgufExportOptions options,
        WorkerPool pool,
        IProgress<double>? progress = null
    )
    {
        List<GgufPlan> plans = Plan(checkpoint, target, options);
        string projector = ProjectorOf(target);
        long total = plans.Sum(plan => plan.Tensors.Sum(tensor => tensor.Values));
        long done = 0;
        RowEncoder encoder = new(pool);
        foreach ((GgufPlan plan, string path) in plans.Zip((string[])[projector, target]))
        {
            foreach (PlannedTensor tensor in plan.Tensors)
            {
                float[] importance = plan.Importance?.Find(tensor) ?? [];
                plan.Writer.Tensor(
                    tensor.Name,
                    tensor.Type,
                    tensor.Shape,
                    stream =>
                    {
                        tensor.Write(encoder, importance, stream);
                        checkpoint.ReleasePages();
                        progress?.Report((double)(done += tensor.Values) / total);
                    }
                );
            }

            plan.Writer.Save(path);
        }

        return new GgufExportReport(
            target,
            projector,
            [
                .. plans
                    .Zip((string[])[projector, target])
                    .Reverse()
                    .SelectMany(pair =>
                        pair.First.Tensors.GroupBy(tensor => tensor.Type)
                            .OrderByDescending(type => type.Sum(tensor => tensor.Bytes))
                            .Select(type =>
                                (
                                    Path.GetFileName(pair.Second),
                                    type.Key,
                                    type.Count(),
                                    type.Sum(tensor => tensor.Values),
                                    type.Sum(tensor => tensor.Bytes)
                                )
                            )
                    ),
            ],
            [.. plans.SelectMany(plan => plan.Notes)]
        );
    }
}

/// <summary>A tensor that will be written.</summary>
/// <param name="Name">Its GGUF name.</param>
/// <param name="Shape">Outermost dimension first.</param>
/// <param name="Type">How it is stored.</param>
/// <param name="Rows">Its values.</param>
/// <param name="Stored">The tensor itself where a file has it in this type already.</param>
sealed record PlannedTensor(string Name, int[] Shape, GgmlType Type, IRowSource Rows, GgufTensor? Stored = null)
{
    public long Values => (long)Rows.Rows * Rows.Columns;

    public long Bytes => Values / Type.BlockValues() * Type.BlockBytes();

    /// <summary>Writes the blocks.</summary>
    public void Write(RowEncoder encoder, float[] importance, Stream target)
    {
        const int valuesAtOnce = 1 << 24; // whole blocks
        if (Stored is null)
        {
            int columns = Shape.Length > 0 ? Shape[^1] : 1;
            encoder.Encode(Name, Rows, columns, Type, importance, (_, _, blocks) => target.Write(blocks));
            return;
        }

        for (long first = 0; first < Values; first += valuesAtOnce)
        {
            target.Write(Stored.Bytes(first, Math.Min(valuesAtOnce, Values - first)));
        }
    }
}

/// <summary>A file that will be written.</summary>
/// <param name="Writer">With its metadata.</param>
/// <param name="Importance">Of its columns, where it is known.</param>
sealed record GgufPlan(GgufWriter Writer, Importance? Importance)
{
    public List<PlannedTensor> Tensors { get; } = [];

    public List<string> Notes { get; } = [];

    /// <summary>Tower and merger, then the language model, of a checkpoint directory.</summary>
    public static List<GgufPlan> OfCheckpoint(Checkpoint checkpoint, string name, GgufExportOptions options)
    {
        GgufFamily family = checkpoint.Architecture switch
        {
            Qwen2VL.Architecture => GgufFamily.Qwen2VL,
            Qwen25VL.Architecture => GgufFamily.Qwen25VL,
            Qwen3VL.Architecture or Qwen3VL.MixedArchitecture => GgufFamily.Qwen3VL,
            var other => throw checkpoint.Config.Error(
                "architectures",
                $"is '{other}'; {Qwen2VL.Architecture}, {Qwen25VL.Architecture}, {Qwen3VL.Architecture} and {Qwen3VL.MixedArchitecture} are converted"
            ),
        };
        if (checkpoint.Quantization is { } quantization)
        {
            throw new CheckpointException(
                checkpoint.Directory,
                $"is quantised already ({quantization}); take the checkpoint it was made from"
            );
        }

        // Reads the whole config and refuses what no build can run.
        ModelInfo described = ModelRegistry.Describe(checkpoint);
        CheckEmbedding(checkpoint, described.Vocabulary);
        GgufKeys keys = new(checkpoint, family);
        RecipeModel model = RecipeModel.Read(checkpoint.Config, options.Importance is not null);
        Recipe tower = options.Vision ?? Tower(options.Text);
        GgufPlan vision = new(keys.Projector(name, tower), null);
        GgufPlan text = new(keys.LanguageModel(name, options.Text), options.Importance);
        bool hasHead = false;
        foreach (
            TensorInfo info in checkpoint
                .Tensors.OrderBy(t => GgufNames.Layer(t.Name))
                .ThenBy(t => t.Name, StringComparer.Ordinal)
        )
        {
            CheckSize(info.File, info.Name, info.Shape, info.Count);
            CheckpointTensor tensor = checkpoint.Get(info.Name, info.Shape);
            bool head = info.Name == "lm_head.weight";
            hasHead |= head;
            if (head && model.TiedHead)
            {
                text.Notes.Add("lm_head.weight is left out: the config ties the head to the embedding");
            }
            else if (head)
            {
                text.AddText("output.weight", info.Shape, new TensorRows(tensor), options.Text, model);
            }
            else if (Behind(info.Name, "model.visual.", "visual.") is { } seen)
            {
                vision.AddVision(seen, info, tensor, keys, tower);
            }
            else
            {
                string read =
                    Behind(info.Name, "model.language_model.", "language_model.model.", "model.")
                    ?? throw Unknown(info);
                if (!text.TryAddExperts(read, info, tensor, options.Text, model))
                {
                    string gguf = GgufNames.OfDecoder(read) ?? throw Unknown(info);
                    text.AddText(gguf, info.Shape, new TensorRows(tensor), options.Text, model);
                }
            }
        }

        if (!hasHead && !model.TiedHead)
        {
            throw new CheckpointException(
                checkpoint.Directory,
                "has no tensor 'lm_head.weight', and its config does not tie the head to the embedding"
            );
        }

        text.Notes.AddRange(keys.Losses());
        return [vision, text];
    }

    /// <summary>Projector, then the language model, of a pair of GGUF files: with all its keys, but other types.</summary>
    public static List<GgufPlan> OfPair(
        GgufFile file,
        GgufFile projector,
        Checkpoint checkpoint,
        GgufExportOptions options
    )
    {
        RecipeModel model = RecipeModel.Read(checkpoint.Config, options.Importance is not null);
        GgufPlan vision = new(Keys(projector, options.Vision), null);
        foreach (GgufTensor tensor in projector.Tensors.Values)
        {
            GgmlType wanted = tensor.Type;
            GgmlType type = options.Vision?.Vision(tensor.Name, tensor.Shape, out wanted) ?? tensor.Type;
            vision.Add(tensor, type, wanted);
        }

        GgufPlan text = new(Keys(file, options.Text), options.Importance);
        foreach (GgufTensor tensor in file.Tensors.Values)
        {
            GgmlType type = options.Text.Text(tensor.Name, tensor.Shape, model, out GgmlType wanted);
            text.Add(tensor, type, wanted);
        }

        return [vision, text];
    }

    // f32 and f16 lose nothing that matters against themselves; bf16 has the range of anything.
    static Recipe Tower(Recipe text) => text.Name is "f32" or "f16" ? text : Recipe.Find("bf16")!;

    void Add(GgufTensor tensor, GgmlType type, GgmlType wanted)
    {
        CheckSize(tensor.File, tensor.Name, tensor.Shape, tensor.Count);
        if (tensor.Type.BlockValues() > 1 && tensor.Type != type)
        {
            throw new CheckpointException(
                tensor.File,
                $"tensor {Quote.Name(tensor.Name)} is {tensor.Type}: packing it again to {type} would add one error to another; take a file in f32, f16 or bf16"
            );
        }

        Add(tensor.Name, tensor.Shape, new GgufRows(tensor), type, wanted, tensor.Type == type ? tensor : null);
    }

    static GgufWriter Keys(GgufFile file, Recipe? recipe)
    {
        const string fileType = "general.file_type";
        string[] left = [fileType, "general.alignment", "general.quantization_version"];
        GgufWriter writer = new();
        foreach ((string key, GgufValue value) in file.Metadata.Where(pair => !left.Contains(pair.Key)))
        {
            writer.Add(key, value);
        }

        if (recipe is not null)
        {
            writer.Add(fileType, (uint)recipe.FileType);
        }
        else if (file.Metadata.TryGetValue(fileType, out GgufValue? type))
        {
            writer.Add(fileType, type);
        }

        return writer.Add("general.quantization_version", 2u);
    }

    void AddVision(string published, TensorInfo info, CheckpointTensor tensor, GgufKeys keys, Recipe recipe)
    {
        if (published == "patch_embed.proj.weight")
        {
            if (info.Shape is not [int width, int channels, 2, int rows, int columns])
            {
                throw new CheckpointException(
                    info.File,
                    $"tensor {Quote.Name(info.Name)} has shape {TensorInfo.Text(info.Shape)}, expected two frames in the third of five dimensions"
                );
            }

            for (int frame = 0; frame < 2; frame++)
            {
                string part = frame == 0 ? "v.patch_embd.weight" : "v.patch_embd.weight.1";
                AddVision(part, [width, channels, rows, columns], new FrameRows(tensor, frame), recipe);
            }

            return;
        }

        string gguf = GgufNames.OfTower(keys.Family, published, keys.DeepStack) ?? throw Unknown(info);
        if (keys.Family == GgufFamily.Qwen3VL || !gguf.Contains(".attn_qkv."))
        {
            AddVision(gguf, info.Shape, new TensorRows(tensor), recipe);
            return;
        }

        int third = info.Shape[0] % 3 == 0 ? info.Shape[0] / 3 : throw Uneven(info, 3);
        for (int i = 0; i < 3; i++)
        {
            string part = gguf.Replace(".attn_qkv.", $".attn_{"qkv"[i]}.");
            TensorRows rows = new(tensor.Rows(i * third, third));
            AddVision(part, [third, .. info.Shape.AsSpan(1)], rows, recipe);
        }
    }

    // Gate and up of all experts side by side, or down: [experts, inputs, outputs].
    bool TryAddExperts(string published, TensorInfo info, CheckpointTensor tensor, Recipe recipe, RecipeModel model)
    {
        string? part = Behind(published[(published.LastIndexOf('.') + 1)..], "gate_up_proj", "down_proj");
        if (part is null || !published.Contains(".experts.") || info.Shape is not [int experts, int inputs, int all])
        {
            return false;
        }

        string[] names = published.EndsWith("gate_up_proj", StringComparison.Ordinal) ? ["gate", "up"] : ["down"];
        int outputs = all % names.Length == 0 ? all / names.Length : throw Uneven(info, names.Length);
        for (int i = 0; i < names.Length; i++)
        {
            string gguf = $"blk.{GgufNames.Layer(published)}.ffn_{names[i]}_exps.weight";
            AddText(gguf, [experts, outputs, inputs], new ExpertRows(tensor, i * outputs, outputs), recipe, model);
        }

        return true;
    }

    void AddText(string name, int[] shape, IRowSource rows, Recipe recipe, RecipeModel model)
    {
        GgmlType type = recipe.Text(name, shape, model, out GgmlType wanted);
        Add(name, shape, rows, type, wanted);
    }

    void AddVision(string name, int[] shape, IRowSource rows, Recipe recipe)
    {
        GgmlType type = recipe.Vision(name, shape, out GgmlType wanted);
        Add(name, shape, rows, type, wanted);
    }

    void Add(string name, int[] shape, IRowSource rows, GgmlType type, GgmlType wanted, GgufTensor? stored = null)
    {
        Tensors.Add(new PlannedTensor(name, shape, type, rows, stored));
        if (type != wanted)
        {
            Notes.Add($"{name} {TensorInfo.Text(shape)} is {type}: its rows are no whole blocks of {wanted}");
        }
    }

    static string? Behind(string name, params ReadOnlySpan<string> prefixes)
    {
        foreach (string prefix in prefixes)
        {
            if (name.StartsWith(prefix, StringComparison.Ordinal))
            {
                return name[prefix.Length..];
            }
        }

        return null;
    }

    // The vocabulary is written row by row, before any tensor is.
    static void CheckEmbedding(Checkpoint checkpoint, int rows)
    {
        TensorInfo? embedding = checkpoint.Tensors.FirstOrDefault(t => t.Name.EndsWith("embed_tokens.weight"));
        if (embedding?.Shape is not [int found, _] || found != rows)
        {
            throw new CheckpointException(
                embedding?.File ?? checkpoint.Directory,
                $"{(embedding is null ? "has no embedding (embed_tokens.weight)" : $"the embedding has shape {TensorInfo.Text(embedding.Shape)}")}, {checkpoint.Config.File} says vocab_size {rows}"
            );
        }
    }

    // Rows and columns are counted with 32 bits, whichever dimensions they are made of.
    static void CheckSize(string file, string name, int[] shape, long count)
    {
        const long most = 1 << 28;
        if (count == 0 || Array.Exists(shape, dimension => shape.Length > 1 && count / dimension > most))
        {
            throw new CheckpointException(
                file,
                $"tensor {Quote.Name(name)} has shape {TensorInfo.Text(shape)}: no part of a model is empty or so large"
            );
        }
    }

    static CheckpointException Uneven(TensorInfo info, int parts) =>
        new(
            info.File,
            $"tensor {Quote.Name(info.Name)} has shape {TensorInfo.Text(info.Shape)}, which is not {parts} parts of the same size"
        );

    static CheckpointException Unknown(TensorInfo info) =>
        new(info.File, $"tensor {Quote.Name(info.Name)} {TensorInfo.Text(info.Shape)} has no name in GGUF files");
}
