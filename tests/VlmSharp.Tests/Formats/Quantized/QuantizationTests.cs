using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json.Nodes;
using VlmSharp.Formats;
using VlmSharp.Formats.Quantized;
using VlmSharp.Kernels;
using VlmSharp.Models.Blocks;
using VlmSharp.Tensors;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Formats.Quantized;

/// <summary>What quantised layers of other shapes mean, and what is wrong with those that contradict themselves.</summary>
public sealed class QuantizationTests
{
    const string Awq = """{"quant_method": "awq", "bits": 4, "group_size": 4, "version": "gemm"}""";
    const string Gptq = """{"quant_method": "gptq", "bits": 4, "group_size": 4}""";
    const string Fp8 = """{"quant_method": "fp8", "weight_block_size": [3, 5]}""";
    const string Packed =
        """{"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"a": {"weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 4, "symmetric": true}}}}""";
    const string Nf4 = """{"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "nf4"}""";

    [Fact]
    public void Blocks_of_8_bit_floats_count_from_the_first_row_and_column()
    {
        byte[] bytes = [.. Enumerable.Range(0, 7 * 11).Select(i => (byte)(i * 37 % 127))];
        float[] scales = [.. Enumerable.Range(0, 9).Select(i => 0.25f + (i * 0.3f))];
        SafetensorsWriter file = new();
        file.Add("l.weight", "F8_E4M3", [7, 11], bytes).Add("l.weight_scale_inv", [3, 3], scales);
        file.Add("l.input_scale", [1], [2f]);
        using LayerCheckpoint directory = new(JsonNode.Parse(Fp8), file);
        float[] rows = directory.Load("l", 11, 7, threads: 3);
        for (int o = 0; o < 7; o++)
        {
            for (int i = 0; i < 11; i++)
            {
                Assert.Equal(Fp8Rows.Value(bytes[(o * 11) + i]) * scales[(o / 3 * 3) + (i / 5)], rows[(o * 11) + i]);
            }
        }
    }

    [Fact]
    public void Several_layers_are_stacked_whether_quantised_or_not()
    {
        SafetensorsWriter file = new();
        float[] plain = [.. Enumerable.Range(0, 3 * 8).Select(i => i / 7f)];
        AddGptq(file, "a", 8, 8, zero: 7, word: i => 0x76543210u * (uint)(i + 1));
        file.Add("b.weight", [3, 8], plain);
        using LayerCheckpoint directory = new(JsonNode.Parse(Gptq), file);
        using Checkpoint checkpoint = directory.Open();
        using WorkerPool pool = new(2);
        using Linear linear = new WeightSource(checkpoint, pool).Linear(8, false, ("a", 8), ("b", 3));
        float[] rows = LayerCheckpoint.Rows(linear);
        Assert.Equal(plain, rows[64..]);
        for (int o = 0; o < 8; o++)
        {
            for (int i = 0; i < 8; i++)
            {
                int q = (int)(((0x76543210u * (uint)(o + 1)) >> (4 * i)) & 15);
                Assert.Equal((q - 8) * (1 + (i / 4) + (o / 16f)), rows[(o * 8) + i]);
            }
        }

        checkpoint.ThrowIfUnused();
    }

    [Fact]
    public void The_largest_zero_point_stored_by_the_first_version_means_sixteen()
    {
        SafetensorsWriter file = new();
        AddGptq(file, "a", 8, 8, zero: 15, word: _ => 0);
        using LayerCheckpoint directory = new(JsonNode.Parse(Gptq), file);
        Assert.Equal(-16f, directory.Load("a", 8, 8)[0]);
    }

