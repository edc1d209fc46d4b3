using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Formats.Gguf;

/// <summary>What a tensor is for a mixture of types.</summary>
/// <param name="Layers">Layers of the decoder.</param>
/// <param name="HeadsPerKey">Query heads that share a key head.</param>
/// <param name="TiedHead">Whether the embedding is the output matrix too.</param>
/// <param name="HasImportance">Whether the importance of columns is known.</param>
public sealed record RecipeModel(int Layers, int HeadsPerKey, bool TiedHead, bool HasImportance)
{
    /// <summary>Reads it from <c>config.json</c>.</summary>
    /// <exception cref="CheckpointException">A field is missing or out of range.</exception>
    internal static RecipeModel Read(JsonObjectReader config, bool hasImportance)
    {
        JsonObjectReader text = config.OptionalObject("text_config") ?? config;
        int heads = text.Int("num_attention_heads", 1, 1024);
        return new RecipeModel(
            text.Int("num_hidden_layers", 1, 1024),
            heads / text.Int("num_key_value_heads", 1, heads, heads),
            (config.Has("tie_word_embeddings") ? config : text).Bool("tie_word_embeddings", false),
            hasImportance
        );
    }
}

/// <summary>A named mixture of types, as GGUF files are published: which tensor is packed to which type.</summary>
/// <remarks>
/// The mixtures and the types that stand in where rows are no whole blocks are those of llama.cpp's quantize program
/// (<c>llama_tensor_get_type</c> in src/llama-quant.cpp): S files keep one type nearly everywhere, M files give more bits to the values of attention and
/// the down projections of the first and last eighth of the layers and of every third one between, and all give more to the
/// output matrix. Vectors and the routers of experts stay f32.
/// </remarks>
public sealed class Recipe
{
    readonly GgmlType type;

    Recipe(string name, GgmlType type, int fileType)
    {
        Name = name;
        this.type = type;
        FileType = fileType;
    }

    /// <summary>Everything there is, by name.</summary>
    public static IReadOnlyList<Recipe> All { get; } =
    [
        new("f32", GgmlType.F32, 0),
        new("f16", GgmlType.F16, 1),
        new("bf16", GgmlType.BF16, 32),
        new("q8_0", GgmlType.Q8_0, 7),
        new("q4_0", GgmlType.Q4_0, 2),
        new("q4_1", GgmlType.Q4_1, 3),
        new("q5_0", GgmlType.Q5_0, 8),
        new("q5_1", GgmlType.Q5_1, 9),
        new("q4_k_s", GgmlType.Q4_K, 14),
        new("q4_k_m", GgmlType.Q4_K, 15),
        new("q5_k_s", GgmlType.Q5_K, 16),
        new("q5_k_m", GgmlType.Q5_K, 17),
        new("q6_k", GgmlType.Q6_K, 18),
        new("iq4_nl", GgmlType.IQ4_NL, 25),
    ];

    /// <summary>The name, as <c>--type</c> takes it: <c>q4_k_m</c>.</summary>
    public string Name { get; }

    /// <summary>The number that files of this kind have in <c>general.file_type</c>.</summary>
    public int FileType { get; }

    /// <summary>Whether there are blocks: types other than F32, F16 and BF16.</summary>
    public bool IsQuantised => type.BlockValues() > 1;

    /// <summary>The mixture of a name; null where there is none.</summary>
    public static Recipe? Find(string name) =>
        All.FirstOrDefault(recipe => recipe.Name.Equals(name, StringComparison.OrdinalIgnoreCase));

    /// <summary>The type of a tensor of the language model.</summary>
    /// <param name="tensor">Its GGUF name.</param>
    /// <param name="shape">Outermost dimension first.</param>
    /// <param name="model">What it is part of.</param>
    /// <param name="wanted">The type the mixture has for it, which is another one where rows are no whole blocks of it.</param>
    public GgmlType Text(string tensor, ReadOnlySpan<int> shape, RecipeModel model, out GgmlType wanted)
    {
        wanted = GgmlType.F32;
        if (
            shape.Length < 2
            || !tensor.EndsWith(".weight", StringComparison.Ordinal)
            || tensor.Contains("ffn_gate_inp")
        )
        {
            return wanted;
        }

        int columns = shape[^1];
        wanted = IsQuantised ? Mixture(tensor, columns, model) : type;
        return Fitting(wanted, columns);
    }

    /// <summary>The type of a tensor of the projector.</summary>
    /// <inheritdoc cref="Text"/>
    public GgmlType Vision(string tensor, ReadOnlySpan<int> shape, out GgmlType wanted)
    {
        // Engines convolve in f16 or f32 only, and add positions in f32.
        bool convolution = shape.Length > 2;
        wanted =
            shape.Length < 2 || !tensor.Contains(".weight") || tensor.Contains("position_embd") ? GgmlType.F32
            : !convolution ? type
            : type == GgmlType.F16 ? GgmlType.F16
            : GgmlType.F32;
        return Fitting(wanted, shape.IsEmpty ? 1 : shape[^1]);
    }

    /// <summary>The name.</summary>
    public override string ToString() => Name;

    GgmlType Mixture(string tensor, int columns, RecipeModel model)
    {
        bool some = Name.EndsWith("_m", StringComparison.Ordinal);
        int layer = GgufNames.Layer(tensor);
        if (tensor == "output.weight" || (model.TiedHead && tensor == "token_embd.weight"))
        {
            return type == GgmlType.Q8_0 || columns % type.BlockValues() != 0 ? GgmlType.Q8_0 : GgmlType.Q6_K;
        }

        if (tensor.Contains("attn_v."))
        {
            return some && HasMoreBits(layer, model.Layers) ? GgmlType.Q6_K
                : type == GgmlType.IQ4_NL && model.HeadsPerKey >= 4 ? GgmlType.Q5_K
                : Name == "q4_k_s" && layer < 4 ? GgmlType.Q5_K
                : type;
        }

        if (tensor.Contains("ffn_down"))
        {
            bool early = layer < model.Layers / 8;
            return some && HasMoreBits(layer, model.Layers) ? GgmlType.Q6_K
                : !early ? type
                : type == GgmlType.IQ4_NL && !model.HasImportance ? GgmlType.Q5_K
                : Name == "q4_k_s" ? GgmlType.Q5_K
                : type == GgmlType.Q4_0 && model.HasImportance ? GgmlType.Q4_1
                : type == GgmlType.Q5_0 && model.HasImportance ? GgmlType.Q5_1
                : type;
        }

        return type;
    }

    static bool HasMoreBits(int layer, int layers) =>
        layer < layers / 8 || layer >= 7 * layers / 8 || (layer - (layers / 8)) % 3 == 2;

    // Blocks of 32 in place of 256, then plain numbers.
    static GgmlType Fitting(GgmlType type, int columns)
    {
        if (columns % type.BlockValues() == 0)
        {
            return type;
        }

        GgmlType smaller = type switch
        {
            GgmlType.Q4_K => GgmlType.Q5_0,
            GgmlType.Q5_K => GgmlType.Q5_1,
            GgmlType.Q6_K => GgmlType.Q8_0,
            _ => GgmlType.F16,
        };
        return columns % smaller.BlockValues() == 0 ? smaller : GgmlType.F16;
    }
}
