using System.Text.Json.Nodes;
using VlmSharp.Formats;
using VlmSharp.Formats.Quantized;
using VlmSharp.Kernels;
using VlmSharp.Models.Blocks;
using VlmSharp.Tensors;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Formats.Quantized;

/// <summary>Layers that the published libraries quantised, against the values those libraries read from them.</summary>
public sealed class QuantizedLayerGoldenTests
{
    static readonly string[] Sets = [Goldens.Local("quant"), Goldens.SharedPath("golden/quant/layers")];

    public static TheoryData<int, string, string> Layers
    {
        get
        {
            TheoryData<int, string, string> layers = [];
            for (int set = 0; set < Sets.Length; set++)
            {
                if (File.Exists(Path.Combine(Sets[set], "layers.json")))
                {
                    foreach ((string file, JsonNode? entries) in Files(set))
                    {
                        foreach ((string layer, _) in entries!.AsObject().Where(entry => entry.Key != "table"))
                        {
                            layers.Add(set, file, layer);
                        }
                    }
                }
            }

            return layers;
        }
    }

    [Theory]
    [MemberData(nameof(Layers))]
    public void A_layer_has_the_values_that_the_library_reads(int set, string file, string layer)
    {
        JsonObject settings = Files(set)[file]![layer]!.AsObject();
        (int inputs, int outputs) = ((int)settings["in_features"]!, (int)settings["out_features"]!);
        string path = Path.Combine(Sets[set], $"{file}.safetensors");
        using LayerCheckpoint directory = new(Config(settings), path);
        using Checkpoint checkpoint = directory.Open();
        using WorkerPool pool = new(2);
        using Linear linear = new WeightSource(checkpoint, pool).Linear(
            inputs,
            (bool)settings["bias"]!,
            (layer, outputs)
        );
        float[] weight = checkpoint.Get($"{layer}.expected.weight", outputs, inputs).ToArray();
        float[] rows = LayerCheckpoint.Rows(linear);
        if ((bool)settings["exact"]!)
        {
            Near.SameBits(weight, rows, layer);
        }
        else
        {
            Near.RelativeToLargest(1e-6, Doubles(weight), rows, layer);
        }

        float[] x = checkpoint.Get($"{layer}.expected.x", 5, inputs).ToArray();
        using CpuOps ops = new(pool);
        Tensor rowsOfX = ops.Allocate(5, inputs);
        x.CopyTo(rowsOfX.Data);
        float[] y = ops.Linear(rowsOfX, linear).ToArray();
        Near.RelativeToLargest(1e-5, Doubles(checkpoint.Get($"{layer}.expected.y", 5, outputs).ToArray()), y, layer);

        // Any rows, also those that share words with others.
        IRowSource source = QuantizedLayer.Open(checkpoint, layer, outputs, inputs)!;
        foreach ((int first, int count) in new[] { (0, 1), (3, 7), (outputs - 5, 5), (outputs - 1, 1) })
        {
            float[] part = new float[count * inputs];
            source.Read(first, count, part);
            Near.SameBits(rows.AsSpan(first * inputs, part.Length), part, layer);
        }

        foreach (TensorInfo tensor in checkpoint.Tensors.Where(t => !IsStored(t.Name, layer)))
        {
            checkpoint.Ignore(tensor.Name, "of another layer, or what the library computes");
        }

        checkpoint.ThrowIfUnused();
    }

    [Fact]
    public void Every_byte_is_the_8_bit_float_that_torch_reads()
    {
        using SafetensorsFile file = SafetensorsFile.Open(Goldens.Local("quant/fp8.safetensors"));
        Near.SameBits(
            file.Floats("table.values"),
            [.. file.Bytes("table.bytes").ToArray().Select(Fp8Rows.Value)],
            "e4m3fn"
        );
    }

    [Theory]
    [InlineData("qwen2-vl-awq", "AWQ, 4 bit, groups of 128", 4)]
    [InlineData("qwen2.5-vl-awq", "AWQ, 4 bit, groups of 128", 4)]
    [InlineData("qwen2-vl-gptq-int4", "GPTQ version 1, 4 bit, groups of 128", 4)]
    [InlineData("qwen2-vl-gptq-int8", "GPTQ version 1, 8 bit, groups of 128", 8)]
    [InlineData("qwen3-vl-fp8", "FP8 (e4m3), blocks of 128x128", 32)]
    public void The_size_of_a_model_is_that_of_its_loaded_weights(string name, string quantization, int bits)
    {
        using Checkpoint checkpoint = Checkpoint.Open(Goldens.Shared($"golden/quant/{name}/checkpoint"));
        Assert.Equal(quantization, checkpoint.Quantization!.ToString());
        WeightSize weight = checkpoint.Weights.Single(w =>
            w.Name.Contains("layers.0.mlp.down_proj") && w.Count > 0 && !w.Name.EndsWith(".bias")
        );
        int inputs = name == "qwen3-vl-fp8" ? 320 : 256;
        long groups = bits == 32 ? 0 : 128 * inputs / 128; // with a scale of 2 bytes and a zero point of one
        Assert.Equal((128 * inputs, (128 * inputs * bits / 8) + (3 * groups)), (weight.Count, weight.LoadedBytes));
        WeightSize norm = checkpoint.Weights.Single(w => w.Name.EndsWith("layers.0.input_layernorm.weight"));
        Assert.Equal((128, 256), (norm.Count, norm.LoadedBytes));

        using WorkerPool pool = new(1);
        string layer = weight.Name[..weight.Name.LastIndexOf('.')];
        using Linear linear = new WeightSource(checkpoint, pool).Linear(inputs, bias: false, (layer, 128));
        Assert.Equal(weight.LoadedBytes, linear.Parts[0].Bytes);
    }

    static JsonObject Files(int set) =>
        JsonNode.Parse(File.ReadAllText(Path.Combine(Sets[set], "layers.json")))!["files"]!.AsObject();

    // What the config of a published checkpoint says of such a layer.
    static JsonObject Config(JsonObject layer)
    {
        JsonObject config = [];
        foreach ((string field, JsonNode? value) in layer)
        {
            config[field] = value?.DeepClone();
        }

        if ((string)layer["quant_method"]! == "compressed-tensors")
        {
            bool packed = (string)layer["format"]! == "pack-quantized";
            config["config_groups"] = new JsonObject
            {
                ["group_0"] = new JsonObject
                {
                    ["targets"] = new JsonArray("Linear"),
                    ["weights"] = new JsonObject
                    {
                        ["num_bits"] = packed ? (int)layer["bits"]! : 8,
                        ["type"] = packed ? "int" : "float",
                        ["strategy"] = (string)layer["strategy"]!,
                        ["group_size"] = layer["group_size"]?.DeepClone(),
                        ["symmetric"] = layer["symmetric"]?.DeepClone() ?? true,
                    },
                },
            };
        }

        return config;
    }

    static bool IsStored(string name, string layer) =>
        name.StartsWith($"{layer}.") && !name.Contains(".expected.") && !name.Contains(".w8a8.");

    static double[] Doubles(float[] values) => Array.ConvertAll(values, v => (double)v);
}
