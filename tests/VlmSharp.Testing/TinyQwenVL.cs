using System.Text;
using System.Text.Json.Nodes;

namespace VlmSharp.Testing;

/// <summary>A checkpoint in the layout of the first Qwen-VL: two blocks and two layers of random weights, 16 queries, a prompt of 40 tokens.</summary>
/// <remarks>The golden cases of this architecture are larger than what belongs into the repository; this one is made where it is needed.</remarks>
public static class TinyQwenVL
{
    /// <summary>Longest prompt the decoder counts as trained for (<c>seq_length</c>).</summary>
    public const int TrainedLength = 40;

    /// <summary>Tokens of a picture.</summary>
    public const int Queries = 16;

    /// <summary>The first special token, <c>&lt;|endoftext|&gt;</c>.</summary>
    public const int FirstSpecial = 262;

    const int Hidden = 128;
    const int MlpWidth = 48;
    const int Layers = 2;
    const int VisionWidth = 24;
    const int VisionMlpWidth = 50;
    const int VisionLayers = 2;
    const int PatchSize = 7;
    const int Vocabulary = 484;

    static readonly string[] Merged = ["th", "the", " t", " the", "in", "图"];

    /// <summary>Writes all files of it.</summary>
    public static void Write(string directory)
    {
        File.WriteAllText(Path.Combine(directory, "config.json"), Config().ToJsonString());
        File.WriteAllText(
            Path.Combine(directory, "generation_config.json"),
            $$"""{ "chat_format": "chatml", "eos_token_id": {{FirstSpecial}}, "do_sample": false }"""
        );
        File.WriteAllText(
            Path.Combine(directory, "tokenizer_config.json"),
            """{ "tokenizer_class": "QWenTokenizer", "model_max_length": 8192 }"""
        );
        File.WriteAllText(Path.Combine(directory, "qwen.tiktoken"), Ranks());
        Weights().Save(Path.Combine(directory, "model.safetensors"));
    }

    static JsonObject Config() =>
        new()
        {
            ["architectures"] = new JsonArray("QWenLMHeadModel"),
            ["hidden_size"] = Hidden,
            ["intermediate_size"] = 2 * MlpWidth,
            ["kv_channels"] = 32,
            ["layer_norm_epsilon"] = 1e-6,
            ["max_position_embeddings"] = 1024,
            ["model_type"] = "qwen",
            ["no_bias"] = true,
            ["num_attention_heads"] = 4,
            ["num_hidden_layers"] = Layers,
            ["rotary_emb_base"] = 10000,
            ["rotary_pct"] = 1.0,
            ["scale_attn_weights"] = true,
            ["seq_length"] = TrainedLength,
            ["tie_word_embeddings"] = false,
            ["use_dynamic_ntk"] = true,
            ["use_logn_attn"] = true,
            ["vocab_size"] = Vocabulary,
            ["visual"] = new JsonObject
            {
                ["heads"] = 3,
                ["image_size"] = 30, // four patches of 7 and two pixels that nobody sees
                ["image_start_id"] = FirstSpecial + 214,
                ["layers"] = VisionLayers,
                ["mlp_ratio"] = 2.1,
                ["n_queries"] = Queries,
                ["output_dim"] = Hidden,
                ["patch_size"] = PatchSize,
                ["width"] = VisionWidth,
            },
        };

    // Bytes in their own order, then some tokens that are made of them.
    static string Ranks()
    {
        IEnumerable<byte[]> tokens = Enumerable
            .Range(0, 256)
            .Select(b => (byte[])[(byte)b])
            .Concat(Merged.Select(Encoding.UTF8.GetBytes));
        return string.Concat(tokens.Select((token, rank) => $"{Convert.ToBase64String(token)} {rank}\n"));
    }

    static SafetensorsWriter Weights()
    {
        SafetensorsWriter file = new();
        Random random = new(11);
        Add("transformer.wte.weight", 1, Vocabulary, Hidden);
        for (int i = 0; i < Layers; i++)
        {
            string layer = $"transformer.h.{i}";
            Norm($"{layer}.ln_1", Hidden, bias: false);
            Linear($"{layer}.attn.c_attn", 3 * Hidden, Hidden);
            Matrix($"{layer}.attn.c_proj", Hidden, Hidden);
            Norm($"{layer}.ln_2", Hidden, bias: false);
            Matrix($"{layer}.mlp.w1", MlpWidth, Hidden);
            Matrix($"{layer}.mlp.w2", MlpWidth, Hidden);
            Matrix($"{layer}.mlp.c_proj", Hidden, MlpWidth);
        }

        Norm("transformer.ln_f", Hidden, bias: false);
        Matrix("lm_head", Vocabulary, Hidden);

        const string visual = "transformer.visual";
        Add($"{visual}.conv1.weight", 0.1, VisionWidth, 3, PatchSize, PatchSize);
        Add($"{visual}.positional_embedding", 0.5, 256, VisionWidth);
        Norm($"{visual}.ln_pre", VisionWidth, bias: true);
        for (int i = 0; i < VisionLayers; i++)
        {
            string block = $"{visual}.transformer.resblocks.{i}";
            Norm($"{block}.ln_1", VisionWidth, bias: true);
            Linear($"{block}.attn.in_proj", 3 * VisionWidth, VisionWidth);
            Linear($"{block}.attn.out_proj", VisionWidth, VisionWidth);
            Norm($"{block}.ln_2", VisionWidth, bias: true);
            Linear($"{block}.mlp.c_fc", VisionMlpWidth, VisionWidth);
            Linear($"{block}.mlp.c_proj", VisionWidth, VisionMlpWidth);
        }

        string pool = $"{visual}.attn_pool";
        Matrix($"{pool}.kv_proj", Hidden, VisionWidth);
        Norm($"{pool}.ln_kv", Hidden, bias: true);
        Norm($"{pool}.ln_q", Hidden, bias: true);
        Add($"{pool}.query", 1, Queries, Hidden);
        Add($"{pool}.pos_embed", 1, Queries, Hidden);
        Add($"{pool}.attn.in_proj_weight", 0.2, 3 * Hidden, Hidden);
        Add($"{pool}.attn.in_proj_bias", 0.2, 3 * Hidden);
        Linear($"{pool}.attn.out_proj", Hidden, Hidden);
        Norm($"{visual}.ln_post", Hidden, bias: true);
        Add($"{visual}.proj", 0.1, Hidden, Hidden);
        return file;

        void Linear(string name, int outputs, int inputs)
        {
            Matrix(name, outputs, inputs);
            Add($"{name}.bias", 0.2, outputs);
        }

        void Matrix(string name, int outputs, int inputs) =>
            Add($"{name}.weight", 2 / Math.Sqrt(inputs), outputs, inputs);

        void Norm(string name, int width, bool bias)
        {
            Fill($"{name}.weight", [width], () => 1 + (0.2 * random.NextDouble()));
            if (bias)
            {
                Add($"{name}.bias", 0.2, width);
            }
        }

        void Add(string name, double scale, params int[] shape) =>
            Fill(name, shape, () => scale * ((2 * random.NextDouble()) - 1));

        void Fill(string name, int[] shape, Func<double> next)
        {
            float[] values = new float[shape.Aggregate(1, (a, b) => a * b)];
            for (int i = 0; i < values.Length; i++)
            {
                values[i] = (float)next();
            }

            file.Add(name, shape, values);
        }
    }
}
