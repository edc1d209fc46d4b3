using System.Text.Json.Nodes;

namespace VlmSharp.Testing;

public static partial class CheckpointMutations
{
    // What is wrong wherever a positive count belongs.
    static readonly string[] NoCount =
    [
        "0",
        "-1",
        "-9223372036854775808",
        "1.5",
        "1e999",
        "2147483648",
        "99999999999999999999",
        "\"2\"",
        "true",
        "[2]",
        "{}",
    ];

    // What is wrong wherever a finite number above zero belongs.
    static readonly string[] NoNumber = ["1e999", "-1e999", "\"1\"", "true", "[]", "{}"];

    static IEnumerable<CheckpointMutation> Configs(string directory)
    {
        JsonObject config = JsonNode.Parse(File.ReadAllText(Path.Combine(directory, "config.json")))!.AsObject();

        // Older files keep the decoder's fields at the top, newer ones in an object of their own.
        string text = config.ContainsKey("text_config") ? "text_config." : "";
        return
        [
            .. Rows(
                "config.json",
                LoadStage.Files,
                "architectures",
                null,
                "null",
                "\"Qwen2VLForConditionalGeneration\"",
                "[]",
                "[1]",
                "[null]",
                "{}"
            ),
            .. Rows(
                "config.json",
                LoadStage.Files,
                "architectures",
                $"[{string.Join(", ", Enumerable.Repeat("\"A\"", 1000))}]"
            ),
            .. Rows("config.json", LoadStage.Files, $"{text}vocab_size", NoCount),
            .. ModelConfig(config, text),
            .. GenerationConfig(config, text),
            .. ProcessorConfig(Processor, null),
            .. ProcessorConfig(
                "video_preprocessor_config.json",
                copy => copy.Write("video_preprocessor_config.json", copy.Read(Processor))
            ),
        ];
    }

    // These need the model: it knows which fields it reads and which tensors follow from them.
    static List<CheckpointMutation> ModelConfig(JsonObject config, string text)
    {
        int vocabulary = (text.Length > 0 ? config["text_config"]! : config)["vocab_size"]!.GetValue<int>();
        // The tower's width has another name from Qwen2.5-VL on.
        JsonObject vision = config["vision_config"]!.AsObject();
        string width = vision.ContainsKey("embed_dim") ? "vision_config.embed_dim" : "vision_config.hidden_size";
        string[] counts =
        [
            $"{text}hidden_size",
            $"{text}intermediate_size",
            $"{text}num_hidden_layers",
            $"{text}num_attention_heads",
            $"{text}num_key_value_heads",
            "vision_config.depth",
            width,
            .. Present("intermediate_size", "out_hidden_size", "window_size", "num_position_embeddings"),
            .. PresentInText(
                "head_dim",
                "num_experts",
                "num_experts_per_tok",
                "moe_intermediate_size",
                "decoder_sparse_step"
            ),
            "vision_config.num_heads",
            "vision_config.patch_size",
            "vision_config.spatial_merge_size",
            "vision_config.temporal_patch_size",
        ];
        List<CheckpointMutation> all = [];
        foreach (string path in counts)
        {
            all.AddRange(Rows("config.json", LoadStage.Model, path, NoCount));
        }

        foreach (
            string path in (string[])
                ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"]
        )
        {
            all.Add(Field("config.json", LoadStage.Model, text + path, null));
        }

        foreach (string token in (string[])["image_token_id", "video_token_id", "vision_start_token_id"])
        {
            all.AddRange(
                Rows(
                    "config.json",
                    LoadStage.Model,
                    token,
                    "-1",
                    "1.5",
                    "\"432\"",
                    "2147483648",
                    "[432]",
                    $"{vocabulary}"
                )
            );
        }

        foreach (string path in (string[])[$"{text}rms_norm_eps", $"{text}rope_theta"])
        {
            all.AddRange(Rows("config.json", LoadStage.Model, path, [.. NoNumber, "-1"]));
        }

        foreach (string path in Present("fullatt_block_indexes", "deepstack_visual_indexes"))
        {
            all.AddRange(
                Rows("config.json", LoadStage.Model, path, "1", "\"1\"", "[-1]", "[0.5]", "[1000]", "[\"1\"]")
            );
        }

        foreach (string path in Present("deepstack_visual_indexes"))
        {
            all.AddRange(Rows("config.json", LoadStage.Model, path, null, "[0, 0]"));
            all.Add(Field("config.json", LoadStage.Model, "vision_config.num_position_embeddings", "35"));
            all.Add(Field("config.json", LoadStage.Model, "vision_config.hidden_act", "\"gelu\""));
            all.Add(Field("config.json", LoadStage.Model, $"{text}attention_bias", "true"));
            all.Add(Field("config.json", LoadStage.Model, $"{text}rope_scaling.mrope_interleaved", "false"));
            all.Add(Field("config.json", LoadStage.Model, $"{text}rope_scaling.rope_type", "\"linear\""));
            all.Add(Field("config.json", LoadStage.Model, $"{text}rope_scaling.rope_type", "\"yarn\"")); // without a factor
        }

        foreach (string path in PresentInText("num_experts"))
        {
            all.Add(Field("config.json", LoadStage.Model, path, null));
            all.Add(Field("config.json", LoadStage.Model, $"{text}num_experts_per_tok", "9"));
            all.AddRange(Rows("config.json", LoadStage.Model, $"{text}mlp_only_layers", "1", "[-1]", "[\"1\"]"));
        }

        string section = $"{text}rope_scaling.mrope_section";
        all.AddRange(
            Rows(
                "config.json",
                LoadStage.Model,
                section,
                "1",
                "\"1\"",
                "[]",
                "[1, 2]",
                "[1, 2, 1000]",
                "[-1, 4, 3]",
                "[1, 2, \"3\"]",
                "[1, 2.5, 2.5]"
            )
        );
        foreach (string value in (string[])["\"false\"", "0"])
        {
            // Newer files have it in two places, of which different readers believe different ones.
            Action<CheckpointCopy> top = copy =>
                copy.Json("config.json", root => Set(root, "tie_word_embeddings", value));
            all.Add(Field("config.json", LoadStage.Model, $"{text}tie_word_embeddings", value, top));
        }

        all.AddRange(Rows("config.json", LoadStage.Model, "vision_config", null, "null", "1", "[]"));
        all.AddRange(Rows("config.json", LoadStage.Model, "architectures", "[\"NoSuchModel\"]"));

        // Well-formed, but the tensors say otherwise; the error may name the config or the file with the tensor.
        foreach (
            (string path, int change) in ((string, int)[])
                [
                    ($"{text}hidden_size", 8),
                    ($"{text}intermediate_size", 1),
                    ($"{text}num_hidden_layers", 1),
                    ($"{text}num_hidden_layers", -1),
                    ($"{text}num_key_value_heads", 1),
                    ($"{text}vocab_size", 1),
                    ("vision_config.depth", 1),
                    ("vision_config.depth", -1),
                    (width, 8),
                    ("vision_config.patch_size", 1),
                    ("vision_config.temporal_patch_size", 1),
                    ("vision_config.spatial_merge_size", 1),
                    .. Present("intermediate_size", "out_hidden_size").Select(path => (path, 1)),
                    .. PresentInText("head_dim").Select(path => (path, 2)),
                    .. PresentInText("num_experts", "moe_intermediate_size", "decoder_sparse_step")
                        .Select(path => (path, 1)),
                ]
        )
        {
            JsonNode node = path.Split('.').Aggregate((JsonNode)config, (at, name) => at[name]!);
            CheckpointMutation mutation = Field(
                "config.json",
                LoadStage.Model,
                path,
                $"{node.GetValue<int>() + change}"
            );
            all.Add(mutation with { Name = $"config.json: {path} contradicts the tensors by {change}", File = "" });
        }

        return all;

        IEnumerable<string> Present(params IEnumerable<string> fields) =>
            fields.Where(vision.ContainsKey).Select(field => $"vision_config.{field}");

        IEnumerable<string> PresentInText(params IEnumerable<string> fields) =>
            fields
                .Where((text.Length > 0 ? config["text_config"]! : config).AsObject().ContainsKey)
                .Select(field => text + field);
    }

    static IEnumerable<CheckpointMutation> GenerationConfig(JsonObject config, string text)
    {
        int vocabulary = (text.Length > 0 ? config["text_config"]! : config)["vocab_size"]!.GetValue<int>();
        string tooMany = $"[{string.Join(", ", Enumerable.Repeat("1", 100_000))}]";
        return
        [
            .. Rows(
                Generation,
                LoadStage.Files,
                "eos_token_id",
                "-1",
                "\"420\"",
                "1.5",
                "true",
                "{}",
                "2147483648",
                $"{vocabulary}"
            ),
            .. Rows(
                Generation,
                LoadStage.Files,
                "eos_token_id",
                "[-1]",
                "[\"420\"]",
                "[[420]]",
                "[420, null]",
                $"[420, {vocabulary}]",
                tooMany
            ),
            .. Rows(Generation, LoadStage.Files, "do_sample", "1", "\"true\"", "[]"),
            .. Rows(Generation, LoadStage.Files, "temperature", [.. NoNumber, "-0.1"]),
            .. Rows(Generation, LoadStage.Files, "top_k", "-1", "1.5", "\"1\"", "2147483648"),
            .. Rows(Generation, LoadStage.Files, "top_p", [.. NoNumber, "-0.1", "1.5"]),
            .. Rows(Generation, LoadStage.Files, "min_p", "-0.1", "1.5", "\"0\""),
            .. Rows(Generation, LoadStage.Files, "repetition_penalty", [.. NoNumber, "0", "-1"]),
            .. Rows(Generation, LoadStage.Files, "max_new_tokens", NoCount),
        ];
    }

    static List<CheckpointMutation> ProcessorConfig(string file, Action<CheckpointCopy>? create)
    {
        string[] noChannels =
        [
            "null",
            "0.5",
            "\"0.5\"",
            "[]",
            "[0.5]",
            "[0.5, 0.5]",
            "[0.5, 0.5, 0.5, 0.5]",
            "[0.5, 0.5, \"0.5\"]",
            "[0.5, 0.5, null]",
            "[0.5, 0.5, 1e999]",
        ];
        // Where only the older spelling gives the limits.
        Action<CheckpointCopy> older = copy =>
        {
            create?.Invoke(copy);
            copy.Json(
                file,
                root =>
                {
                    root.TryAdd("min_pixels", root["size"]?["shortest_edge"]?.DeepClone());
                    root.TryAdd("max_pixels", root["size"]?["longest_edge"]?.DeepClone());
                    root.Remove("size");
                }
            );
        };
        List<CheckpointMutation> all = [];
        foreach (string path in (string[])["patch_size", "temporal_patch_size", "merge_size", "min_pixels"])
        {
            Add(path, [null, .. NoCount[..^4], "1000000000000000", "\"2\"", "true", "[2]", "{}"]);
        }

        Add("max_pixels", null, "0", "-1", "1.5", "\"3136\"", "3135", "9223372036854775808");
        Add("image_mean", [null, .. noChannels]);
        Add("image_std", [null, .. noChannels, "[0.5, 0.5, 0]", "[0.5, 0.5, -0.5]"]);
        Add("rescale_factor", [.. NoNumber, "0", "-1"]);
        Add("resample", "0", "2", "9", "-1", "\"bicubic\"");
        foreach (string step in (string[])["do_resize", "do_rescale", "do_normalize", "do_convert_rgb"])
        {
            Add(step, "false", "1", "\"true\"");
        }

        Add("size", "1", "\"large\"", "[56, 56]");
        if (create is not null)
        {
            Add("fps", [.. NoNumber, "0", "-1"]);
            Add("min_frames", NoCount);
            Add("max_frames", NoCount);
        }

        // Where only the newer spelling gives the limits.
        Action<CheckpointCopy> newer = copy =>
        {
            create?.Invoke(copy);
            copy.Json(
                file,
                root =>
                {
                    root.Remove("min_pixels");
                    root.Remove("max_pixels");
                    root["size"] = new JsonObject { ["shortest_edge"] = 3136, ["longest_edge"] = 12845056 };
                }
            );
        };
        foreach (string value in (string[])["0", "-1", "1.5", "\"3136\"", "null", "9223372036854775808"])
        {
            all.Add(Field(file, LoadStage.Files, "size.shortest_edge", value, newer));
            all.Add(Field(file, LoadStage.Files, "size.longest_edge", value, newer));
        }

        all.Add(Field(file, LoadStage.Files, "size.shortest_edge", null, newer));
        all.Add(Field(file, LoadStage.Files, "size.longest_edge", null, newer));
        all.Add(Field(file, LoadStage.Files, "size.longest_edge", "3135", newer));
        all.Add(Field(file, LoadStage.Files, "size", """{"height": 56, "width": 56}""", newer));
        return all;

        void Add(string path, params ReadOnlySpan<string?> values)
        {
            foreach (string? value in values)
            {
                all.Add(Field(file, LoadStage.Files, path, value, older));
            }
        }
    }

    static IEnumerable<CheckpointMutation> Rows(string file, LoadStage stage, string path, params string?[] values) =>
        values.Select(value => Field(file, stage, path, value));
}
