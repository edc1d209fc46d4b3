namespace VlmSharp.Formats.Gguf;

/// <summary>What a pair of GGUF files is a model of.</summary>
enum GgufFamily
{
    /// <summary>Qwen2-VL.</summary>
    Qwen2VL,

    /// <summary>Qwen2.5-VL, whose language model calls itself qwen2vl too.</summary>
    Qwen25VL,

    /// <summary>Qwen3-VL, dense or with experts.</summary>
    Qwen3VL,
}
