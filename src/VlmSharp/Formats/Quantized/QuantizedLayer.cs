namespace VlmSharp.Formats.Quantized;

/// <summary>Finds out from a layer's tensors whether it is quantised, and how.</summary>
static class QuantizedLayer
{
    /// <summary>The rows of a quantised layer; its tensors count as used from then on.</summary>
    /// <param name="checkpoint">The checkpoint.</param>
    /// <param name="name">Name without <c>.weight</c>.</param>
    /// <param name="rows">Outputs.</param>
    /// <param name="columns">Inputs.</param>
    /// <returns>Null where the layer is not quantised.</returns>
    /// <exception cref="CheckpointException">Its tensors are not those of the method that the config names, or of other types or shapes.</exception>
    public static IRowSource? Open(Checkpoint checkpoint, string name, int rows, int columns)
    {
        if (checkpoint.Contains($"{name}.qweight"))
        {
            Quantization how = Expect(checkpoint, $"{name}.qweight", QuantizationFormat.Awq, QuantizationFormat.Gptq);
            return how.Format == QuantizationFormat.Awq
                ? AwqRows.Open(checkpoint, how, name, rows, columns)
                : GptqRows.Open(checkpoint, how, name, rows, columns);
        }

        if (checkpoint.Contains($"{name}.weight_packed"))
        {
            Quantization how = Expect(checkpoint, $"{name}.weight_packed", QuantizationFormat.Packed);
            return PackedRows.Open(checkpoint, how, name, rows, columns);
        }

        if (checkpoint.Contains($"{name}{Nf4Rows.State}"))
        {
            Expect(checkpoint, $"{name}{Nf4Rows.State}", QuantizationFormat.Nf4);
            return Nf4Rows.Open(checkpoint, name, rows, columns);
        }

        if (checkpoint.Contains($"{name}.weight") && checkpoint.Info($"{name}.weight").Type == SafetensorsType.F8_E4M3)
        {
            Quantization how = Expect(checkpoint, $"{name}.weight", QuantizationFormat.Fp8);
            return Fp8Rows.Open(checkpoint, how, name, rows, columns);
        }

        return null;
    }

    static Quantization Expect(Checkpoint checkpoint, string tensor, params ReadOnlySpan<QuantizationFormat> formats)
    {
        Quantization? how = checkpoint.Quantization;
        return how is not null && formats.Contains(how.Format)
            ? how
            : throw checkpoint.Config.Error(
                "quantization_config",
                $"{(how is null ? "is missing" : $"describes {how}")}, but there is a tensor {Quote.Name(tensor)}"
            );
    }
}
