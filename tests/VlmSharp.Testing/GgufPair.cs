using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using VlmSharp.Formats;

namespace VlmSharp.Testing;

/// <summary>A golden checkpoint as a pair of GGUF files, under the names of <c>tests/goldens/gguf/names.json</c>, in f32.</summary>
public sealed class GgufPair
{
    readonly JsonObject config;
    readonly JsonObject textConfig;
    readonly JsonObject vision;
    readonly string language;
    readonly string source;

    GgufPair(string checkpoint)
    {
        source = checkpoint;
        config = Json("config.json");
        textConfig = config["text_config"]?.AsObject() ?? config;
        vision = config["vision_config"]!.AsObject();
        (language, string projector, string names) = (string)config["architectures"]![0]! switch
        {
            "Qwen2VLForConditionalGeneration" => ("qwen2vl", "qwen2vl_merger", "mmproj: qwen2-vl"),
            "Qwen2_5_VLForConditionalGeneration" => ("qwen2vl", "qwen2.5vl_merger", "mmproj: qwen2.5-vl"),
            "Qwen3VLForConditionalGeneration" => ("qwen3vl", "qwen3vl_merger", "mmproj: qwen3-vl"),
            _ => ("qwen3vlmoe", "qwen3vl_merger", "mmproj: qwen3-vl"),
        };
        AddText();
        AddTokenizer();
        AddVision(projector);
        AddTensors(names);
    }

    /// <summary>The language model.</summary>
    public GgufWriter Model { get; } = new();

    /// <summary>Tower and merger.</summary>
    public GgufWriter Projector { get; } = new();

    /// <summary>Converts a checkpoint directory.</summary>
    public static GgufPair Of(string checkpoint) => new(checkpoint);

    /// <summary>Writes <c>model.gguf</c> and <c>mmproj-model.gguf</c>; returns the path of the first.</summary>
    public string Save(string directory)
    {
        Projector.Save(Path.Combine(directory, "mmproj-model.gguf"));
        string path = Path.Combine(directory, "model.gguf");
        Model.Save(path);
        return path;
    }

    void AddText()
    {
        Model.Add("general.architecture", language).Add("general.type", "model").Add("general.name", "tiny");
        Number("block_count", "num_hidden_layers");
        Number("context_length", "max_position_embeddings");
        Number("embedding_length", "hidden_size");
        Number("feed_forward_length", "intermediate_size");
        Number("attention.head_count", "num_attention_heads");
        Number("attention.head_count_kv", "num_key_value_heads");
        Model.Add($"{language}.rope.freq_base", (float)textConfig["rope_theta"]!);
        Model.Add($"{language}.attention.layer_norm_rms_epsilon", (float)textConfig["rms_norm_eps"]!);
        int[] sections = [.. textConfig["rope_scaling"]!["mrope_section"]!.AsArray().Select(s => (int)s!), 0];
        Model.Add($"{language}.rope.dimension_sections", sections);
        if (language != "qwen2vl")
        {
            Number("attention.key_length", "head_dim");
            Number("attention.value_length", "head_dim");
            Model.Add($"{language}.n_deepstack_layers", (uint)vision["deepstack_visual_indexes"]!.AsArray().Count);
        }

        if (language == "qwen3vlmoe")
        {
            Number("expert_count", "num_experts");
            Number("expert_used_count", "num_experts_per_tok");
            Number("expert_feed_forward_length", "moe_intermediate_size");
        }

        void Number(string key, string field) => Model.Add($"{language}.{key}", (uint)textConfig[field]!);
    }

    void AddTokenizer()
    {
        JsonObject json = Json("tokenizer.json");
        int rows = (int)textConfig["vocab_size"]!;
        string[] tokens = [.. Enumerable.Range(0, rows).Select(i => $"[PAD{i}]")];
        int[] types = [.. Enumerable.Repeat(5, rows)];
        foreach ((string token, JsonNode? id) in json["model"]!["vocab"]!.AsObject())
        {
            (tokens[(int)id!], types[(int)id!]) = (token, 1);
        }

        foreach (JsonNode? added in json["added_tokens"]!.AsArray())
        {
            int id = (int)added!["id"]!;
            (tokens[id], types[id]) = ((string)added["content"]!, (bool)added["special"]! ? 3 : 4);
        }

        Model
            .Add("tokenizer.ggml.model", "gpt2")
            .Add("tokenizer.ggml.pre", "qwen2")
            .Add("tokenizer.ggml.tokens", tokens)
            .Add("tokenizer.ggml.token_type", types)
            .Add(
                "tokenizer.ggml.merges",
                [
                    .. json["model"]!["merges"]!
                        .AsArray()
                        .Select(m => m is JsonArray pair ? $"{pair[0]} {pair[1]}" : (string)m!),
                ]
            )
            .Add("tokenizer.ggml.eos_token_id", (uint)Array.IndexOf(tokens, "<|im_end|>"))
            .Add("tokenizer.ggml.padding_token_id", (uint)Array.IndexOf(tokens, "<|endoftext|>"))
            .Add("tokenizer.ggml.add_bos_token", false);
        using Checkpoint checkpoint = Checkpoint.Open(source);
        Model.Add("tokenizer.chat_template", checkpoint.ChatTemplate!);
    }

