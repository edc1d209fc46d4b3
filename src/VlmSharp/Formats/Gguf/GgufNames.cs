using System.Globalization;
using VlmSharp.Kernels;

namespace VlmSharp.Formats.Gguf;

/// <summary>Brings the tensors of a language model and its projector under the names that the published checkpoints have.</summary>
/// <remarks>
/// What llama.cpp's converter did is undone: the tower's q, k and v are stacked again, the patch convolution is put together from one
/// tensor for each frame, experts are taken out of the tensor that holds all of them. Nothing is permuted for these models.
/// </remarks>
sealed class GgufNames
{
    static readonly Dictionary<string, string> Decoder = new(StringComparer.Ordinal)
    {
        ["token_embd"] = "embed_tokens",
        ["output_norm"] = "norm",
        ["blk.#.attn_norm"] = "layers.#.input_layernorm",
        ["blk.#.attn_q"] = "layers.#.self_attn.q_proj",
        ["blk.#.attn_k"] = "layers.#.self_attn.k_proj",
        ["blk.#.attn_v"] = "layers.#.self_attn.v_proj",
        ["blk.#.attn_q_norm"] = "layers.#.self_attn.q_norm",
        ["blk.#.attn_k_norm"] = "layers.#.self_attn.k_norm",
        ["blk.#.attn_output"] = "layers.#.self_attn.o_proj",
        ["blk.#.ffn_norm"] = "layers.#.post_attention_layernorm",
        ["blk.#.ffn_gate"] = "layers.#.mlp.gate_proj",
        ["blk.#.ffn_up"] = "layers.#.mlp.up_proj",
        ["blk.#.ffn_down"] = "layers.#.mlp.down_proj",
        ["blk.#.ffn_gate_inp"] = "layers.#.mlp.gate",
    };

    static readonly Dictionary<string, string> Experts = new(StringComparer.Ordinal)
    {
        ["blk.#.ffn_gate_exps"] = "gate_proj",
        ["blk.#.ffn_up_exps"] = "up_proj",
        ["blk.#.ffn_down_exps"] = "down_proj",
    };

    static readonly Dictionary<string, string> Tower = new(StringComparer.Ordinal)
    {
        ["v.patch_embd"] = "patch_embed.proj",
        ["v.position_embd"] = "pos_embed",
        ["v.blk.#.ln1"] = "blocks.#.norm1",
        ["v.blk.#.ln2"] = "blocks.#.norm2",
        ["v.blk.#.attn_qkv"] = "blocks.#.attn.qkv",
        ["v.blk.#.attn_out"] = "blocks.#.attn.proj",
    };

    static readonly Dictionary<GgufFamily, Dictionary<string, string>> OwnTower = new()
    {
        [GgufFamily.Qwen2VL] = new(StringComparer.Ordinal)
        {
            ["v.blk.#.ffn_up"] = "blocks.#.mlp.fc1",
            ["v.blk.#.ffn_down"] = "blocks.#.mlp.fc2",
            ["v.post_ln"] = "merger.ln_q",
            ["mm.0"] = "merger.mlp.0",
            ["mm.2"] = "merger.mlp.2",
        },
        [GgufFamily.Qwen25VL] = new(StringComparer.Ordinal)
        {
            ["v.blk.#.ffn_gate"] = "blocks.#.mlp.gate_proj",
            ["v.blk.#.ffn_up"] = "blocks.#.mlp.up_proj",
            ["v.blk.#.ffn_down"] = "blocks.#.mlp.down_proj",
            ["v.post_ln"] = "merger.ln_q",
            ["mm.0"] = "merger.mlp.0",
            ["mm.2"] = "merger.mlp.2",
        },
        [GgufFamily.Qwen3VL] = new(StringComparer.Ordinal)
        {
            ["v.blk.#.ffn_up"] = "blocks.#.mlp.linear_fc1",
            ["v.blk.#.ffn_down"] = "blocks.#.mlp.linear_fc2",
            ["v.post_ln"] = "merger.norm",
            ["mm.0"] = "merger.linear_fc1",
            ["mm.2"] = "merger.linear_fc2",
            ["v.deepstack.#.norm"] = "deepstack_merger_list.#.norm",
            ["v.deepstack.#.fc1"] = "deepstack_merger_list.#.linear_fc1",
            ["v.deepstack.#.fc2"] = "deepstack_merger_list.#.linear_fc2",
        },
    };

    const int MaxExperts = 1 << 12; // eight times the published number; each becomes a weight of its own

    readonly GgufFamily family;
    readonly int[] deepStack;
    readonly List<(TensorInfo Info, GgufWeight Weight)> weights = [];