    [Fact]
    public void Zeros_where_the_architecture_has_no_bias_are_left_out_and_anything_else_is_an_error()
    {
        foreach (float value in new[] { 0f, 0.5f })
        {
            SafetensorsWriter file = new();
            AddGptq(file, "a", 8, 8, zero: 7, word: _ => 0);
            file.Add("a.bias", [8], [0, 0, 0, 0, 0, 0, 0, value]);
            using LayerCheckpoint directory = new(JsonNode.Parse(Gptq), file);
            if (value == 0)
            {
                directory.Load("a", 8, 8);
            }
            else
            {
                Assert.Contains("'a.bias' is not zero", Message(() => directory.Load("a", 8, 8)));
            }
        }
    }

    [Fact]
    public void Experts_may_be_quantised_one_by_one()
    {
        SafetensorsWriter file = new();
        for (int i = 0; i < 2; i++)
        {
            foreach (
                (string part, int rows, int columns) in new[]
                {
                    ("gate_proj", 4, 6),
                    ("up_proj", 4, 6),
                    ("down_proj", 6, 4),
                }
            )
            {
                byte[] bytes = [.. Enumerable.Range(0, rows * columns).Select(n => (byte)(n + i))];
                file.Add($"m.{i}.{part}.weight", "F8_E4M3", [rows, columns], bytes);
                file.Add(
                    $"m.{i}.{part}.weight_scale_inv",
                    [2, columns == 6 ? 2 : 1],
                    columns == 6 ? [1, 2, 3, 4] : [5, 6]
                );
            }
        }

        using LayerCheckpoint directory = new(JsonNode.Parse(Fp8), file);
        using Checkpoint checkpoint = directory.Open();
        using WorkerPool pool = new(2);
        using Experts experts = new WeightSource(checkpoint, pool).Experts("m", 2, 1, 6, 4);
        float[] row = new float[6];
        experts.GateUp(1).UnpackRow(7, row);
        Assert.Equal(Fp8Rows.Value(3 * 6 + 5 + 1) * 4, row[5]);
        checkpoint.ThrowIfUnused();
    }

    [Fact]
    public void The_settings_may_stand_in_a_file_of_their_own()
    {
        using TemporaryDirectory directory = new();
        File.WriteAllText(directory["config.json"], """{"architectures": ["x"]}""");
        File.WriteAllText(directory["quantize_config.json"], """{"bits": 8, "group_size": -1}""");
        new SafetensorsWriter().Save(directory["model.safetensors"]);
        using Checkpoint checkpoint = Checkpoint.Open(directory.Path);
        Assert.Equal("GPTQ version 1, 8 bit, one group a row", checkpoint.Quantization!.ToString());
    }

