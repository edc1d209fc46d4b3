using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;
using VlmSharp.Models;
using VlmSharp.Text;

namespace VlmSharp.Conversion;

/// <summary>Says in the keys of a pair of GGUF files what a checkpoint's configs say; the inverse of how such a pair is read.</summary>
/// <remarks>
/// Names and types of keys are those that llama.cpp's converter writes and its loader asks for. What has no key and is not what all published
/// checkpoints of the family have is refused.
/// </remarks>
sealed class GgufKeys
{
    const float TowerEpsilon = 1e-6f; // of all towers, and the only one that is read back
    const uint QuantizationVersion = 2; // of the blocks' layout, as all files have had it for years

    readonly Checkpoint checkpoint;
    readonly JsonObjectReader config;
    readonly JsonObjectReader text;
    readonly JsonObjectReader vision;
    readonly string language;

    /// <param name="checkpoint">One of the architectures that are converted, whose config was checked.</param>
    /// <param name="family">Which.</param>
    public GgufKeys(Checkpoint checkpoint, GgufFamily family)
    {
        this.checkpoint = checkpoint;
        config = checkpoint.Config;
        text = config.OptionalObject("text_config") ?? config;
        vision = config.Object("vision_config");
        Family = family;
        language =
            family != GgufFamily.Qwen3VL ? "qwen2vl"
            : checkpoint.Architecture == Qwen3VL.MixedArchitecture ? "qwen3vlmoe"
            : "qwen3vl";
        DeepStack = vision.Has("deepstack_visual_indexes")
            ? vision.Ints("deepstack_visual_indexes", 1024, 0, 1024)
            : [];
    }

    /// <summary>What the checkpoint is.</summary>
    public GgufFamily Family { get; }

    /// <summary>The tower's blocks whose output DeepStack takes, in the order of the mergers.</summary>
    public int[] DeepStack { get; }

    /// <summary>The metadata of the language model.</summary>
    /// <exception cref="CheckpointException">Something has no place in the format.</exception>
    public GgufWriter LanguageModel(string name, Recipe recipe)
    {
        int heads = Count("num_attention_heads");
        int positions = text.Int(
            "max_position_embeddings",
            1,
            int.MaxValue,
            Family == GgufFamily.Qwen3VL ? 128000 : 32768
        );
        GgufWriter writer = General(language, "model", name, recipe);
        writer
            .Add($"{language}.block_count", (uint)Count("num_hidden_layers"))
            .Add($"{language}.context_length", (uint)positions)
            .Add($"{language}.embedding_length", (uint)Count("hidden_size"))
            .Add($"{language}.feed_forward_length", (uint)Count("intermediate_size"))
            .Add($"{language}.attention.head_count", (uint)heads)
            .Add($"{language}.attention.head_count_kv", (uint)text.Int("num_key_value_heads", 1, heads, heads))
            .Add($"{language}.attention.layer_norm_rms_epsilon", (float)text.Number("rms_norm_eps", 0, 1, 1e-6));
        AddRotary(writer, positions);
        if (Family == GgufFamily.Qwen3VL)
        {
            int width = text.Int("head_dim", 2, 1 << 12, Math.Max(2, Count("hidden_size") / heads));
            writer
                .Add($"{language}.attention.key_length", (uint)width)
                .Add($"{language}.attention.value_length", (uint)width)
                .Add($"{language}.n_deepstack_layers", (uint)DeepStack.Length);
        }

        if (language == "qwen3vlmoe")
        {
            writer
                .Add($"{language}.expert_count", (uint)Count("num_experts"))
                .Add($"{language}.expert_used_count", (uint)Count("num_experts_per_tok"))
                .Add($"{language}.expert_feed_forward_length", (uint)Count("moe_intermediate_size"));
        }

        AddSampling(writer);
        AddTokenizer(writer);
        return writer;
    }

