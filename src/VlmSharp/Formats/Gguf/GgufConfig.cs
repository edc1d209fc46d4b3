using System.Text;
using System.Text.Json.Nodes;

namespace VlmSharp.Formats.Gguf;

/// <summary>Says in the words of the published checkpoints' configs what the metadata of a pair of GGUF files says.</summary>
/// <remarks>
/// What no key holds is what llama.cpp has in its code, or what all published checkpoints of the family have: two frames a patch, windows
/// of 112 pixels, limits of pixels.
/// </remarks>
sealed class GgufConfig
{
    /// <summary>The key of the chat template.</summary>
    public const string Template = "tokenizer.chat_template";

    /// <summary>The key of the tokens' texts.</summary>
    public const string Tokens = "tokenizer.ggml.tokens";

    const string ArchitectureKey = "general.architecture";
    const int TemporalPatch = 2;

    /// <summary>The towers' norms have this in the models' published code, and no field for another.</summary>
    const double TowerEpsilon = 1e-6;

    static readonly string[] Languages = ["qwen2vl", "qwen3vl", "qwen3vlmoe"];

    readonly GgufFile file;
    readonly GgufFile projector;
    readonly JsonObjectReader text;
    readonly JsonObjectReader vision;
    readonly string language;

    /// <summary>Finds out what the pair is.</summary>
    /// <exception cref="CheckpointException">It is nothing this build knows.</exception>
    public GgufConfig(GgufFile file, GgufFile projector)
    {
        this.file = file;
        this.projector = projector;
        (text, vision) = (file.Keys, projector.Keys);
        language = file.Architecture;
        if (!IsProjector(projector))
        {
            throw new CheckpointException(
                projector.Name,
                $"is no projector: {ArchitectureKey} is '{projector.Architecture}', expected 'clip'"
            );
        }

        string key = vision.Has("clip.vision.projector_type") ? "clip.vision.projector_type" : "clip.projector_type";
        (Family, Architecture) = (language, vision.Text(key)) switch
        {
            ("qwen2vl", "qwen2vl_merger") => (GgufFamily.Qwen2VL, "Qwen2VLForConditionalGeneration"),
            ("qwen2vl", "qwen2.5vl_merger") => (GgufFamily.Qwen25VL, "Qwen2_5_VLForConditionalGeneration"),
            ("qwen3vl", "qwen3vl_merger") => (GgufFamily.Qwen3VL, "Qwen3VLForConditionalGeneration"),
            ("qwen3vlmoe", "qwen3vl_merger") => (GgufFamily.Qwen3VL, "Qwen3VLMoeForConditionalGeneration"),
            var (_, type) => throw vision.Error(
                key,
                $"is '{type}', which does not belong to a language model '{language}' ({file.Name})"
            ),
        };
        DeepStack =
        [
            .. Enumerable.Range(0, Vision("block_count", 1024)).Where(i => Has($"v.deepstack.{i}.fc1.weight")),
        ];
    }

    /// <summary>What the pair is.</summary>
    public GgufFamily Family { get; }

    /// <summary>The class of the published checkpoint.</summary>
    public string Architecture { get; }

    /// <summary>The tower's blocks whose output DeepStack takes, ascending.</summary>
    public int[] DeepStack { get; }

    /// <summary>Whether a file is the vision part of a pair.</summary>
    public static bool IsProjector(GgufFile file) => file.Architecture == "clip";

    /// <summary>Refuses language models that cannot be run.</summary>
    public static void CheckArchitecture(GgufFile file)
    {
        if (!Languages.Contains(file.Architecture))
        {
            throw file.Keys.Error(
                ArchitectureKey,
                $"is '{file.Architecture}'; of GGUF files this build runs {string.Join(", ", Languages)}"
            );
        }
    }

    /// <summary><c>config.json</c>.</summary>
    public JsonObjectReader Model()
    {
        Dictionary<string, int> tokens = FindTokens(
            "<|image_pad|>",
            "<|video_pad|>",
            "<|vision_start|>",
            "<|vision_end|>"
        );
        JsonObject config = new()
        {
            ["architectures"] = new JsonArray(Architecture),
            ["image_token_id"] = Token("<|image_pad|>"),
            ["video_token_id"] = Token("<|video_pad|>"),
            ["vision_start_token_id"] = Token("<|vision_start|>"),
            ["vision_end_token_id"] = Token("<|vision_end|>"),
            ["tie_word_embeddings"] = !file.Tensors.ContainsKey("output.weight"),
            ["text_config"] = Text(),
            ["vision_config"] = Tower(),
        };
        return Reader(file.Name, config);

        int Token(string content) =>
            tokens.TryGetValue(content, out int id) ? id : throw file.Error(Tokens, $"has no '{content}'");
    }