    [Theory]
    [InlineData("""{}""", "quant_method")]
    [InlineData("""{"quant_method": "hqq"}""", "'hqq', supported are awq, gptq, fp8, compressed-tensors, bitsandbytes")]
    [InlineData("""{"quant_method": "awq", "bits": 3, "group_size": 128}""", "bits' is 3, supported is 4")]
    [InlineData("""{"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemv"}""", "only gemm")]
    [InlineData("""{"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": false}""", "zero_point")]
    [InlineData("""{"quant_method": "awq", "bits": 4, "group_size": 0}""", "group_size")]
    [InlineData("""{"quant_method": "awq", "bits": 4, "group_size": -2}""", "group_size")]
    [InlineData("""{"quant_method": "awq", "bits": 4}""", "group_size")]
    [InlineData("""{"quant_method": "gptq", "bits": 2, "group_size": 128}""", "bits' is 2, supported are 4 and 8")]
    [InlineData("""{"quant_method": "gptq", "bits": 4, "group_size": 1e99}""", "group_size")]
    [InlineData("""{"quant_method": "gptq", "bits": 4, "group_size": 8, "checkpoint_format": "marlin"}""", "gptq_v2")]
    [InlineData(
        """{"quant_method": "gptq", "bits": 4, "group_size": 8, "is_marlin_format": true}""",
        "is_marlin_format"
    )]
    [InlineData("""{"quant_method": "fp8", "fmt": "e5m2"}""", "e4m3")]
    [InlineData("""{"quant_method": "fp8", "weight_block_size": [128]}""", "weight_block_size")]
    [InlineData("""{"quant_method": "fp8", "weight_block_size": [128, 0]}""", "weight_block_size")]
    [InlineData("""{"quant_method": "fp8", "weight_block_size": 128}""", "weight_block_size")]
    [InlineData("""{"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}""", "pack-quantized and")]
    [InlineData("""{"quant_method": "compressed-tensors", "format": "pack-quantized"}""", "config_groups")]
    [InlineData(
        """{"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {}}""",
        "no group with weights"
    )]
    [InlineData(
        """{"quant_method": "compressed-tensors", "format": "float-quantized", "transform_config": {"config_groups": {"u": {}}}, "config_groups": {}}""",
        "transform_config"
    )]
    [InlineData(
        """{"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"a": {"weights": {"num_bits": 8, "type": "float", "strategy": "group"}}}}""",
        "config_groups.a.weights.strategy"
    )]
    [InlineData(
        """{"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"a": {"weights": {"num_bits": 4, "type": "int", "strategy": "channel"}}, "b": {"weights": {"num_bits": 8, "type": "int", "strategy": "channel"}}}}""",
        "config_groups.b"
    )]
    [InlineData("""{"quant_method": "bitsandbytes", "load_in_8bit": true}""", "load_in_4bit")]
    [InlineData("""{"quant_method": "bitsandbytes", "load_in_4bit": true}""", "bnb_4bit_quant_type")]
    [InlineData("[]", "quantization_config")]
    public void A_method_or_setting_that_is_not_supported_is_refused_by_name(string json, string message)
    {
        using LayerCheckpoint directory = new(JsonNode.Parse(json), new SafetensorsWriter());
        string text = Message(() => directory.Open());
        Assert.StartsWith("config.json: field 'quantization_config", text);
        Assert.Contains(message, text);
    }