    /// <summary>The metadata of tower and merger.</summary>
    /// <exception cref="CheckpointException">Something has no place in the format.</exception>
    public GgufWriter Projector(string name, Recipe recipe)
    {
        ProcessorConfig processor =
            checkpoint.Processor
            ?? throw new CheckpointException(checkpoint.Directory, "has no preprocessor_config.json");
        bool old = Family == GgufFamily.Qwen2VL;
        int width = Size(old ? "embed_dim" : "hidden_size");
        int mlp = old ? (int)(width * vision.Number("mlp_ratio", 1.0 / 64, 64, 4)) : Size("intermediate_size");
        // What engines take where a picture's own size does not decide; the side of the table of positions where there is one.
        int side =
            Family == GgufFamily.Qwen3VL ? (int)Math.Sqrt(Size("num_position_embeddings")) * processor.PatchSize : 560;
        GgufWriter writer = General("clip", "mmproj", name, recipe);
        writer
            .Add("clip.has_vision_encoder", true)
            .Add(
                "clip.projector_type",
                Family switch
                {
                    GgufFamily.Qwen2VL => "qwen2vl_merger",
                    GgufFamily.Qwen25VL => "qwen2.5vl_merger",
                    _ => "qwen3vl_merger",
                }
            )
            .Add("clip.vision.projection_dim", (uint)Count("hidden_size"))
            .Add("clip.vision.image_size", (uint)side)
            .Add("clip.vision.image_min_pixels", (uint)Math.Min(processor.MinPixels, int.MaxValue))
            .Add("clip.vision.image_max_pixels", (uint)Math.Min(processor.MaxPixels, int.MaxValue))
            .Add("clip.vision.patch_size", (uint)processor.PatchSize)
            .Add("clip.vision.spatial_merge_size", (uint)processor.MergeSize)
            .Add("clip.vision.embedding_length", (uint)width)
            .Add("clip.vision.feed_forward_length", (uint)mlp)
            .Add("clip.vision.block_count", (uint)Size("depth"))
            .Add("clip.vision.attention.head_count", (uint)Size("num_heads"))
            .Add("clip.vision.attention.layer_norm_epsilon", TowerEpsilon)
            .Add("clip.vision.image_mean", processor.Mean)
            .Add("clip.vision.image_std", processor.Std);
        if (processor.TemporalPatchSize != 2)
        {
            throw config.Error("vision_config.temporal_patch_size", "is not 2, which GGUF files cannot say");
        }

        switch (Family)
        {
            case GgufFamily.Qwen25VL:
                writer.Add("clip.use_silu", true);
                AddWindows(writer);
                break;
            case GgufFamily.Qwen3VL:
                writer.Add("clip.use_gelu", true);
                bool[] layers = new bool[Size("depth")];
                Array.ForEach(DeepStack, layer => layers[layer] = true);
                writer.Add("clip.vision.is_deepstack_layers", layers);
                break;
            default:
                writer.Add("clip.use_gelu", false);
                break;
        }

        return writer;
    }

    /// <summary>What readers will not find in the files and take defaults for.</summary>
    public IEnumerable<string> Losses()
    {
        if (
            Family == GgufFamily.Qwen3VL
            && checkpoint.VideoProcessor is { } video
            && (video.MinPixels, video.MaxPixels) != (4096, 25_165_824)
        )
        {
            yield return $"limits for films ({video.MinPixels} to {video.MaxPixels} pixels) have no key; readers take 4096 to 25165824";
        }
    }

    static GgufWriter General(string architecture, string type, string name, Recipe recipe) =>
        new GgufWriter()
            .Add("general.architecture", architecture)
            .Add("general.type", type)
            .Add("general.name", name)
            .Add("general.file_type", (uint)recipe.FileType)
            .Add("general.quantization_version", QuantizationVersion);

