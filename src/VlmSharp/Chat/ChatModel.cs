using VlmSharp.Adapters;
using VlmSharp.Chat.Replies;
using VlmSharp.Engine;
using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;
using VlmSharp.Generation;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Models.Blocks;
using VlmSharp.Tensors;
using VlmSharp.Text;
using VlmSharp.Text.Templates;

namespace VlmSharp.Chat;

/// <summary>Everything of a checkpoint that a conversation needs: model, tokenizer, template, defaults.</summary>
public sealed class ChatModel : IDisposable
{
    readonly IReadOnlyList<Linear> linears;
    readonly IReadOnlyList<Vector> vectors;
    readonly Dictionary<string, WeightAdapter> adapters = [];

    ChatModel(Checkpoint checkpoint, CpuOps ops, IProgress<double>? progress, string? templateFile)
    {
        Ops = ops;
        // The small files first: an error in one of them should not wait for gigabytes of weights.
        Defaults = checkpoint.Generation;
        Tokenizer = Tokenizer.Load(checkpoint);
        Template = ReadTemplate(checkpoint, templateFile);
        UnloadedModel unloaded = ModelRegistry.Open(checkpoint);
        MemoryPlan.For(unloaded.Info, 1, 1, [], ops.CacheStorage).ThrowIfAbove(MemoryPlan.Available);
        WeightSource weights = new(checkpoint, ops.Pool, progress);
        Model = unloaded.Load(weights);
        (linears, vectors) = (weights.Linears, weights.Vectors);
        if (Tokenizer.VocabularySize > Model.Info.Vocabulary)
        {
            throw new CheckpointException(
                checkpoint.Directory,
                $"the tokenizer knows ids up to {Tokenizer.VocabularySize - 1}, the model's vocabulary (vocab_size) has {Model.Info.Vocabulary}"
            );
        }

        Prompts = CreatePrompts(Model, Tokenizer, Template, Defaults);
    }

    static IPromptBuilder CreatePrompts(
        IVisionLanguageModel model,
        Tokenizer tokenizer,
        ChatTemplate? template,
        GenerationConfig defaults
    ) =>
        model is QwenVL first
            ? new QwenVLPromptBuilder(tokenizer, first, defaults.ChatFormat)
            : new PromptBuilder(template!, tokenizer, model);

    /// <summary>How prompts are made for a model that was loaded without <see cref="Load"/>, as one that is trained is.</summary>
    /// <param name="checkpoint">Where the model is from.</param>
    /// <param name="model">The model.</param>
    /// <param name="template">A Jinja file to use in place of the checkpoint's chat template.</param>
    /// <exception cref="CheckpointException">A file is missing or damaged.</exception>
    /// <exception cref="TemplateException">The chat template has a syntax error.</exception>
    public static IPromptBuilder CreatePrompts(
        Checkpoint checkpoint,
        IVisionLanguageModel model,
        string? template = null
    ) => CreatePrompts(model, Tokenizer.Load(checkpoint), ReadTemplate(checkpoint, template), checkpoint.Generation);

    /// <summary>Opens and loads a checkpoint.</summary>
    /// <param name="path">A directory in the published Hugging Face layout, or the language model of a pair of GGUF files.</param>
    /// <param name="threads">Threads for kernels; all processors where not given.</param>
    /// <param name="progress">Told the share of the weights that is loaded, 0 to 1.</param>
    /// <param name="template">A Jinja file to use in place of the checkpoint's chat template.</param>
    /// <param name="exact">
    /// Keeps activations in f32 throughout; else those that meet bf16 weights, and those of attention, may be rounded to bf16, as the
    /// published models do, where that is faster.
    /// </param>
    /// <param name="projector">The vision part of a pair of GGUF files; where not given, the only <c>mmproj*.gguf</c> beside the first.</param>
    /// <param name="cache">How caches store keys and values; where not given, bf16, or f32 with <paramref name="exact"/>.</param>
    /// <param name="packing">What the language model's weights are packed to on the way; where not given, they stay as the files have them.</param>
    /// <param name="adapters">Directories of adapters that are merged into the weights on the way, one after the other.</param>
    /// <exception cref="CheckpointException">A file is missing, damaged, contradicts another or asks for something unsupported.</exception>
    /// <exception cref="CacheFullException">The weights would take more memory than there is.</exception>
    /// <exception cref="TemplateException">The chat template has a syntax error.</exception>
    public static ChatModel Load(
        string path,
        int? threads = null,
        IProgress<double>? progress = null,
        string? template = null,
        bool exact = false,
        string? projector = null,
        KvStorage? cache = null,
        Recipe? packing = null,
        IReadOnlyList<string>? adapters = null
    )
    {
        WorkerPool pool = new(threads ?? Environment.ProcessorCount);
        CpuOps ops = new(pool) { MayRound = !exact, CacheStorage = cache ?? CpuOps.DefaultCacheStorage(!exact) };
        try
        {
            using Checkpoint checkpoint = Checkpoint.Open(path, projector);
            if (packing is not null)
            {
                checkpoint.PackTo(packing);
            }

            foreach (string adapter in adapters ?? [])
            {
                checkpoint.Change(new AdapterMerge(VlmSharp.Adapters.Adapter.Open(adapter), checkpoint, pool));
            }

            return new ChatModel(checkpoint, ops, progress, template);
        }
        catch
        {
            ops.Dispose();
            pool.Dispose();
            throw;
        }
    }

