using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using VlmSharp.Testing;

namespace VlmSharp.Tests.Models;

/// <summary>Tiny checkpoints whose heads are as wide as those of published models: 72, 80 or 104 in the tower, 128 in the decoder.</summary>
/// <remarks>Few layers and random weights; only the sizes that a head decides grow.</remarks>
static class TrueHeads
{
    /// <summary>Sizes of a head in tower and decoder.</summary>
    public static (int Tower, int Decoder) Of(string name) =>
        name switch
        {
            "qwen-vl" => (104, 128),
            "qwen3-vl-tied-bf16" => (72, 128),
            _ => (80, 128),
        };

    /// <summary>Writes one of <see cref="Engine.TinyModel.Names"/> with such heads.</summary>
    public static CheckpointCopy Write(string name)
    {
        using TemporaryDirectory first = new();
        if (name == "qwen-vl")
        {
            TinyQwenVL.Write(first.Path);
        }

        CheckpointCopy copy = new(name == "qwen-vl" ? first.Path : Goldens.Local($"{name}/checkpoint"));
        foreach (string file in Directory.EnumerateFiles(copy.Path).Select(f => Path.GetFileName(f)).ToArray())
        {
            copy.Write(file, copy.Read(file)); // no links: the original may be gone before the copy
        }

        // Where names match the pattern, sizes become others; the first pattern counts.
        (string Names, Dictionary<int, int> Sizes)[] rules;
        Action<JsonObject> change;
        switch (name)
        {
            case "qwen-vl": // tower: 3 heads; decoder: one head of 128 in place of four of 32
                rules = [("attn_pool.kv_proj|visual[.](?!attn_pool|ln_post|proj)", new() { [24] = 312, [72] = 936 })];
                change = config =>
                {
                    (config["num_attention_heads"], config["kv_channels"]) = (1, 128);
                    config["visual"]!["width"] = 312;
                    config["visual"]!["mlp_ratio"] = 50.5 / 312;
                };
                break;
            case "qwen2-vl":
                rules =
                [
                    ("visual[.]merger[.]mlp[.]2", new() { [96] = 640, [48] = 512 }),
                    (
                        "visual",
                        new()
                        {
                            [24] = 160,
                            [72] = 480,
                            [48] = 320,
                            [96] = 640,
                        }
                    ),
                    ("", new() { [48] = 512, [24] = 256 }),
                ];
                change = config =>
                {
                    Text(config);
                    (config["vision_config"]!["embed_dim"], config["vision_config"]!["hidden_size"]) = (160, 512);
                };
                break;
            case "qwen2.5-vl":
                rules =
                [
                    (
                        "visual",
                        new()
                        {
                            [24] = 160,
                            [72] = 480,
                            [48] = 512,
                            [96] = 640,
                        }
                    ),
                    ("", new() { [48] = 512, [24] = 256 }),
                ];
                change = config =>
                {
                    Text(config);
                    (config["vision_config"]!["hidden_size"], config["vision_config"]!["out_hidden_size"]) = (160, 512);
                };
                break;
            default:
                rules =
                [
                    (
                        "visual",
                        new()
                        {
                            [32] = 144,
                            [96] = 432,
                            [128] = 576,
                        }
                    ),
                ];
                change = config => config["vision_config"]!["hidden_size"] = 144;
                break;
        }

        copy.Json("config.json", change);
        foreach (
            string file in Directory
                .EnumerateFiles(copy.Path, "*.safetensors")
                .Select(f => Path.GetFileName(f))
                .ToArray()
        )
        {
            copy.Write(file, Resize(copy.Read(file), rules));
        }

        return copy;

        static void Text(JsonObject config)
        {
            config["hidden_size"] = 512;
            config["rope_scaling"]!["mrope_section"] = new JsonArray(16, 24, 24);
        }
    }

    static byte[] Resize(byte[] file, (string Names, Dictionary<int, int> Sizes)[] rules)
    {
        Random random = new(7);
        SafetensorsWriter writer = new();
        foreach ((string name, JsonNode? tensor) in JsonNode.Parse(SafetensorsWriter.Split(file).Header)!.AsObject())
        {
            if (name == "__metadata__")
            {
                continue;
            }

            Dictionary<int, int> sizes = rules.FirstOrDefault(rule => Regex.IsMatch(name, rule.Names)).Sizes ?? [];
            int[] shape =
            [
                .. tensor!["shape"]!
                    .AsArray()
                    .Select(d => sizes.GetValueOrDefault(d!.GetValue<int>(), d.GetValue<int>())),
            ];
            bool isNorm = shape.Length == 1 && name.EndsWith(".weight", StringComparison.Ordinal);
            double scale = shape.Length == 1 ? 0.2 : 2 / Math.Sqrt(shape.Skip(1).Aggregate(1, (a, b) => a * b));
            float[] values = new float[shape.Aggregate(1, (a, b) => a * b)];
            for (int i = 0; i < values.Length; i++)
            {
                values[i] = (float)((isNorm ? 1 : 0) + (scale * ((2 * random.NextDouble()) - 1)));
            }

            writer.Add(name, shape, values);
        }

        return writer.ToArray();
    }
}
