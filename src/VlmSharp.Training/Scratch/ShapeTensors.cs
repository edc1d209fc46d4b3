using VlmSharp.Models;
using VlmSharp.Models.Blocks;

namespace VlmSharp.Training.Scratch;

/// <summary>Names and shapes of the weights of an architecture, as the published checkpoints have them.</summary>
public static class ShapeTensors
{
    /// <summary>Qwen2-VL.</summary>
    public static IEnumerable<(string Name, int[] Shape)> Of(Qwen2VL.Config config)
    {
        Qwen2VL.VisionConfig vision = config.Vision;
        int width = vision.Width;
        int merged = width * vision.MergedPatches;
        List<(string, int[])> all =
        [
            (
                "visual.patch_embed.proj.weight",
                [width, 3, vision.TemporalPatchSize, vision.PatchSize, vision.PatchSize]
            ),
            .. Norm("visual.merger.ln_q", width),
            .. Linear("visual.merger.mlp.0", merged, merged),
            .. Linear("visual.merger.mlp.2", config.Text.Hidden, merged),
        ];
        for (int i = 0; i < vision.Depth; i++)
        {
            string block = $"visual.blocks.{i}";
            all.AddRange([
                .. Norm($"{block}.norm1", width),
                .. Norm($"{block}.norm2", width),
                .. Linear($"{block}.attn.qkv", 3 * width, width),
                .. Linear($"{block}.attn.proj", width, width),
                .. Linear($"{block}.mlp.fc1", vision.MlpWidth, width),
                .. Linear($"{block}.mlp.fc2", width, vision.MlpWidth),
            ]);
        }

        return all.Concat(Decoder("model", config.Text));
    }

    /// <summary>Qwen2.5-VL.</summary>
    public static IEnumerable<(string Name, int[] Shape)> Of(Qwen25VL.Config config)
    {
        Qwen25VL.VisionConfig vision = config.Vision;
        int width = vision.Width;
        int merged = width * vision.MergedPatches;
        List<(string, int[])> all =
        [
            (
                "visual.patch_embed.proj.weight",
                [width, 3, vision.TemporalPatchSize, vision.PatchSize, vision.PatchSize]
            ),
            ("visual.merger.ln_q.weight", [width]),
            .. Linear("visual.merger.mlp.0", merged, merged),
            .. Linear("visual.merger.mlp.2", config.Text.Hidden, merged),
        ];
        for (int i = 0; i < vision.Depth; i++)
        {
            string block = $"visual.blocks.{i}";
            all.AddRange([
                ($"{block}.norm1.weight", [width]),
                ($"{block}.norm2.weight", [width]),
                .. Linear($"{block}.attn.qkv", 3 * width, width),
                .. Linear($"{block}.attn.proj", width, width),
                .. Linear($"{block}.mlp.gate_proj", vision.MlpWidth, width),
                .. Linear($"{block}.mlp.up_proj", vision.MlpWidth, width),
                .. Linear($"{block}.mlp.down_proj", width, vision.MlpWidth),
            ]);
        }

        return all.Concat(Decoder("model", config.Text));
    }

    /// <summary>Qwen3-VL without experts.</summary>
    public static IEnumerable<(string Name, int[] Shape)> Of(Qwen3VL.Config config)
    {
        const string visual = "model.visual";
        Qwen3VL.VisionConfig vision = config.Vision;
        int width = vision.Width;
        int merged = width * vision.MergedPatches;
        List<(string, int[])> all =
        [
            .. Convolution(
                $"{visual}.patch_embed.proj",
                [width, 3, vision.TemporalPatchSize, vision.PatchSize, vision.PatchSize]
            ),
            ($"{visual}.pos_embed.weight", [vision.TableSide * vision.TableSide, width]),
            .. Merger($"{visual}.merger", width),
        ];
        for (int k = 0; k < vision.DeepStack.Length; k++)
        {
            all.AddRange(Merger($"{visual}.deepstack_merger_list.{k}", merged));
        }

        for (int i = 0; i < vision.Depth; i++)
        {
            string block = $"{visual}.blocks.{i}";
            all.AddRange([
                .. Norm($"{block}.norm1", width),
                .. Norm($"{block}.norm2", width),
                .. Linear($"{block}.attn.qkv", 3 * width, width),
                .. Linear($"{block}.attn.proj", width, width),
                .. Linear($"{block}.mlp.linear_fc1", vision.MlpWidth, width),
                .. Linear($"{block}.mlp.linear_fc2", width, vision.MlpWidth),
            ]);
        }

        return all.Concat(Decoder("model.language_model", config.Text));

        IEnumerable<(string, int[])> Merger(string name, int normWidth) =>
            [
                .. Norm($"{name}.norm", normWidth),
                .. Linear($"{name}.linear_fc1", merged, merged),
                .. Linear($"{name}.linear_fc2", config.Text.Hidden, merged),
            ];
    }

    // Without experts.
    static List<(string, int[])> Decoder(string name, MRopeDecoder.Sizes text)
    {
        List<(string, int[])> all =
        [
            ($"{name}.embed_tokens.weight", [text.Vocabulary, text.Hidden]),
            ($"{name}.norm.weight", [text.Hidden]),
        ];
        int queries = text.Attention.Heads * text.Attention.HeadDim;
        int keys = text.Attention.KvHeads * text.Attention.HeadDim;
        for (int i = 0; i < text.Layers; i++)
        {
            string layer = $"{name}.layers.{i}";
            all.AddRange([
                ($"{layer}.input_layernorm.weight", [text.Hidden]),
                .. Projection($"{layer}.self_attn.q_proj", queries),
                .. Projection($"{layer}.self_attn.k_proj", keys),
                .. Projection($"{layer}.self_attn.v_proj", keys),
                ($"{layer}.self_attn.o_proj.weight", [text.Hidden, queries]),
                ($"{layer}.post_attention_layernorm.weight", [text.Hidden]),
                ($"{layer}.mlp.gate_proj.weight", [text.MlpWidth, text.Hidden]),
                ($"{layer}.mlp.up_proj.weight", [text.MlpWidth, text.Hidden]),
                ($"{layer}.mlp.down_proj.weight", [text.Hidden, text.MlpWidth]),
            ]);
            if (text.HeadNorms)
            {
                all.AddRange([
                    ($"{layer}.self_attn.q_norm.weight", [text.Attention.HeadDim]),
                    ($"{layer}.self_attn.k_norm.weight", [text.Attention.HeadDim]),
                ]);
            }
        }

        if (!text.TiedHead)
        {
            all.Add(("lm_head.weight", [text.Vocabulary, text.Hidden]));
        }

        return all;

        IEnumerable<(string, int[])> Projection(string part, int outputs) =>
            text.QkvBias ? Linear(part, outputs, text.Hidden) : [($"{part}.weight", [outputs, text.Hidden])];
    }

    static IEnumerable<(string, int[])> Norm(string name, int width) =>
        [($"{name}.weight", [width]), ($"{name}.bias", [width])];

    static IEnumerable<(string, int[])> Linear(string name, int outputs, int inputs) =>
        Convolution(name, [outputs, inputs]);

    static IEnumerable<(string, int[])> Convolution(string name, int[] shape) =>
        [($"{name}.weight", shape), ($"{name}.bias", [shape[0]])];
}
