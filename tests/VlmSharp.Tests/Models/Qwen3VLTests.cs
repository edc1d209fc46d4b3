using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Formats;
using VlmSharp.Models;
using VlmSharp.Testing;
using VlmSharp.Tests.Engine;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Models;

public sealed class Qwen3VLTests
{
    static readonly ChatText Question = new("What is in the picture?");

    [Fact]
    public void Experts_with_names_of_their_own_answer_like_stacked_ones_bit_for_bit()
    {
        using TemporaryDirectory copy = TemporaryDirectory.CopyOf(Goldens.Local("qwen3-vl-moe/checkpoint"));
        File.WriteAllBytes(copy["model.safetensors"], Unstacked(File.ReadAllBytes(copy["model.safetensors"])));
        using ChatModel stacked = TinyModel.Load(name: "qwen3-vl-moe");
        using ChatModel separate = ChatModel.Load(copy.Path, threads: 2);
        Assert.Equal(stacked.Model.Info.ActiveTextParameters, separate.Model.Info.ActiveTextParameters);
        Assert.Equal(Logits(stacked), Logits(separate));

        static float[] Logits(ChatModel chat)
        {
            using InferenceEngine engine = new(chat.Model, chat.Ops, 512);
            using Sequence sequence = engine.Start(chat, TinyModel.Picture(1), Question);
            return engine.Compute(sequence);
        }
    }

    [Fact]
    public void A_missing_expert_is_refused_by_name()
    {
        using TemporaryDirectory copy = TemporaryDirectory.CopyOf(Goldens.Local("qwen3-vl-moe/checkpoint"));
        byte[] file = Unstacked(File.ReadAllBytes(copy["model.safetensors"]));
        (string header, byte[] data) = SafetensorsWriter.Split(file);
        header = header.Replace("layers.2.mlp.experts.5.up_proj", "layers.2.mlp.experts.9.up_proj");
        File.WriteAllBytes(copy["model.safetensors"], SafetensorsWriter.Join(header, data));
        CheckpointException e = Assert.Throws<CheckpointException>(() => ChatModel.Load(copy.Path, threads: 1));
        Assert.Contains("model.language_model.layers.2.mlp.experts.5.up_proj.weight", e.Message);
    }

    [Fact]
    public void The_experts_that_rest_are_not_counted_as_work()
    {
        using ChatModel mixed = TinyModel.Load(name: "qwen3-vl-moe");
        using ChatModel dense = TinyModel.Load(name: "qwen3-vl-tied-bf16");
        // Two layers with 8 experts of 3 * 32 * 16 weights, of which 2 work.
        Assert.Equal(mixed.Model.Info.TextParameters - (2 * 6 * 3 * 32 * 16), mixed.Model.Info.ActiveTextParameters);
        Assert.Equal(dense.Model.Info.TextParameters, dense.Model.Info.ActiveTextParameters);
    }

    [Fact]
    public void A_feature_holds_the_embedding_and_what_is_added_behind_the_first_layers()
    {
        using ChatModel chat = TinyModel.Load(name: "qwen3-vl-tied-bf16");
        Assert.Equal(3 * chat.Model.Info.Hidden, chat.Model.Info.FeatureWidth);
    }

    [Theory]
    [InlineData(4, 2)] // 4 frames of 64 x 64 are just allowed
    [InlineData(5, 2)] // 5 count as 4: a half is rounded to even
    [InlineData(6, 1)] // 6 do not
    public void The_limits_of_a_video_count_the_pixels_of_all_frames(int frames, int tokensPerSide)
    {
        MediaPlan plan = Plan(new MediaShape(MediaKind.Video, 64, 64) { Frames = frames }, new(1024, 4 * 64 * 64));
        Assert.Equal(new GridThw((frames + 1) / 2, 2 * tokensPerSide, 2 * tokensPerSide), plan.Grid);
    }

