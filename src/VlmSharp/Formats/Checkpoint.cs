using VlmSharp.Formats.Gguf;
using VlmSharp.Formats.Quantized;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Quantized;
using VlmSharp.Text;

namespace VlmSharp.Formats;

/// <summary>
/// A checkpoint directory as published on Hugging Face, or a pair of GGUF files: configs read, weights memory-mapped, everything structural
/// checked.
/// </summary>
/// <remarks>
/// <para>Ownership: the checkpoint owns the memory maps. Tensors and spans borrowed from it end with <see cref="Dispose"/>; whoever keeps weights
/// longer copies or packs them first. The files must not be truncated in place while it is open; see <see cref="Kernels.MappedFile"/>.</para>
/// <para>Every weight is accounted for: a model takes each with <see cref="Get"/> or names it with <see cref="Ignore"/>, and ends with
/// <see cref="ThrowIfUnused"/>. <see cref="Get"/> may be called from several threads.</para>
/// </remarks>
public sealed class Checkpoint : IDisposable
{
    readonly ICheckpointFile[] files;
    readonly string weights;
    readonly Dictionary<string, Weight> tensors = new(StringComparer.Ordinal);
    readonly Dictionary<string, string> ignored = new(StringComparer.Ordinal);
    readonly JsonObjectReader? processorFile;
    readonly JsonObjectReader? videoProcessorFile;
    readonly List<IWeightChange> changes = [];
    (Recipe Recipe, RecipeModel Model)? packing;
    ProcessorConfig? processor;
    ProcessorConfig? videoProcessor;

    Checkpoint(string directory)
    {
        Directory = directory;
        Config = JsonObjectReader.Open(Path.Combine(directory, "config.json"));
        string[] architectures = Config.Texts("architectures", 16);
        Architecture =
            architectures.Length > 0
                ? architectures[0]
                : throw Config.Error("architectures", "is empty, expected the model's class");
        Generation = GenerationConfig.Read(JsonObjectReader.OpenOptional(directory, "generation_config.json"), Config);
        processorFile = JsonObjectReader.OpenOptional(directory, "preprocessor_config.json");
        videoProcessorFile =
            JsonObjectReader.OpenOptional(directory, "video_preprocessor_config.json") ?? processorFile;
        (ChatTemplate, ChatTemplateFile) = ChatTemplates.Find(directory);
        Quantization = Quantization.Read(Config, JsonObjectReader.OpenOptional(directory, "quantize_config.json"));

        // Last, so that nothing else can fail while the maps are open.
        (SafetensorsFile[] shards, weights) = WeightFiles.Open(directory);
        files = shards;
        foreach (SafetensorsFile file in shards)
        {
            foreach (TensorInfo tensor in file.Tensors)
            {
                // An index lists each tensor once and the shards were held against it.
                tensors.Add(tensor.Name, new Weight(file, tensor));
            }
        }

        Tensors = [.. tensors.Values.Select(weight => weight.Info)];
        HasPanels = shards is [var only] && PackedTensor.IsIn(only);
        Weights =
        [
            .. Tensors.Select(tensor =>
                HasPanels && tensor.Type == SafetensorsType.U8
                    ? PackedTensor.Size(shards[0], tensor)
                    : Quantization?.SizeOf(tensor)
                        ?? new WeightSize(tensor.Name, tensor.Count, tensor.Size, tensor.Format)
            ),
        ];
    }

    Checkpoint(GgufModel model)
    {
        Directory = model.File.FullPath;
        Gguf = [model.File, model.Projector];
        files = [model.File, model.Projector];
        weights = $"{model.File.Name} with {model.Projector.Name}";
        (Config, Architecture, Generation) = (model.Config, model.Architecture, model.Generation);
        (processorFile, videoProcessorFile) = (model.Processor, model.VideoProcessor);
        (ChatTemplate, ChatTemplateFile) = (model.ChatTemplate, model.File.Name);
        foreach ((TensorInfo info, GgufWeight weight) in model.Weights)
        {
            tensors.Add(info.Name, new Weight(weight, info));
        }

        Tensors = [.. tensors.Values.Select(weight => weight.Info)];
        Weights =
        [
            .. model.Weights.Select(weight => new WeightSize(
                weight.Info.Name,
                weight.Info.Count,
                weight.Weight.LoadedBytes(weight.Info),
                weight.Weight.Blocks?.Format() ?? weight.Info.Format
            )),
        ];
    }

    /// <summary>The directory, as it was given; the language model's file where the checkpoint is a pair of GGUF files.</summary>
    public string Directory { get; }