    /// <summary><c>generation_config.json</c>.</summary>
    public JsonObjectReader Generation()
    {
        // The file names one end token; the published settings name the other as well.
        SortedSet<int> stops = [];
        foreach (string key in (string[])["eos_token_id", "eot_token_id", "eom_token_id"])
        {
            if (text.Has($"tokenizer.ggml.{key}"))
            {
                stops.Add(text.Int($"tokenizer.ggml.{key}", 0, int.MaxValue));
            }
        }

        stops.UnionWith(FindTokens("<|im_end|>", "<|endoftext|>").Values);
        JsonObject generation = new() { ["eos_token_id"] = new JsonArray([.. stops.Select(id => (JsonNode)id)]) };
        Copy("temp", "temperature");
        Copy("top_k", "top_k");
        Copy("top_p", "top_p");
        Copy("min_p", "min_p");
        Copy("penalty_repeat", "repetition_penalty");
        generation["do_sample"] = generation.ContainsKey("temperature");
        return Reader(file.Name, generation);

        void Copy(string key, string field)
        {
            if (text.Has($"general.sampling.{key}"))
            {
                generation[field] = JsonNode.Parse(text.Raw($"general.sampling.{key}").GetRawText());
            }
        }
    }

    /// <summary><c>preprocessor_config.json</c>, or the one for videos.</summary>
    public JsonObjectReader Processor(bool video)
    {
        int patch = Vision("patch_size", 256);
        // The limits of the published checkpoints, where the file has none.
        (long least, long most) =
            Family != GgufFamily.Qwen3VL ? (56L * 56, 28L * 28 * 16384)
            : video ? (4096L, 25_165_824L)
            : (65_536L, 16_777_216L);
        if (!video || Family != GgufFamily.Qwen3VL)
        {
            least = vision.Long("clip.vision.image_min_pixels", 1, long.MaxValue, least);
            most = vision.Long("clip.vision.image_max_pixels", 1, long.MaxValue, most);
        }

        JsonObject processor = new()
        {
            ["patch_size"] = patch,
            ["temporal_patch_size"] = TemporalPatch,
            ["merge_size"] = MergeSize,
            ["image_mean"] = Numbers("clip.vision.image_mean"),
            ["image_std"] = Numbers("clip.vision.image_std"),
            ["min_pixels"] = least,
            ["max_pixels"] = most,
        };
        return Reader(projector.Name, processor);

        JsonArray Numbers(string key) => [.. vision.Numbers(key, 3).Select(value => (JsonNode)value)];
    }

    int MergeSize => vision.Int("clip.vision.spatial_merge_size", 1, 16, 2);

    JsonObject Text()
    {
        int heads = text.Int(Key("attention.head_count"), 1, 1024);
        JsonObject config = new()
        {
            ["vocab_size"] = Rows(file, "token_embd.weight"),
            ["hidden_size"] = text.Int(Key("embedding_length"), 1, 1 << 16),
            ["num_hidden_layers"] = text.Int(Key("block_count"), 1, 1024),
            ["num_attention_heads"] = heads,
            ["num_key_value_heads"] = text.Int(Key("attention.head_count_kv"), 1, 1024, heads),
            ["rms_norm_eps"] = text.Number(Key("attention.layer_norm_rms_epsilon"), 0, 1),
            ["max_position_embeddings"] = text.Int(Key("context_length"), 1, int.MaxValue),
            ["rope_scaling"] = Rotary(),
        };
        if (text.Has(Key("rope.freq_base")))
        {
            config["rope_theta"] = text.Number(Key("rope.freq_base"), 1, 1e12);
        }

        if (text.Has(Key("attention.key_length")))
        {
            config["head_dim"] = text.Int(Key("attention.key_length"), 2, 1 << 12);
        }

        int width = text.Int(Key("expert_feed_forward_length"), 0, 1 << 20, 0);
        config["intermediate_size"] = text.Int(Key("feed_forward_length"), 1, 1 << 20, Math.Max(1, width));
        if (language == "qwen3vlmoe")
        {
            config["num_experts"] = text.Int(Key("expert_count"), 1, 1 << 16);
            config["num_experts_per_tok"] = text.Int(Key("expert_used_count"), 1, 1 << 16);
            config["moe_intermediate_size"] = text.Int(Key("expert_feed_forward_length"), 1, 1 << 20);
            // Layers without a router have no experts.
            config["mlp_only_layers"] = new JsonArray([
                .. Enumerable
                    .Range(0, text.Int(Key("block_count"), 1, 1024))
                    .Where(i => !file.Tensors.ContainsKey($"blk.{i}.ffn_gate_inp.weight"))
                    .Select(i => (JsonNode)i),
            ]);
        }

        return config;
    }

