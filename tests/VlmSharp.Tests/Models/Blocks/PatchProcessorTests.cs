using System.Text.Json.Nodes;
using VlmSharp.Chat;
using VlmSharp.Testing;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Models.Blocks;

public sealed class PatchProcessorTests
{
    [Theory]
    [InlineData("max_frames", 2, 2, 2)]
    [InlineData("max_frames", 100, 4, 100)]
    [InlineData("min_frames", 1000, 1000, 1000)]
    [InlineData("min_frames", 6, 6, 768)]
    public void A_bound_on_frames_that_is_given_alone_moves_the_usual_other_one(
        string field,
        int value,
        int least,
        int most
    )
    {
        using CheckpointCopy copy = new(Goldens.Local("qwen2-vl/checkpoint"));
        JsonObject config = JsonNode.Parse(copy.Read("preprocessor_config.json"))!.AsObject();
        config[field] = value;
        copy.Write("video_preprocessor_config.json", config.ToJsonString());
        using ChatModel chat = ChatModel.Load(copy.Path, threads: 1);
        FrameSamplingOptions density = chat.Model.Info.Processor.Sampling(1_000_000).Density;
        Assert.Equal((least, most), (density.MinFrames, density.MaxFrames));
    }
}
