using VlmSharp.Kernels;

namespace VlmSharp.Formats.Quantized;

/// <summary>Layouts of quantised layers that can be read.</summary>
public enum QuantizationFormat
{
    /// <summary>AutoAWQ's <c>gemm</c>.</summary>
    Awq,

    /// <summary>AutoGPTQ's and gptqmodel's.</summary>
    Gptq,

    /// <summary>8-bit floats with a scale for each block, row or matrix.</summary>
    Fp8,

    /// <summary>compressed-tensors' <c>pack-quantized</c>.</summary>
    Packed,

    /// <summary>bitsandbytes' 4-bit normal floats.</summary>
    Nf4,
}

/// <summary>What <c>quantization_config</c> says about how quantised layers are stored; which layers are is told by their tensors.</summary>
/// <remarks>
/// Lists of layers in the file (<c>modules_to_not_convert</c>, <c>ignored_layers</c>, <c>ignore</c>, <c>targets</c>) are not read: their
/// spelling differs from writer to writer, and the tensors say the same.
/// </remarks>
public sealed record Quantization
{
    const string Field = "quantization_config";
    const int MaxGroup = 1 << 20;

    static readonly string[] Methods = ["awq", "gptq", "fp8", "compressed-tensors", "bitsandbytes"];

    /// <summary>The layout.</summary>
    public required QuantizationFormat Format { get; init; }

    /// <summary>Bits of a stored weight.</summary>
    public required int Bits { get; init; }

    /// <summary>Neighbouring inputs that share a scale; -1 where all of a row do.</summary>
    public int GroupSize { get; init; } = -1;

    /// <summary>Rows and columns that share a scale of FP8, or null where a row or the whole matrix does.</summary>
    public (int Rows, int Columns)? Block { get; init; }

    /// <summary>Whether there are no zero points in the file.</summary>
    public bool Symmetric { get; init; }

    /// <summary>What is added to a stored zero point: 1 in GPTQ's first version.</summary>
    public int ZeroOffset { get; init; }

    /// <summary>Reads <c>quantization_config</c> of a <c>config.json</c>, or the file of its own that AutoGPTQ writes beside it.</summary>
    /// <param name="config">The whole <c>config.json</c>.</param>
    /// <param name="separate"><c>quantize_config.json</c>, or null where there is none.</param>
    /// <returns>Null where neither says anything.</returns>
    /// <exception cref="CheckpointException">The method or one of its settings is not supported.</exception>
    internal static Quantization? Read(JsonObjectReader config, JsonObjectReader? separate)
    {
        JsonObjectReader? json = config.OptionalObject(Field) ?? separate;
        if (json is null)
        {
            return null;
        }

        // The file of its own is older than the field.
        string method = json == separate ? json.Text("quant_method", "gptq") : json.Text("quant_method");
        return method switch
        {
            "awq" => ReadAwq(json),
            "gptq" => ReadGptq(json),
            "fp8" => ReadFp8(json),
            "compressed-tensors" => ReadCompressed(json),
            "bitsandbytes" => ReadBitsAndBytes(json),
            _ => throw json.Error(
                "quant_method",
                $"is {Quote.Name(method)}, supported are {string.Join(", ", Methods)}"
            ),
        };
    }

    static Quantization ReadAwq(JsonObjectReader json)
    {
        // gptqmodel writes the same layout and names it as it does its own.
        string field = json.Has("version") ? "version" : "checkpoint_format";
        string version = json.Text(field, "gemm");
        if (!version.Equals("gemm", StringComparison.OrdinalIgnoreCase))
        {
            throw json.Error(field, $"is {Quote.Name(version)}, of AWQ only gemm is supported");
        }

        if (!json.Bool("zero_point", true))
        {
            throw json.Error("zero_point", "is false; AWQ is supported with zero points only");
        }

        return new Quantization
        {
            Format = QuantizationFormat.Awq,
            Bits = ReadBits(json, "bits", 4),
            GroupSize = ReadGroupSize(json),
        };
    }