    /// <summary>The language model and its projector where the checkpoint is a pair of GGUF files, otherwise empty.</summary>
    public IReadOnlyList<GgufFile> Gguf { get; } = [];

    /// <summary><c>config.json</c>, or what the metadata of GGUF files would be there; the model reads its own part.</summary>
    public JsonObjectReader Config { get; }

    /// <summary>The class that wrote the checkpoint: <c>architectures[0]</c> of the config, such as <c>Qwen2VLForConditionalGeneration</c>.</summary>
    public string Architecture { get; }

    /// <summary>Stop tokens and sampling settings.</summary>
    public GenerationConfig Generation { get; }

    /// <summary>How pictures are prepared, or null where the checkpoint has no <c>preprocessor_config.json</c>.</summary>
    /// <remarks>Read when first asked for: other families' files have the same names and other fields.</remarks>
    /// <exception cref="CheckpointException">The file is wrong, or not of the Qwen2-VL line.</exception>
    public ProcessorConfig? Processor =>
        processor ??= processorFile is null ? null : ProcessorConfig.Read(processorFile);

    /// <summary>How videos are prepared: <c>video_preprocessor_config.json</c>, or the pictures' settings where there is no such file.</summary>
    /// <exception cref="CheckpointException">As for <see cref="Processor"/>.</exception>
    public ProcessorConfig? VideoProcessor =>
        videoProcessor ??= videoProcessorFile is null ? null : ProcessorConfig.Read(videoProcessorFile);

    /// <summary>The chat template's source, or null where the checkpoint has none.</summary>
    public string? ChatTemplate { get; }

    /// <summary>The name of the file <see cref="ChatTemplate"/> stands in, for messages about it.</summary>
    public string? ChatTemplateFile { get; }

    /// <summary>How quantised layers are stored, or null where the checkpoint says nothing about it.</summary>
    public Quantization? Quantization { get; }

    /// <summary>Whether matrices lie in the file as they lie in memory, in the order in which the model takes them: <see cref="Panels"/>.</summary>
    public bool HasPanels { get; }

    /// <summary>What each tensor stands for once it is loaded; packed weights are counted one by one.</summary>
    public IReadOnlyList<WeightSize> Weights { get; private set; }

    /// <summary>All tensors of all files, under their published names; sizes and types are those they are read as.</summary>
    public IReadOnlyCollection<TensorInfo> Tensors { get; }

    /// <summary>Tensors that the model left out on purpose, with its reasons.</summary>
    public IReadOnlyDictionary<string, string> Ignored => ignored;

    /// <summary>Opens a checkpoint: reads the configs and the chat template, maps the weights and checks their headers.</summary>
    /// <param name="path">A directory, or the language model of a pair of GGUF files.</param>
    /// <param name="projector">The other file of the pair; where not given, the only <c>mmproj*.gguf</c> beside the first.</param>
    /// <exception cref="CheckpointException">A file is missing, damaged, or contradicts itself or another one.</exception>
    public static Checkpoint Open(string path, string? projector = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (GgufModel.IsFile(path))
        {
            return new Checkpoint(GgufModel.Open(path, projector));
        }

        return projector is not null
                ? throw new CheckpointException(projector, $"belongs to a language model in GGUF, {path} is none")
            : System.IO.Directory.Exists(path) ? new Checkpoint(path)
            : throw new CheckpointException(path, "there is no such directory");
    }

    /// <summary>Whether there is a tensor of this name.</summary>
    public bool Contains(string name) =>
        tensors.ContainsKey(name) || (HasPanels && tensors.ContainsKey(PackedTensor.Name(name, 0)));

    /// <summary>A weight of a known shape; it counts as used from then on.</summary>
    /// <param name="name">The tensor's name in the file.</param>
    /// <param name="shape">The shape that the config promises, outermost dimension first.</param>
    /// <exception cref="CheckpointException">It is missing, has another shape, or is not stored as F32, F16 or BF16.</exception>
    /// <exception cref="ObjectDisposedException">The checkpoint was disposed (when the bytes are read).</exception>
    public CheckpointTensor Get(string name, params ReadOnlySpan<int> shape)
    {
        Weight weight = Find(name, shape);
        if (!shape.SequenceEqual(weight.Info.Shape))
        {
            throw new CheckpointException(
                weight.Info.File,
                $"tensor '{name}' has shape {TensorInfo.Text(weight.Info.Shape)}, {Config.File} asks for {TensorInfo.Text(shape)}"
            );
        }

        weight.Used = true;
        bool inBlocks = (weight.File as GgufWeight)?.Blocks is not null;
        return Changes(name)
            ? Changed(new TensorRows(new CheckpointTensor(weight.File, weight.Info)), weight.Info, inBlocks)
            : new CheckpointTensor(weight.File, weight.Info);
    }