    JsonObject Rotary()
    {
        // Padded to four: the last one has no axis in these models.
        string key = Key("rope.dimension_sections");
        int[] sections = text.Ints(key, 4, 0, 1 << 12);
        if (sections is not [int t, int h, int w, .. var rest] || rest.Any(section => section != 0))
        {
            throw text.Error(key, $"is [{string.Join(", ", sections)}], expected three sections and a 0");
        }

        JsonObject rope = new() { ["mrope_section"] = new JsonArray(t, h, w), ["rope_type"] = "default" };
        if (text.Text(Key("rope.scaling.type"), "none") is var scaling && scaling != "none")
        {
            rope["rope_type"] = scaling;
            rope["factor"] = text.Number(Key("rope.scaling.factor"), 1, 1e6);
            if (text.Has(Key("rope.scaling.original_context_length")))
            {
                rope["original_max_position_embeddings"] = text.Int(
                    Key("rope.scaling.original_context_length"),
                    1,
                    int.MaxValue
                );
            }
        }

        return rope;
    }

    JsonObject Tower()
    {
        const string epsilon = "clip.vision.attention.layer_norm_epsilon";
        if (Math.Abs(vision.Number(epsilon, 0, 1, TowerEpsilon) - TowerEpsilon) > 1e-9)
        {
            throw vision.Error(epsilon, $"is {vision.Number(epsilon, 0, 1)}, only {TowerEpsilon} is implemented");
        }

        int width = Vision("embedding_length", 1 << 16);
        int depth = Vision("block_count", 1024);
        // Some converters wrote another number than the width of the MLP; its tensors know better.
        int[] up = projector.Tensor("v.blk.0.ffn_up.weight").Shape;
        int mlp = up.Length == 2 && up[0] == width ? up[1] : up[0];
        JsonObject config = new()
        {
            ["depth"] = depth,
            ["num_heads"] = Vision("attention.head_count", 1024),
            ["patch_size"] = Vision("patch_size", 256),
            ["temporal_patch_size"] = TemporalPatch,
            ["spatial_merge_size"] = MergeSize,
        };
        if (vision.Bool("clip.use_silu", false))
        {
            config["hidden_act"] = "silu";
        }
        else if (vision.Bool("clip.use_gelu", false))
        {
            config["hidden_act"] = "gelu_pytorch_tanh";
        }

        int hidden = text.Int(Key("embedding_length"), 1, 1 << 16);
        if (Family == GgufFamily.Qwen2VL)
        {
            config["embed_dim"] = width;
            config["hidden_size"] = hidden;
            // The published field is a ratio, whose product with the width is cut to an integer.
            config["mlp_ratio"] = (mlp + 0.5) / width;
            return config;
        }

        config["hidden_size"] = width;
        config["intermediate_size"] = mlp;
        config["out_hidden_size"] = hidden;
        if (Family == GgufFamily.Qwen25VL)
        {
            config["window_size"] = vision.Int("clip.vision.window_size", 1, 1 << 16, 112);
            config["fullatt_block_indexes"] = new JsonArray([.. FullAttention(depth).Select(i => (JsonNode)i)]);
        }
        else
        {
            config["num_position_embeddings"] = Rows(projector, "v.position_embd.weight");
            config["deepstack_visual_indexes"] = new JsonArray([.. DeepStack.Select(i => (JsonNode)i)]);
        }

        return config;
    }

    // Either a list of the blocks that see whole frames, or every how many blocks one does.
    IEnumerable<int> FullAttention(int depth)
    {
        const string list = "clip.vision.wa_layer_indexes";
        if (vision.Has(list))
        {
            return vision.Ints(list, depth, 0, depth - 1);
        }

        int step = vision.Int("clip.vision.n_wa_pattern", 0, depth);
        return Enumerable.Range(0, depth).Where(i => step == 0 || (i + 1) % step == 0);
    }

    /// <summary>The ids of tokens, as far as the vocabulary has them.</summary>
    Dictionary<string, int> FindTokens(params string[] contents)
    {
        byte[][] wanted = Array.ConvertAll(contents, Encoding.UTF8.GetBytes);
        Dictionary<string, int> found = new(StringComparer.Ordinal);
        file.Value(Tokens)
            .ForEachText(
                (id, token) =>
                {
                    for (int i = 0; i < wanted.Length; i++)
                    {
                        if (token.SequenceEqual(wanted[i]))
                        {
                            found.TryAdd(contents[i], id);
                        }
                    }
                }
            );
        return found;
    }

    bool Has(string tensor) => projector.Tensors.ContainsKey(tensor);

    string Key(string name) => $"{language}.{name}";

    int Vision(string name, int most) => vision.Int($"clip.vision.{name}", 1, most);

    static int Rows(GgufFile from, string name) =>
        from.Tensor(name).Shape is [int rows, _]
            ? rows
            : throw new CheckpointException(
                from.Name,
                $"tensor '{name}' has shape {TensorInfo.Text(from.Tensor(name).Shape)}, expected two dimensions"
            );

    static JsonObjectReader Reader(string name, JsonObject json) =>
        JsonObjectReader.Parse(name, Encoding.UTF8.GetBytes(json.ToJsonString()));
}