    static Quantization ReadGptq(JsonObjectReader json)
    {
        string format = json.Text("checkpoint_format", "gptq");
        if (format is not ("gptq" or "gptq_v2"))
        {
            throw json.Error("checkpoint_format", $"is {Quote.Name(format)}, supported are gptq and gptq_v2");
        }

        if (json.Bool("is_marlin_format", false))
        {
            throw json.Error("is_marlin_format", "is true; supported are gptq and gptq_v2 (checkpoint_format)");
        }

        return new Quantization
        {
            Format = QuantizationFormat.Gptq,
            Bits = ReadBits(json, "bits", 4, 8),
            GroupSize = ReadGroupSize(json),
            ZeroOffset = format == "gptq" ? 1 : 0,
        };
    }

    static Quantization ReadFp8(JsonObjectReader json)
    {
        json.Require("fmt", "e4m3");
        return new Quantization
        {
            Format = QuantizationFormat.Fp8,
            Bits = 8,
            Block = ReadBlock(json, "weight_block_size"),
        };
    }

    static Quantization ReadCompressed(JsonObjectReader json)
    {
        string format = json.Text("format");
        if (format is not ("pack-quantized" or "float-quantized"))
        {
            throw json.Error("format", $"is {Quote.Name(format)}, supported are pack-quantized and float-quantized");
        }

        if (json.Has("transform_config") && json.Object("transform_config").Has("config_groups"))
        {
            throw json.Error("transform_config", "is set; weights that were transformed are not supported");
        }

        if (json.OptionalObject("sparsity_config") is { } sparsity)
        {
            sparsity.Require("format", "dense");
        }

        JsonObjectReader groups = json.Object("config_groups");
        Quantization? scheme = null;
        foreach (string name in groups.Names)
        {
            JsonObjectReader group = groups.Object(name);
            if (group.OptionalObject("weights") is not { } weights)
            {
                continue;
            }

            group.Require("format", format);
            Quantization read = format == "pack-quantized" ? ReadIntegers(weights) : ReadFloats(weights);
            if (scheme is not null && scheme != read)
            {
                throw groups.Error(name, "stores weights in another way than the groups before it, expected one way");
            }

            scheme = read;
        }

        return scheme ?? throw json.Error("config_groups", "has no group with weights");
    }

    static Quantization ReadIntegers(JsonObjectReader json)
    {
        json.Require("type", "int");
        json.Require("strategy", "group", "channel");
        return new Quantization
        {
            Format = QuantizationFormat.Packed,
            Bits = ReadBits(json, "num_bits", 4, 8),
            GroupSize = json.Text("strategy") == "group" ? ReadGroupSize(json) : -1,
            Symmetric = json.Bool("symmetric", true),
        };
    }

    static Quantization ReadFloats(JsonObjectReader json)
    {
        json.Require("type", "float");
        json.Require("strategy", "tensor", "channel", "block");
        if (!json.Bool("symmetric", true))
        {
            throw json.Error("symmetric", "is false; 8-bit floats are supported without zero points only");
        }

        return new Quantization
        {
            Format = QuantizationFormat.Fp8,
            Bits = ReadBits(json, "num_bits", 8),
            Block = json.Text("strategy") == "block" ? ReadBlock(json, "block_structure") : null,
        };
    }

    static Quantization ReadBitsAndBytes(JsonObjectReader json)
    {
        if (!json.Bool("load_in_4bit", false))
        {
            throw json.Error("load_in_4bit", "is not true; of bitsandbytes only 4 bits (NF4) are supported");
        }

        if (json.Text("bnb_4bit_quant_type", "fp4") != "nf4")
        {
            throw json.Error("bnb_4bit_quant_type", "is not nf4; of bitsandbytes only NF4 is supported");
        }

        return new Quantization { Format = QuantizationFormat.Nf4, Bits = 4 };
    }

