using System.Text.Json.Nodes;
using VlmSharp.Formats;
using VlmSharp.Models;

namespace VlmSharp.Training.Scratch;

/// <summary>The sizes of a model: published ones, whose speed can be measured on random weights, and small ones to train from scratch.</summary>
/// <param name="Name">As <c>--shape</c> takes it.</param>
/// <param name="Config">What stands in <c>config.json</c>.</param>
/// <param name="PatchSize">Of the processor.</param>
public sealed record ModelShape(string Name, JsonObject Config, int PatchSize)
{
    /// <summary>From the configs of Qwen/Qwen2-VL-*, Qwen/Qwen2.5-VL-* and Qwen/Qwen3-VL-*.</summary>
    public static IReadOnlyList<ModelShape> All { get; } =
    [
        Qwen2("qwen2-vl-2b", 1536, 8960, 28, 12, 2, 151936, tied: true),
        Qwen2("qwen2-vl-7b", 3584, 18944, 28, 28, 4, 152064, tied: false),
        Qwen25("qwen2.5-vl-3b", 2048, 11008, 36, 16, 2, 151936, tied: true),
        Qwen25("qwen2.5-vl-7b", 3584, 18944, 28, 28, 4, 152064, tied: false),
        Qwen3("qwen3-vl-2b", 2048, 6144, 28, 16, tied: true, 24, 1024, 4096, [5, 11, 17]),
        Qwen3("qwen3-vl-4b", 2560, 9728, 36, 32, tied: true, 24, 1024, 4096, [5, 11, 17]),
        Qwen3("qwen3-vl-8b", 4096, 12288, 36, 32, tied: false, 27, 1152, 4304, [8, 16, 24]),
        // Small ones of the architecture of Qwen2-VL, which two cores can train from scratch.
        Reader("reader-4m", new(192, 512, 6, 6, 2), new(5, 128, 4, 3), [4, 6, 6]),
        Reader("reader-7m", new(256, 640, 5, 4, 2), new(6, 192, 6, 4), [8, 12, 12]),
        Reader("reader-12m", new(320, 896, 6, 5, 1), new(8, 192, 6, 4), [8, 12, 12]),
    ];

    /// <summary>The small ones.</summary>
    public static IEnumerable<ModelShape> Readers =>
        All.Where(shape => shape.Name.StartsWith("reader-", StringComparison.Ordinal));

    /// <summary>Rows of the vocabulary.</summary>
    public int Vocabulary => (Config["text_config"] ?? Config)["vocab_size"]!.GetValue<int>();

    /// <summary>Decoder of a <see cref="Reader"/>.</summary>
    readonly record struct SmallText(int Hidden, int Mlp, int Layers, int Heads, int KvHeads);

    /// <summary>Tower of a <see cref="Reader"/>; Mlp in widths.</summary>
    readonly record struct SmallTower(int Depth, int Width, int Heads, int Mlp);

    /// <summary>The config for a vocabulary of its own, whose special tokens follow the ordinary ones.</summary>
    /// <param name="ordinary">Tokens without the special ones.</param>
    public ModelShape WithVocabulary(int ordinary)
    {
        JsonObject config = (JsonObject)Config.DeepClone();
        JsonObject text = config["text_config"] as JsonObject ?? config;
        text["vocab_size"] = ordinary + NewTokenizer.Special.Count;
        foreach (
            (string field, string token) in (ReadOnlySpan<(string, string)>)
                [
                    ("bos_token_id", "<|endoftext|>"),
                    ("eos_token_id", "<|im_end|>"),
                    ("vision_start_token_id", "<|vision_start|>"),
                    ("vision_end_token_id", "<|vision_end|>"),
                    ("vision_token_id", "<|vision_pad|>"),
                    ("image_token_id", "<|image_pad|>"),
                    ("video_token_id", "<|video_pad|>"),
                ]
        )
        {
            config[field] = ordinary + NewTokenizer.IndexOf(token);
        }

        return this with
        {
            Config = config,
        };
    }

    static JsonObject Text(int hidden, int mlp, int layers, int heads, int kvHeads, int vocabulary) =>
        new()
        {
            ["hidden_size"] = hidden,
            ["intermediate_size"] = mlp,
            ["num_hidden_layers"] = layers,
            ["num_attention_heads"] = heads,
            ["num_key_value_heads"] = kvHeads,
            ["vocab_size"] = vocabulary,
            ["hidden_act"] = "silu",
            ["rms_norm_eps"] = 1e-6,
            ["max_position_embeddings"] = 32768,
            ["rope_theta"] = 1e6,
            ["rope_scaling"] = new JsonObject { ["type"] = "mrope", ["mrope_section"] = new JsonArray(16, 24, 24) },
        };

