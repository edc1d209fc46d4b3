using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Kernels;
using VlmSharp.Models;
using Xunit;

namespace VlmSharp.Tests.Engine;

/// <summary>What only the third generation does: videos in several spans, contexts of a quarter of a million tokens.</summary>
public sealed class AnnouncedVideoTests
{
    static readonly string[] Names = ["qwen3-vl-tied-bf16", "qwen3-vl-moe"];

    public static TheoryData<string> Models => [.. Names];

    static readonly ChatText Question = new("What moves in the video, and what is in the picture?");

    [Theory, MemberData(nameof(Models))]
    public void Each_temporal_patch_stands_behind_its_time(string name)
    {
        using ChatModel chat = TinyModel.Load(name: name);
        ChatMedia video = TinyModel.Video(2, frames: 5);
        Prompt prompt = chat.Prompts.Build([ChatMessage.User(TinyModel.Picture(1), video, Question)]);
        MediaPlan plan = chat.Prompts.Plan(video);
        Assert.Equal(3, plan.Grid.T);
        Assert.Equal([0.25, 1.25, 2.0], plan.PatchTimes);
        Assert.Equal([0, 1, 1, 1], prompt.Spans.Select(s => s.Medium));
        int patch = plan.Tokens / 3;
        Assert.Equal([0, 0, patch, 2 * patch], prompt.Spans.Select(s => s.FirstFeature));
        string text = chat.Tokenizer.Decode(prompt.Tokens);
        foreach (string time in (string[])["<0.2 seconds>", "<1.2 seconds>", "<2.0 seconds>"])
        {
            Assert.Contains($"{time}<|vision_start|><|video_pad|>", text);
        }
    }

    [Theory, MemberData(nameof(Models))]
    public void Memory_grows_with_the_tokens_alone_up_to_the_last_position(string name)
    {
        using ChatModel chat = TinyModel.Load(name: name);
        ModelInfo info = chat.Model.Info;
        Assert.Equal(262_144, info.MaxPositions);
        long At(int tokens) => MemoryPlan.For(info, tokens, chunk: 512, [], KvStorage.BF16).Total;
        long step = At(2048) - At(1024);
        Assert.Equal(step * 255, At(262_144) - At(1024));
    }
}