    /// <summary>Maps all tensors of both files. Those without a published name keep their own: the model will not know them.</summary>
    /// <param name="family">What the pair is.</param>
    /// <param name="file">The language model.</param>
    /// <param name="projector">Tower and merger.</param>
    /// <param name="deepStack">The blocks of the tower whose output DeepStack takes, ascending.</param>
    public GgufNames(GgufFamily family, GgufFile file, GgufFile projector, int[] deepStack)
    {
        this.family = family;
        this.deepStack = deepStack;
        foreach (GgufTensor tensor in file.Tensors.Values)
        {
            AddDecoder(tensor);
        }

        foreach (GgufTensor tensor in projector.Tensors.Values)
        {
            AddTower(projector, tensor);
        }
    }

    /// <summary>Every weight, with the file it comes from.</summary>
    public IReadOnlyList<(TensorInfo Info, GgufWeight Weight)> Weights => weights;

    /// <summary>The number of the layer or block that a tensor belongs to; -1 where it belongs to none.</summary>
    public static int Layer(string tensor) =>
        Split(tensor).Layer is { Length: > 0 } layer ? int.Parse(layer, CultureInfo.InvariantCulture) : -1;

    /// <summary>The GGUF name of a weight of the decoder; null where it has none.</summary>
    /// <param name="published">Its name behind the model's own, such as <c>layers.3.self_attn.q_proj.weight</c>.</param>
    public static string? OfDecoder(string published) => Inverse(published, Decoder);

    /// <summary>The GGUF name of the tensor that holds a weight of the language model, under whose type it is stored; null where it is none of it.</summary>
    /// <param name="published">The whole name; those of experts stand for the tensor of all of them.</param>
    public static string? OfLanguageModel(string published)
    {
        if (published == "lm_head.weight")
        {
            return "output.weight";
        }

        const string experts = ".mlp.experts.";
        int at = published.IndexOf(experts, StringComparison.Ordinal);
        if (at >= 0)
        {
            string part = published[(at + experts.Length)..].Contains("down") ? "down" : "gate";
            return $"blk.{Layer(published)}.ffn_{part}_exps.weight";
        }

        string[] prefixes = ["model.language_model.", "model."];
        return Array.Find(prefixes, prefix => published.StartsWith(prefix, StringComparison.Ordinal)) is { } found
            ? OfDecoder(published[found.Length..])
            : null;
    }

    /// <summary>The GGUF name of a weight of the tower; null where it has none.</summary>
    /// <param name="family">What the model is.</param>
    /// <param name="published">Its name behind the tower's own, such as <c>blocks.3.attn.proj.weight</c>.</param>
    /// <param name="deepStack">The blocks of the tower whose output DeepStack takes, in the order of the mergers.</param>
    public static string? OfTower(GgufFamily family, string published, int[] deepStack)
    {
        const string list = "deepstack_merger_list.";
        if (published.StartsWith(list, StringComparison.Ordinal))
        {
            // The place in the list becomes the block's number.
            string place = published[list.Length..].Split('.')[0];
            if (!int.TryParse(place, NumberStyles.None, null, out int merger) || merger >= deepStack.Length)
            {
                return null;
            }

            published = $"{list}{deepStack[merger]}{published[(list.Length + place.Length)..]}";
        }

        return Inverse(published, OwnTower[family]) ?? Inverse(published, Tower);
    }

    static string? Inverse(string published, Dictionary<string, string> names)
    {
        (string pattern, string layer, string kind) = Split(published);
        foreach ((string gguf, string name) in kind is "weight" or "bias" ? names : [])
        {
            if (name == pattern || (layer.Length > 0 && name == pattern.Replace("#", layer)))
            {
                return $"{(name == pattern ? gguf.Replace("#", layer) : gguf)}.{kind}";
            }
        }

        return null;
    }