    static ModelShape Qwen2(
        string name,
        int hidden,
        int mlp,
        int layers,
        int heads,
        int kvHeads,
        int vocabulary,
        bool tied
    )
    {
        JsonObject config = Text(hidden, mlp, layers, heads, kvHeads, vocabulary);
        config["architectures"] = new JsonArray(Qwen2VL.Architecture);
        config["tie_word_embeddings"] = tied;
        config["vision_config"] = new JsonObject
        {
            ["depth"] = 32,
            ["embed_dim"] = 1280,
            ["num_heads"] = 16,
            ["mlp_ratio"] = 4,
            ["hidden_size"] = hidden,
            ["patch_size"] = 14,
        };
        return new(name, config, 14);
    }

    static ModelShape Reader(string name, SmallText text, SmallTower tower, int[] sections)
    {
        const int vocabulary = 512; // unless it gets another one
        ModelShape shape = Qwen2(
            name,
            text.Hidden,
            text.Mlp,
            text.Layers,
            text.Heads,
            text.KvHeads,
            vocabulary,
            tied: true
        );
        shape.Config["rope_theta"] = 1e4;
        shape.Config["max_position_embeddings"] = 4096;
        shape.Config["rope_scaling"]!["mrope_section"] = new JsonArray([.. sections.Select(i => (JsonNode)i)]);
        JsonObject vision = (JsonObject)shape.Config["vision_config"]!;
        vision["depth"] = tower.Depth;
        vision["embed_dim"] = tower.Width;
        vision["num_heads"] = tower.Heads;
        vision["mlp_ratio"] = tower.Mlp;
        return shape.WithVocabulary(vocabulary - NewTokenizer.Special.Count);
    }

    static ModelShape Qwen25(
        string name,
        int hidden,
        int mlp,
        int layers,
        int heads,
        int kvHeads,
        int vocabulary,
        bool tied
    )
    {
        JsonObject config = Text(hidden, mlp, layers, heads, kvHeads, vocabulary);
        config["architectures"] = new JsonArray(Qwen25VL.Architecture);
        config["tie_word_embeddings"] = tied;
        config["vision_config"] = new JsonObject
        {
            ["depth"] = 32,
            ["hidden_size"] = 1280,
            ["intermediate_size"] = 3420,
            ["num_heads"] = 16,
            ["out_hidden_size"] = hidden,
            ["patch_size"] = 14,
            ["window_size"] = 112,
            ["fullatt_block_indexes"] = new JsonArray(7, 15, 23, 31),
        };
        return new(name, config, 14);
    }

    static ModelShape Qwen3(
        string name,
        int hidden,
        int mlp,
        int layers,
        int heads,
        bool tied,
        int depth,
        int width,
        int towerMlp,
        int[] deepStack
    )
    {
        JsonObject text = Text(hidden, mlp, layers, heads, 8, 151936);
        text["head_dim"] = 128;
        text["rope_theta"] = 5e6;
        text["rope_scaling"] = new JsonObject
        {
            ["rope_type"] = "default",
            ["mrope_interleaved"] = true,
            ["mrope_section"] = new JsonArray(24, 20, 20),
        };
        JsonObject config = new()
        {
            ["architectures"] = new JsonArray(Qwen3VL.Architecture),
            ["tie_word_embeddings"] = tied,
            ["text_config"] = text,
            ["vision_config"] = new JsonObject
            {
                ["depth"] = depth,
                ["hidden_size"] = width,
                ["intermediate_size"] = towerMlp,
                ["num_heads"] = 16,
                ["out_hidden_size"] = hidden,
                ["patch_size"] = 16,
                ["num_position_embeddings"] = 2304,
                ["hidden_act"] = "gelu_pytorch_tanh",
                ["deepstack_visual_indexes"] = new JsonArray([.. deepStack.Select(i => (JsonNode)i)]),
            },
        };
        return new(name, config, 16);
    }

    /// <summary>Names and shapes of all its weights.</summary>
    public IEnumerable<(string Name, int[] Shape)> Tensors()
    {
        JsonObjectReader json = JsonObjectReader.Parse(
            "config.json",
            System.Text.Encoding.UTF8.GetBytes(Config.ToJsonString())
        );
        return Config["architectures"]![0]!.GetValue<string>() switch
        {
            Qwen2VL.Architecture => ShapeTensors.Of(Qwen2VL.Config.Read(json)),
            Qwen25VL.Architecture => ShapeTensors.Of(Qwen25VL.Config.Read(json)),
            _ => ShapeTensors.Of(Qwen3VL.Config.Read(json, Qwen3VL.Architecture)),
        };
    }
}