    /// <summary>Has weights changed whenever they are taken from now on, after the changes there are already.</summary>
    /// <remarks>They keep their type, to which the changed values are rounded; what is stored quantised becomes bf16.</remarks>
    /// <exception cref="CheckpointException">The weights are packed in panels, which cannot be changed.</exception>
    public void Change(IWeightChange change)
    {
        if (HasPanels)
        {
            throw new CheckpointException(
                weights,
                "is packed in panels, which cannot be changed: take the checkpoint it was made of"
            );
        }

        changes.Add(change);
    }

    /// <summary>Whether a tensor is changed when it is taken.</summary>
    internal bool Changes(string name) => changes.Exists(change => change.Changes(name));

    /// <summary>The changed matrix of a layer that is stored quantised.</summary>
    internal CheckpointTensor Changed(string name, IRowSource rows) =>
        Changed(
            rows,
            new TensorInfo(name, SafetensorsType.BF16, [rows.Rows, rows.Columns], 0, 0, 0, weights),
            quantised: true
        );

    CheckpointTensor Changed(IRowSource source, TensorInfo info, bool quantised)
    {
        SafetensorsType type = quantised ? SafetensorsType.BF16 : info.Type;
        ChangedTensor changed = new(info.File, type, Compute);
        return new CheckpointTensor(changed, new TensorInfo(info.Name, type, info.Shape, info.Count, 0, 0, info.File));

        float[] Compute()
        {
            float[] values = new float[checked(source.Rows * source.Columns)];
            source.Read(0, source.Rows, values);
            foreach (IWeightChange change in changes.Where(change => change.Changes(info.Name)))
            {
                change.Apply(info.Name, info.Shape, values);
            }

            return values;
        }
    }

    /// <summary>A tensor of a known type and shape that is part of a quantised layer; it counts as used from then on.</summary>
    /// <param name="name">The tensor's name in the file.</param>
    /// <param name="type">Its element type.</param>
    /// <param name="content">What has this shape, for messages.</param>
    /// <param name="shape">The shape.</param>
    /// <exception cref="CheckpointException">It is missing, of another type or of another shape.</exception>
    internal StoredTensor Stored(string name, SafetensorsType type, string content, params ReadOnlySpan<int> shape)
    {
        Weight weight = Find(name, shape);
        if (weight.Info.Type != type || !shape.SequenceEqual(weight.Info.Shape))
        {
            throw new CheckpointException(
                weight.Info.File,
                $"tensor {Quote.Name(name)} is {weight.Info.Type} {TensorInfo.Text(weight.Info.Shape)}, expected {type} {TensorInfo.Text(shape)}: {content}"
            );
        }

        weight.Used = true;
        return new StoredTensor(weight.File, weight.Info);
    }

    /// <summary>A matrix of a checkpoint that <see cref="HasPanels"/>; it counts as used from then on.</summary>
    /// <param name="name">The first tensor's name.</param>
    /// <param name="n">How many matrices were taken under this name before.</param>
    /// <param name="pool">Threads to read with.</param>
    /// <returns>It belongs to the caller.</returns>
    /// <exception cref="CheckpointException">It is missing or damaged.</exception>
    internal PackedMatrix Panels(string name, int n, WorkerPool pool)
    {
        Weight weight = Find(PackedTensor.Name(name, n), []);
        weight.Used = true;
        return PackedTensor.Read(Directory, weight.Info, pool);
    }

    /// <summary>What the file says about a tensor that is there.</summary>
    internal TensorInfo Info(string name) => tensors[name].Info;

    /// <summary>What matrices of the language model are packed to while they are loaded; null where they stay as they are stored.</summary>
    public Recipe? Packing => packing?.Recipe;