    void AddDecoder(GgufTensor tensor)
    {
        string model = family == GgufFamily.Qwen3VL ? "model.language_model" : "model";
        (string pattern, string layer, string kind) = Split(tensor.Name);
        if (pattern == "output")
        {
            Add($"lm_head.{kind}", tensor);
        }
        else if (Decoder.TryGetValue(pattern, out string? name))
        {
            Add($"{model}.{name.Replace("#", layer)}.{kind}", tensor);
        }
        else if (
            Experts.TryGetValue(pattern, out string? part)
            && kind == "weight"
            && tensor.Shape is [<= MaxExperts, _, _]
        )
        {
            // [experts, outputs, inputs]
            long size = tensor.Count / tensor.Shape[0];
            for (int i = 0; i < tensor.Shape[0]; i++)
            {
                string expert = $"{model}.layers.{layer}.mlp.experts.{i}.{part}.weight";
                Add(expert, tensor.Shape[1..], new GgufWeight([tensor], i * size, size));
            }
        }
        else
        {
            Add(tensor.Name, tensor);
        }
    }

    void AddTower(GgufFile file, GgufTensor tensor)
    {
        string visual = family == GgufFamily.Qwen3VL ? "model.visual" : "visual";
        (string pattern, string block, string kind) = Split(tensor.Name);
        const string patches = "v.patch_embd.weight";
        switch (pattern)
        {
            case "v.patch_embd" when kind == "weight" && file.Tensors.ContainsKey($"{patches}.1"):
                GgufTensor second = Like(file, tensor, $"{patches}.1");
                if (tensor.Shape is not [int width, int channels, int rows, int columns])
                {
                    throw new CheckpointException(
                        tensor.File,
                        $"tensor '{patches}' has shape {TensorInfo.Text(tensor.Shape)}, expected four dimensions"
                    );
                }

                int[] shape = [width, channels, 2, rows, columns];
                Add($"{visual}.patch_embed.proj.weight", shape, new([tensor, second], 0, (long)rows * columns));
                return;
            case "v.patch_embd.weight" when kind == "1" && file.Tensors.ContainsKey(patches):
                return;
            case "v.blk.#.attn_q":
                GgufTensor k = Like(file, tensor, $"v.blk.{block}.attn_k.{kind}");
                GgufTensor v = Like(file, tensor, $"v.blk.{block}.attn_v.{kind}");
                int[] stacked = [.. tensor.Shape];
                stacked[0] = checked(3 * stacked[0]);
                Add($"{visual}.blocks.{block}.attn.qkv.{kind}", stacked, new([tensor, k, v], 0, tensor.Count));
                return;
            case "v.blk.#.attn_k" or "v.blk.#.attn_v" when file.Tensors.ContainsKey($"v.blk.{block}.attn_q.{kind}"):
                return;
        }

        if (pattern is "v.blk.#.ffn_up" or "v.blk.#.ffn_down" && IsSwapped(file, block))
        {
            pattern = pattern == "v.blk.#.ffn_up" ? "v.blk.#.ffn_down" : "v.blk.#.ffn_up";
        }

        // The position in the list is not the block's number.
        if (pattern.StartsWith("v.deepstack.", StringComparison.Ordinal))
        {
            int place = Array.IndexOf(deepStack, int.Parse(block, CultureInfo.InvariantCulture));
            block = place < 0 ? block : place.ToString(CultureInfo.InvariantCulture);
        }

        Add(
            OwnTower[family].TryGetValue(pattern, out string? name) || Tower.TryGetValue(pattern, out name)
                ? $"{visual}.{name.Replace("#", block)}.{kind}"
                : tensor.Name,
            tensor
        );
    }

    // Older converters called the two layers of an MLP the other way round.
    static bool IsSwapped(GgufFile file, string block) =>
        file.Tensors.TryGetValue($"v.blk.{block}.ffn_up.weight", out GgufTensor? up)
        && file.Tensors.TryGetValue($"v.blk.{block}.ln1.weight", out GgufTensor? norm)
        && up.Shape.Length == 2
        && up.Shape[0] != up.Shape[1]
        && up.Shape[0] == norm.Count;

    static GgufTensor Like(GgufFile file, GgufTensor first, string name)
    {
        GgufTensor other = file.Tensor(name);
        return other.Shape.AsSpan().SequenceEqual(first.Shape) && other.Shape.Length > 0
            ? other
            : throw new CheckpointException(
                file.Name,
                $"tensor {Quote.Name(name)} has shape {TensorInfo.Text(other.Shape)}, '{first.Name}', which is stacked with it, {TensorInfo.Text(first.Shape)}"
            );
    }

    void Add(string name, GgufTensor tensor) => Add(name, tensor.Shape, new GgufWeight([tensor], 0, tensor.Count));

    void Add(string name, int[] shape, GgufWeight weight)
    {
        long count = 1;
        foreach (int dimension in shape)
        {
            count *= dimension;
        }

        SafetensorsType type = weight.Type switch
        {
            ElementType.F16 => SafetensorsType.F16,
            ElementType.BF16 => SafetensorsType.BF16,
            _ => SafetensorsType.F32,
        };
        TensorInfo info = new(name, type, shape, count, 0, count * weight.Type.Size(), weight.Name);
        weights.Add((info, weight));
    }

    // blk.3.attn_q.weight is the weight of blk.#.attn_q in layer 3.
    static (string Pattern, string Layer, string Kind) Split(string name)
    {
        int dot = name.LastIndexOf('.');
        string[] words = (dot < 0 ? name : name[..dot]).Split('.');
        int number = Array.FindIndex(words, word => word.Length is > 0 and < 6 && word.All(char.IsAsciiDigit));
        string layer = "";
        // mm.0 and mm.2 are names, not numbers of layers.
        if (number >= 0 && words[0] != "mm")
        {
            layer = words[number];
            words[number] = "#";
        }

        return (string.Join('.', words), layer, dot < 0 ? "" : name[(dot + 1)..]);
    }
}