    // Tensor, its type and shape in the damaged file (absent: the tensor is left out), and what the error says.
    [Theory]
    [InlineData(Awq, "qweight", "I32", "8,2", "expected I32 [8, 1]")]
    [InlineData(Awq, "qweight", "I32", "8", "expected I32 [8, 1]")]
    [InlineData(Awq, "qweight", "F32", "8,1", "is F32 [8, 1], expected I32")]
    [InlineData(Awq, "qzeros", "I32", "3,1", "expected I32 [2, 1]")]
    [InlineData(Awq, "qzeros", null, "", "'l.qzeros'")]
    [InlineData(Awq, "scales", "F16", "8,2", "asks for [2, 8]")]
    [InlineData(Awq, "scales", "I32", "2,8", "F32, F16 or BF16")]
    [InlineData(Awq, "scales", null, "", "'l.scales'")]
    [InlineData(Gptq, "qweight", "I32", "8,1", "expected I32 [1, 8]")]
    [InlineData(Gptq, "qweight", "I64", "1,8", "is I64")]
    [InlineData(Gptq, "qzeros", "I32", "1,1", "expected I32 [2, 1]")]
    [InlineData(Gptq, "scales", "F16", "1,8", "asks for [2, 8]")]
    [InlineData(Gptq, "scales", "U8", "2,8", "F32, F16 or BF16")]
    [InlineData(Gptq, "g_idx", "I32", "7", "expected I32 [8]")]
    [InlineData(Gptq, "g_idx", "I64", "8", "expected I32 [8]")]
    [InlineData(Fp8, "weight", "F8_E4M3", "8,9", "expected F8_E4M3 [8, 8]")]
    [InlineData(Fp8, "weight_scale_inv", "F32", "3,3", "asks for [3, 2]")]
    [InlineData(Fp8, "weight_scale_inv", "F32", "2", "asks for [3, 2]")]
    [InlineData(Fp8, "weight_scale_inv", "F8_E4M3", "3,2", "F32, F16 or BF16")]
    [InlineData(Fp8, "weight_scale_inv", null, "", "no 'weight_scale_inv' or 'weight_scale'")]
    [InlineData(Packed, "weight_packed", "I32", "8,2", "expected I32 [8, 1]")]
    [InlineData(Packed, "weight_scale", "F16", "8,3", "asks for [8, 2]")]
    [InlineData(Packed, "weight_shape", "I64", "3", "expected I64 [2]")]
    [InlineData(Packed, "weight_shape", "I64", "2", "says [0, 0]")]
    [InlineData(Packed, "weight_shape", null, "", "'l.weight_shape'")]
    [InlineData(Nf4, "weight", "U8", "31,1", "expected U8 [32, 1]")]
    [InlineData(Nf4, "weight.absmax", "F32", "7", "asks for [8]")]
    [InlineData(Nf4, "weight.quant_map", "F32", "15", "asks for [16]")]
    [InlineData(Nf4, "weight.quant_state.bitsandbytes__nf4", "U8", "4", "quant_state")]
    [InlineData(Nf4, "weight.quant_state.bitsandbytes__nf4", "U8", "0", "quant_state")]
    [InlineData(Nf4, "weight.quant_state.bitsandbytes__nf4", "I32", "1", "expected U8")]
    public void A_tensor_that_does_not_fit_is_named(
        string config,
        string tensor,
        string? type,
        string shape,
        string message
    )
    {
        using LayerCheckpoint whole = new(JsonNode.Parse(config), Layer(config));
        Assert.Equal(64, whole.Load("l", 8, 8).Length);
        SafetensorsWriter file = Layer(config, except: tensor);
        if (type is not null)
        {
            int[] sizes = [.. shape.Split(',').Select(int.Parse)];
            int bits = type switch
            {
                "I64" => 64,
                "I32" or "F32" => 32,
                "F16" => 16,
                _ => 8,
            };
            file.Add($"l.{tensor}", type, sizes, new byte[sizes.Aggregate(bits / 8, (a, b) => a * b)]);
        }

        using LayerCheckpoint directory = new(JsonNode.Parse(config), file);
        string text = Message(() => directory.Load("l", 8, 8));
        Assert.Contains("l.", text);
        Assert.Contains(message, text);
    }

    [Theory]
    [InlineData(2)]
    [InlineData(-1)]
    [InlineData(int.MinValue)]
    public void A_group_that_does_not_exist_is_named(int group)
    {
        SafetensorsWriter file = Layer(Gptq);
        file.Add("l.g_idx", "I32", [8], MemoryMarshal.AsBytes<int>([0, 1, 0, 1, group, 0, 0, 0]));
        using LayerCheckpoint directory = new(JsonNode.Parse(Gptq), file);
        Assert.Equal(
            $"model.safetensors: tensor 'l.g_idx' has group {group} for input 4, expected 0 .. 1",
            Message(() => directory.Load("l", 8, 8))
        );
    }

    [Theory]
    [InlineData(Awq, Gptq)]
    [InlineData(Gptq, Fp8)]
    [InlineData(Fp8, Packed)]
    [InlineData(Packed, Nf4)]
    [InlineData(Nf4, Awq)]
    [InlineData(Packed, null)]
    public void Tensors_of_another_method_than_the_configs_are_an_error(string tensors, string? config)
    {
        using LayerCheckpoint directory = new(config is null ? null : JsonNode.Parse(config), Layer(tensors));
        string text = Message(() => directory.Load("l", 8, 8));
        // AWQ and GPTQ have the same tensors in other shapes.
        Assert.Contains(tensors == Awq ? "'l.qweight' is I32" : "'quantization_config'", text);
    }