    /// <summary>The template; null for the one architecture that has none.</summary>
    static ChatTemplate? ReadTemplate(Checkpoint checkpoint, string? file)
    {
        if (checkpoint.Architecture == QwenVL.Architecture)
        {
            return file is null
                ? null
                : throw new CheckpointException(file, $"{QwenVL.Architecture} takes no chat template");
        }

        if (file is not null)
        {
            try
            {
                return ChatTemplate.Parse(File.ReadAllText(file), file);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new CheckpointException(file, $"cannot be read: {e.Message}");
            }
        }

        return checkpoint is { ChatTemplate: { } own, ChatTemplateFile: { } ownFile }
            ? ChatTemplate.Parse(own, ownFile)
            : throw new CheckpointException(
                checkpoint.Directory,
                checkpoint.Gguf.Count > 0
                    ? "no chat template: no key 'tokenizer.chat_template'"
                    : "no chat template: neither chat_template.jinja, chat_template.json nor one in tokenizer_config.json"
            );
    }

    /// <summary>The model.</summary>
    public IVisionLanguageModel Model { get; }

    /// <summary>Text to ids and back.</summary>
    public Tokenizer Tokenizer { get; }

    /// <summary>Messages to text; null where prompts are made without a template.</summary>
    public ChatTemplate? Template { get; }

    /// <summary>How the template tells the model to write calls of tools.</summary>
    public ToolCallFormat ToolCallFormat =>
        Template?.Source.Contains("<function=") == true ? ToolCallFormat.Qwen3Coder : ToolCallFormat.Hermes;

    /// <summary>Messages to tokens.</summary>
    public IPromptBuilder Prompts { get; }

    /// <summary>What <c>generation_config.json</c> says.</summary>
    public GenerationConfig Defaults { get; }

    /// <summary>The threads everything runs on.</summary>
    public WorkerPool Pool => Ops.Pool;

    /// <summary>The operations conversations run on.</summary>
    public CpuOps Ops { get; }

    /// <summary>The sampling the checkpoint asks for, with its end tokens.</summary>
    public SamplingOptions DefaultSampling => SamplingOptions.From(Defaults);

    /// <summary>The names of the adapters that conversations and requests can choose.</summary>
    public IReadOnlyCollection<string> Adapters => adapters.Keys;

    /// <summary>Reads an adapter and keeps it beside the weights, which stay as they are and may be quantised.</summary>
    /// <param name="directory">In PEFT's layout.</param>
    /// <param name="name">What <see cref="Adapter"/> knows it by.</param>
    /// <exception cref="CheckpointException">It cannot be read, or belongs to another model.</exception>
    /// <exception cref="ArgumentException">There is one of this name.</exception>
    public WeightAdapter LoadAdapter(string directory, string name)
    {
        if (adapters.ContainsKey(name))
        {
            throw new ArgumentException($"There is an adapter of the name '{name}' already.", nameof(name));
        }

        WeightAdapter loaded = AdapterLoader.Load(
            name,
            VlmSharp.Adapters.Adapter.Open(directory),
            linears,
            vectors,
            Pool
        );
        adapters.Add(name, loaded);
        return loaded;
    }

    /// <summary>An adapter that was loaded.</summary>
    /// <exception cref="KeyNotFoundException">There is none of this name.</exception>
    public WeightAdapter Adapter(string name) =>
        adapters.TryGetValue(name, out WeightAdapter? adapter)
            ? adapter
            : throw new KeyNotFoundException(
                $"There is no adapter '{name}'; loaded are {(adapters.Count == 0 ? "none" : string.Join(", ", adapters.Keys))}."
            );

    /// <summary>Frees weights and threads.</summary>
    public void Dispose()
    {
        foreach (WeightAdapter adapter in adapters.Values)
        {
            adapter.Dispose();
        }

        Model.Dispose();
        Ops.Dispose();
        Pool.Dispose();
    }
}