    [Fact]
    public void The_scale_of_a_video_takes_the_real_number_of_frames()
    {
        // 7 frames count as 8 in the check, as 7 in the scale: sqrt(7 * 96^2 / (7 * 64^2)) brings 96 to 64.
        MediaPlan plan = Plan(new MediaShape(MediaKind.Video, 96, 96) { Frames = 7 }, new(1024, 7 * 64 * 64));
        Assert.Equal((64, 64), (plan.ResizedWidth, plan.ResizedHeight));
    }

    [Fact]
    public void A_video_narrower_than_a_token_is_refused_and_a_picture_is_not()
    {
        VisionException e = Assert.Throws<VisionException>(() =>
            Plan(new MediaShape(MediaKind.Video, 31, 64) { Frames = 4 }, default)
        );
        Assert.Contains("at least 32 x 32", e.Message);
        Assert.Equal(32, Plan(new MediaShape(MediaKind.Image, 31, 64), new(1024, 1 << 20)).ResizedWidth);
        Assert.True(Plan(new MediaShape(MediaKind.Image, 1, 1), default).Tokens > 0);
    }

    [Fact]
    public void Pictures_and_videos_have_limits_of_their_own()
    {
        MediaPlan picture = Plan(new MediaShape(MediaKind.Image, 640, 640), default);
        MediaPlan video = Plan(new MediaShape(MediaKind.Video, 640, 640) { Frames = 2 }, default);
        Assert.Equal(160, picture.ResizedWidth); // longest_edge 25600 for one frame
        Assert.Equal(96, video.ResizedWidth); // longest_edge 28672 for two
    }

    static MediaPlan Plan(MediaShape shape, PixelLimits limits)
    {
        using Checkpoint checkpoint = Checkpoint.Open(Goldens.Local("qwen3-vl-tied-bf16/checkpoint"));
        return ModelRegistry.Describe(checkpoint).Processor.Plan(shape, limits);
    }

    /// <summary>The same weights with three tensors [outputs, inputs] for each expert, as other tools write them.</summary>
    static byte[] Unstacked(byte[] file)
    {
        (string header, byte[] data) = SafetensorsWriter.Split(file);
        SafetensorsWriter writer = new();
        foreach ((string name, JsonNode? tensor) in JsonNode.Parse(header)!.AsObject())
        {
            if (name == "__metadata__")
            {
                continue;
            }

            int[] shape = [.. tensor!["shape"]!.AsArray().Select(n => n!.GetValue<int>())];
            long[] range = [.. tensor["data_offsets"]!.AsArray().Select(n => n!.GetValue<long>())];
            byte[] bytes = data[(int)range[0]..(int)range[1]];
            if (!name.Contains(".mlp.experts."))
            {
                writer.Add(name, tensor["dtype"]!.GetValue<string>(), shape, bytes);
                continue;
            }

            (int count, int inputs, int outputs) = (shape[0], shape[1], shape[2]);
            bool gateUp = name.EndsWith("gate_up_proj", StringComparison.Ordinal);
            (string Name, int First, int Count)[] parts = gateUp
                ? [("gate_proj", 0, outputs / 2), ("up_proj", outputs / 2, outputs / 2)]
                : [("down_proj", 0, outputs)];
            ushort[] values = MemoryMarshal.Cast<byte, ushort>(bytes).ToArray();
            for (int expert = 0; expert < count; expert++)
            {
                foreach ((string part, int first, int width) in parts)
                {
                    ushort[] own = new ushort[width * inputs];
                    for (int i = 0; i < own.Length; i++)
                    {
                        (int output, int input) = Math.DivRem(i, inputs);
                        own[i] = values[(((expert * inputs) + input) * outputs) + first + output];
                    }

                    string stem = name[..name.LastIndexOf('.')];
                    writer.Add(
                        $"{stem}.{expert}.{part}.weight",
                        tensor["dtype"]!.GetValue<string>(),
                        [width, inputs],
                        MemoryMarshal.AsBytes<ushort>(own)
                    );
                }
            }
        }

        return writer.ToArray();
    }
}