    [Theory]
    [InlineData(Awq, 12, 8)]
    [InlineData(Awq, 8, 10)]
    [InlineData(Gptq, 12, 8)]
    [InlineData(Gptq, 8, 12)]
    public void Sizes_that_words_and_groups_do_not_divide_are_an_error(string config, int outputs, int inputs)
    {
        using LayerCheckpoint directory = new(JsonNode.Parse(config), Layer(config));
        string text = Message(() => directory.Load("l", inputs, outputs));
        Assert.Contains($"{outputs} outputs and {inputs} inputs", text);
    }

    [Fact]
    public void What_stays_over_of_a_quantised_layer_is_an_error()
    {
        SafetensorsWriter file = Layer(Gptq);
        file.Add("l.weight_scale", [1], [1f]);
        using LayerCheckpoint directory = new(JsonNode.Parse(Gptq), file);
        using Checkpoint checkpoint = directory.Open();
        using WorkerPool pool = new(1);
        using Linear linear = new WeightSource(checkpoint, pool).Linear(8, false, ("l", 8));
        Assert.Contains("'l.weight_scale'", Message(checkpoint.ThrowIfUnused));
    }

    // A layer 'l' of 8 outputs and 8 inputs, all of it or all but one tensor.
    static SafetensorsWriter Layer(string config, string? except = null)
    {
        SafetensorsWriter file = new();
        switch (config)
        {
            case Awq:
                Add("qweight", "I32", [8, 1], new byte[32]);
                Add("qzeros", "I32", [2, 1], new byte[8]);
                Add("scales", "F16", [2, 8], new byte[32]);
                break;
            case Gptq:
                Add("qweight", "I32", [1, 8], new byte[32]);
                Add("qzeros", "I32", [2, 1], new byte[8]);
                Add("scales", "F16", [2, 8], new byte[32]);
                break;
            case Fp8:
                Add("weight", "F8_E4M3", [8, 8], new byte[64]);
                Add("weight_scale_inv", "F32", [3, 2], new byte[24]);
                break;
            case Packed:
                Add("weight_packed", "I32", [8, 1], new byte[32]);
                Add("weight_scale", "F16", [8, 2], new byte[32]);
                Add("weight_shape", "I64", [2], MemoryMarshal.AsBytes<long>([8, 8]));
                break;
            default:
                byte[] state = Encoding.UTF8.GetBytes("""{"quant_type": "nf4", "blocksize": 8, "shape": [8, 8]}""");
                Add("weight", "U8", [32, 1], new byte[32]);
                Add("weight.absmax", "F32", [8], new byte[32]);
                Add("weight.quant_map", "F32", [16], new byte[64]);
                Add("weight.quant_state.bitsandbytes__nf4", "U8", [state.Length], state);
                break;
        }

        return file;

        void Add(string name, string type, int[] shape, ReadOnlySpan<byte> bytes)
        {
            if (name != except)
            {
                file.Add($"l.{name}", type, shape, bytes);
            }
        }
    }

    // Groups of four inputs; the scale of output o and group g is 1 + g + o / 16.
    static void AddGptq(SafetensorsWriter file, string name, int outputs, int inputs, uint zero, Func<int, uint> word)
    {
        int groups = inputs / 4;
        uint[] weight = [.. Enumerable.Range(0, inputs / 8 * outputs).Select(word)];
        uint[] zeros = new uint[groups * outputs / 8];
        Array.Fill(zeros, zero * 0x11111111);
        float[] scales =
        [
            .. Enumerable.Range(0, groups * outputs).Select(i => 1 + (i / outputs) + (i % outputs / 16f)),
        ];
        file.Add($"{name}.qweight", "I32", [inputs / 8, outputs], MemoryMarshal.AsBytes<uint>(weight));
        file.Add($"{name}.qzeros", "I32", [groups, outputs / 8], MemoryMarshal.AsBytes<uint>(zeros));
        file.Add($"{name}.scales", [groups, outputs], scales);
    }

    static string Message(Action act) => Assert.Throws<CheckpointException>(act).Message;

    static string Message(Func<object?> act) => Assert.Throws<CheckpointException>(act).Message;
}