    /// <summary>Has the matrices of the language model packed to blocks while a model is loaded. Those that are in blocks already stay as they are.</summary>
    /// <param name="recipe">Which type each is packed to; it keeps its own where rows are no whole blocks.</param>
    /// <exception cref="CheckpointException">The config does not describe a model of the Qwen2-VL line, or nothing in it can be packed.</exception>
    public void PackTo(Recipe recipe)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        packing = (recipe, RecipeModel.Read(Config, hasImportance: false));
        int packed = 0;
        Weights =
        [
            .. Weights.Select(weight =>
            {
                if (
                    !tensors.TryGetValue(weight.Name, out Weight? found)
                    || PackedType(weight.Name, found.Info.Shape) is not { } type
                )
                {
                    return weight;
                }

                packed++;
                return weight with
                {
                    LoadedBytes = weight.Count / type.BlockValues() * type.BlockBytes(),
                    Format = type.Format()!.Value,
                };
            }),
        ];
        if (packed == 0)
        {
            throw new CheckpointException(
                Directory,
                $"has no weights that could be packed to {recipe}: {Architecture} is not of the Qwen2-VL line, its weights are in blocks already, or their rows are no whole blocks"
            );
        }
    }

    /// <summary>What a matrix is packed to while it is loaded; null where it stays as it is stored.</summary>
    /// <param name="name">The tensor's name.</param>
    /// <param name="shape">Outermost dimension first; inputs are last but in experts for x @ W, where they stand before the outputs.</param>
    internal GgmlType? PackedType(string name, params ReadOnlySpan<int> shape)
    {
        if (packing is not { } to || GgufNames.OfLanguageModel(name) is not { } gguf || shape.Length < 2)
        {
            return null;
        }

        bool inBlocks =
            tensors.TryGetValue(name, out Weight? weight) && (weight.File as GgufWeight)?.Blocks?.Format() is not null;
        int inputs = shape.Length == 3 ? shape[1] : shape[^1];
        GgmlType type = to.Recipe.Text(gguf, [shape[0], inputs], to.Model, out _);
        return !inBlocks && type.Format() is { } format && format.BlockColumns() > 1 ? type : null;
    }

    /// <summary>Says that a tensor is left out on purpose; nothing happens when it is not there.</summary>
    /// <param name="name">The tensor's name in the file.</param>
    /// <param name="reason">Why, for those who list the ignored ones: <c>tied to the embedding</c>.</param>
    public void Ignore(string name, string reason)
    {
        if (Changes(name))
        {
            throw new CheckpointException(weights, $"tensor '{name}' is changed by an adapter, but not used: {reason}");
        }

        if (tensors.TryGetValue(name, out Weight? weight))
        {
            weight.Used = true;
            ignored[name] = reason;
        }
    }

    /// <summary>Checks that every tensor was taken or ignored.</summary>
    /// <exception cref="CheckpointException">Some were not: the model would be another than the one that was trained.</exception>
    public void ThrowIfUnused()
    {
        TensorInfo[] unused = [.. tensors.Values.Where(weight => !weight.Used).Select(weight => weight.Info)];
        if (unused.Length > 0)
        {
            string names = string.Join(
                ", ",
                unused.Take(4).Select(tensor => $"{Quote.Name(tensor.Name)} {TensorInfo.Text(tensor.Shape)}")
            );
            throw new CheckpointException(
                unused[0].File,
                $"{unused.Length} of {tensors.Count} tensors have no place in {Architecture} as {Config.File} describes it: {names}{(unused.Length > 4 ? ", ..." : "")}"
            );
        }
    }

    /// <summary>Gives back the memory of what was read of the maps so far. Tensors stay usable: reading them again fetches the pages again.</summary>
    /// <remarks>Called while weights are packed, so that a model takes little more memory while it is loaded than afterwards.</remarks>
    public void ReleasePages() => Array.ForEach(files, static file => file.ReleasePages());

    /// <summary>Unmaps the weights. Tensors and spans borrowed from the checkpoint must not be used any more.</summary>
    public void Dispose() => Array.ForEach(files, static file => file.Dispose());

    Weight Find(string name, ReadOnlySpan<int> shape) =>
        tensors.TryGetValue(name, out Weight? weight) ? weight
        : Contains(name)
            ? throw new CheckpointException(
                weights,
                $"has '{name}' packed in panels, which can only be run: take the checkpoint it was made of"
            )
        : throw new CheckpointException(
            weights,
            $"has no tensor '{name}' of shape {TensorInfo.Text(shape)}{Similar(name)}"
        );

    string Similar(string name)
    {
        // A helper for people: a damaged file with a million names is not searched to the end.
        string[] closest =
        [
            .. tensors
                .Keys.Where(other => other.Length <= 256)
                .Take(4096)
                .Select(other => (Name: other, Distance: EditDistance.Of(name, other)))
                .Where(other => other.Distance <= name.Length / 2)
                .OrderBy(other => other.Distance)
                .Take(3)
                .Select(other => Quote.Name(other.Name)),
        ];
        return closest.Length > 0 ? $"; the closest names are {string.Join(", ", closest)}" : "";
    }

    sealed class Weight(ITensorBytes file, TensorInfo info)
    {
        public ITensorBytes File => file;

        public TensorInfo Info => info;

        public bool Used { get; set; }
    }
}