    static int ReadBits(JsonObjectReader json, string field, params ReadOnlySpan<int> supported)
    {
        int bits = json.Int(field, 1, 64);
        return supported.Contains(bits)
            ? bits
            : throw json.Error(
                field,
                $"is {bits}, supported {(supported.Length > 1 ? "are" : "is")} {string.Join(" and ", supported.ToArray())}"
            );
    }

    static int ReadGroupSize(JsonObjectReader json)
    {
        int size = json.Int("group_size", -1, MaxGroup);
        return size != 0
            ? size
            : throw json.Error("group_size", $"is 0, expected 1 .. {MaxGroup}, or -1 for whole rows");
    }

    static (int, int)? ReadBlock(JsonObjectReader json, string field)
    {
        if (!json.Has(field))
        {
            return null;
        }

        int[] block = json.Ints(field, 2, 1, MaxGroup);
        return block.Length == 2
            ? (block[0], block[1])
            : throw json.Error(field, $"has {block.Length} items, expected rows and columns of a block");
    }

    /// <summary><c>GPTQ, 4 bit, groups of 128</c></summary>
    public override string ToString()
    {
        string groups = GroupSize < 0 ? "one group a row" : $"groups of {GroupSize}";
        return Format switch
        {
            QuantizationFormat.Awq => $"AWQ, {Bits} bit, {groups}",
            QuantizationFormat.Gptq => $"GPTQ version {2 - ZeroOffset}, {Bits} bit, {groups}",
            QuantizationFormat.Packed => $"compressed-tensors, {Bits} bit, {groups}",
            QuantizationFormat.Fp8 when Block is { } block => $"FP8 (e4m3), blocks of {block.Rows}x{block.Columns}",
            QuantizationFormat.Fp8 => "FP8 (e4m3), one scale a row or matrix",
            _ => "bitsandbytes NF4",
        };
    }

    /// <summary>What a tensor of the checkpoint stands for once it is loaded.</summary>
    /// <remarks>Decoded layers are held as f32. Scales, zero points and the like become part of the weights.</remarks>
    internal WeightSize SizeOf(TensorInfo tensor)
    {
        string name = tensor.Name;
        long weights =
            name.EndsWith(".qweight") || name.EndsWith(".weight_packed") ? tensor.Count * (32 / Bits)
            : name.EndsWith(".weight") && tensor.Type == SafetensorsType.F8_E4M3 ? tensor.Count
            : name.EndsWith(".weight") && tensor.Type == SafetensorsType.U8 ? 2 * tensor.Count
            : 0;
        // Whether groups are in order is only seen when the layer is opened; most are.
        int group = GroupSize < 0 ? 128 : GroupSize;
        bool stays =
            Format is QuantizationFormat.Awq or QuantizationFormat.Gptq or QuantizationFormat.Packed && group % 32 == 0;
        bool float8 =
            weights > 0 && Format == QuantizationFormat.Fp8 && tensor.Shape[^1] % WeightFormat.F8.BlockColumns() == 0;
        double bytes =
            stays ? (Bits / 8.0) + (3.0 / Math.Min(group, 128))
            : float8 ? 1 + (sizeof(float) / (double)WeightFormat.F8.BlockColumns())
            : sizeof(float);
        WeightFormat format =
            stays && WeightFormats.Groups(Bits, Math.Min(group, 128)) is { } groups ? groups
            : float8 ? WeightFormat.F8
            : WeightFormat.F32;
        return weights > 0 ? new WeightSize(name, weights, (long)(bytes * weights), format)
            : IsPartOfWeight(name) ? new WeightSize(name, 0, 0, format)
            : new WeightSize(name, tensor.Count, tensor.Size, tensor.Format);
    }

    static bool IsPartOfWeight(string name) =>
        name.Contains(".weight.") // bitsandbytes
        || name[(name.LastIndexOf('.') + 1)..]
            is "qzeros"
                or "scales"
                or "g_idx"
                or "weight_scale"
                or "weight_scale_inv"
                or "weight_zero_point"
                or "weight_shape"
                or "weight_g_idx"
                or "input_scale";
}