    void AddVision(string projector)
    {
        JsonObject processor = Json("preprocessor_config.json");
        Projector
            .Add("general.architecture", "clip")
            .Add("general.type", "mmproj")
            .Add("clip.has_vision_encoder", true)
            .Add("clip.projector_type", projector)
            .Add("clip.vision.projection_dim", (uint)textConfig["hidden_size"]!)
            .Add("clip.vision.image_size", 560u)
            .Add("clip.vision.patch_size", (uint)vision["patch_size"]!)
            .Add("clip.vision.embedding_length", (uint)(vision["embed_dim"] ?? vision["hidden_size"])!)
            // For Qwen2-VL the converter writes another field here.
            .Add("clip.vision.feed_forward_length", (uint)(vision["intermediate_size"] ?? vision["hidden_size"])!)
            .Add("clip.vision.block_count", (uint)vision["depth"]!)
            .Add("clip.vision.attention.head_count", (uint)vision["num_heads"]!)
            .Add("clip.vision.attention.layer_norm_epsilon", 1e-6f)
            .Add("clip.vision.image_mean", Floats("image_mean"))
            .Add("clip.vision.image_std", Floats("image_std"))
            .Add("clip.vision.image_min_pixels", Pixels("min_pixels", "shortest_edge"))
            .Add("clip.vision.image_max_pixels", Pixels("max_pixels", "longest_edge"))
            .Add("clip.use_gelu", language.StartsWith("qwen3", StringComparison.Ordinal));
        if (vision["fullatt_block_indexes"] is JsonArray full)
        {
            Projector.Add("clip.use_silu", true).Add("clip.vision.n_wa_pattern", (uint)full[0]! + 1);
        }

        float[] Floats(string name) => [.. processor[name]!.AsArray().Select(v => (float)v!)];

        uint Pixels(string flat, string nested) => (uint)(processor[flat] ?? processor["size"]![nested])!;
    }

    void AddTensors(string tower)
    {
        JsonNode names = JsonNode.Parse(File.ReadAllBytes(Goldens.Local("gguf/names.json")))!;
        (Regex Pattern, string[] Names)[] rules =
        [
            // Layers without experts have the dense model's names.
            .. new[] { language, language.Replace("moe", ""), tower }
                .SelectMany(section => names[section]!["tensors"]!.AsArray())
                .Select(rule =>
                    (
                        new Regex($"^{Regex.Escape((string)rule!["hf"]!).Replace("\\{bid}", "([0-9]+)")}$"),
                        rule["gguf"]!.AsArray().Select(name => (string)name!).ToArray()
                    )
                ),
            (new Regex("^lm_head.weight$"), ["output.weight"]),
        ];
        foreach (string file in Directory.GetFiles(source, "*.safetensors").Order())
        {
            using SafetensorsFile opened = SafetensorsFile.Open(file);
            foreach (TensorInfo tensor in opened.Tensors)
            {
                // Newer files of the older models have everything below model.
                string published =
                    language == "qwen2vl"
                        ? tensor.Name.Replace("model.language_model.", "model.").Replace("model.visual.", "visual.")
                        : tensor.Name;
                (Regex pattern, string[] targets) = rules.First(rule => rule.Pattern.IsMatch(published));
                string number = pattern.Match(published).Groups[1].Value;
                string layer = number;
                if (tensor.Name.Contains("deepstack"))
                {
                    layer = vision["deepstack_visual_indexes"]![int.Parse(number)]!.ToString();
                }

                AddTensor(
                    [.. targets.Select(name => name.Replace("{bid}", number).Replace("{layer}", layer))],
                    tensor.Shape,
                    opened.Floats(tensor.Name)
                );
            }
        }
    }

    void AddTensor(string[] names, int[] shape, float[] values)
    {
        GgufWriter target = names[0].StartsWith("v.") || names[0].StartsWith("mm.") ? Projector : Model;
        if (names[0].Contains("_exps"))
        {
            // [experts, inputs, outputs of all names] to [experts, outputs, inputs]
            (int experts, int inputs, int all) = (shape[0], shape[1], shape[2]);
            int outputs = all / names.Length;
            for (int n = 0; n < names.Length; n++)
            {
                float[] part = new float[experts * outputs * inputs];
                for (int i = 0; i < part.Length; i++)
                {
                    (int expert, int output, int input) = (i / inputs / outputs, i / inputs % outputs, i % inputs);
                    part[i] = values[(((expert * inputs) + input) * all) + (n * outputs) + output];
                }

                target.Add(names[n], [experts, outputs, inputs], part);
            }
        }
        else if (names.Length == 3)
        {
            int size = values.Length / 3;
            for (int i = 0; i < 3; i++)
            {
                target.Add(names[i], [shape[0] / 3, .. shape[1..]], values.AsSpan(i * size, size));
            }
        }
        else if (names.Length == 2)
        {
            // [width, channels, 2, rows, columns] to two of [width, channels, rows, columns]
            int window = shape[3] * shape[4];
            for (int frame = 0; frame < 2; frame++)
            {
                float[] half =
                [
                    .. Enumerable
                        .Range(0, shape[0] * shape[1])
                        .SelectMany(i => values.Skip(((2 * i) + frame) * window).Take(window)),
                ];
                target.Add(names[frame], [shape[0], shape[1], shape[3], shape[4]], half);
            }
        }
        else
        {
            target.Add(names[0], shape, values);
        }
    }

    JsonObject Json(string name) => JsonNode.Parse(File.ReadAllBytes(Path.Combine(source, name)))!.AsObject();
}