    void AddRotary(GgufWriter writer, int positions)
    {
        JsonObjectReader rope = text.OptionalObject("rope_parameters") ?? text.Object("rope_scaling");
        double theta = Family == GgufFamily.Qwen3VL ? 5e6 : 1e6;
        theta = rope.Has("rope_theta") ? rope.Number("rope_theta", 1, 1e12) : text.Number("rope_theta", 1, 1e12, theta);
        writer
            .Add($"{language}.rope.freq_base", (float)theta)
            .Add($"{language}.rope.dimension_sections", (int[])[.. rope.Ints("mrope_section", 3, 1, 1 << 12), 0]);
        if (rope.Text("rope_type", rope.Text("type", "mrope")) != "yarn")
        {
            return;
        }

        string[] unknown = ["beta_fast", "beta_slow", "mscale", "mscale_all_dim", "attention_factor", "truncate"];
        if (Array.Find(unknown, rope.Has) is { } field)
        {
            throw rope.Error(field, "is set, which a GGUF file would not keep");
        }

        int original = rope.Int("original_max_position_embeddings", 1, int.MaxValue, positions);
        writer
            .Add($"{language}.rope.scaling.type", "yarn")
            .Add($"{language}.rope.scaling.factor", (float)rope.Number("factor", 1, 1e6))
            .Add($"{language}.rope.scaling.original_context_length", (uint)original);
    }

    void AddWindows(GgufWriter writer)
    {
        if (vision.Number("tokens_per_second", 0, 1e4, 2) != 2)
        {
            throw vision.Error("tokens_per_second", "is not 2, which GGUF files cannot say");
        }

        int depth = Size("depth");
        int[] full = vision.Ints("fullatt_block_indexes", depth, 0, depth - 1);
        int step = full.Length > 0 ? full[0] + 1 : 0;
        // One number says every how many blocks one sees whole frames; a list says it where that is not regular.
        if (step > 0 && full.SequenceEqual(Enumerable.Range(0, depth).Where(i => (i + 1) % step == 0)))
        {
            writer.Add("clip.vision.n_wa_pattern", (uint)step);
        }
        else
        {
            writer.Add("clip.vision.wa_layer_indexes", full);
        }

        writer.Add("clip.vision.window_size", (uint)vision.Int("window_size", 1, 1 << 16, 112));
    }

    void AddSampling(GgufWriter writer)
    {
        GenerationConfig generation = checkpoint.Generation;
        if (!generation.DoSample)
        {
            return;
        }

        AddNumber("temp", generation.Temperature ?? 1);
        AddNumber("top_p", generation.TopP);
        AddNumber("min_p", generation.MinP);
        AddNumber("penalty_repeat", generation.RepetitionPenalty);
        if (generation.TopK is { } k)
        {
            writer.Add("general.sampling.top_k", k);
        }

        void AddNumber(string key, double? value)
        {
            if (value is { } number)
            {
                writer.Add($"general.sampling.{key}", (float)number);
            }
        }
    }

    void AddTokenizer(GgufWriter writer)
    {
        Tokenizer tokenizer = Tokenizer.Load(checkpoint);
        GgufTokenizerWriter.Write(writer, tokenizer.Definition, Count("vocab_size"), checkpoint.Directory);
        int padding = tokenizer.TryGetId("<|endoftext|>", out int id) ? id : -1;
        // Engines end at <|im_end|> and <|endoftext|> wherever a vocabulary has them; further tokens have keys of their own.
        int[] stops =
        [
            .. checkpoint.Generation.StopIds.Take(1),
            .. checkpoint.Generation.StopIds.Skip(1).Where(stop => stop != padding && !IsEnd(stop)),
        ];
        foreach ((string key, int stop) in ((string[])["eos_token_id", "eot_token_id", "eom_token_id"]).Zip(stops))
        {
            writer.Add($"tokenizer.ggml.{key}", (uint)stop);
        }

        if (padding >= 0)
        {
            writer.Add("tokenizer.ggml.padding_token_id", (uint)padding);
            writer.Add("tokenizer.ggml.bos_token_id", (uint)padding);
        }

        writer.Add("tokenizer.ggml.add_bos_token", false);
        if (checkpoint.ChatTemplate is { } template)
        {
            writer.Add("tokenizer.chat_template", template);
        }

        bool IsEnd(int stop) => tokenizer.TryGetId("<|im_end|>", out int end) && end == stop;
    }

    // The config was read before: ranges are checked there.
    int Count(string field) => text.Int(field, 1, int.MaxValue);

    int Size(string field) => vision.Int(field, 1, int.MaxValue);
}
