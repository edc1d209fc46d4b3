using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Models;
using Xunit;

namespace VlmSharp.Tests.Engine;

/// <summary>
/// Features that reach several layers of the decoder, videos that come in several spans, and experts that tokens choose: none of it
/// changes a bit when a prompt is cut, when its beginning is known, or when others are in the step.
/// </summary>
public sealed class StackedFeatureTests
{
    static readonly string[] Names = ["qwen3-vl-tied-bf16", "qwen3-vl-moe"];

    public static MatrixTheoryData<string, int> Chunks => new(Names, [1, 3, 7, 16, 33]);

    public static TheoryData<string> Models => [.. Names];

    static readonly ChatText Question = new("What moves in the video, and what is in the picture?");

    [Theory, MemberData(nameof(Chunks))]
    public void A_prompt_computed_in_chunks_gives_the_logits_of_the_whole_bit_for_bit(string name, int chunk)
    {
        using ChatModel chat = TinyModel.Load(name: name);
        using InferenceEngine engine = new(chat.Model, chat.Ops, 512);
        ChatContent[] content = [TinyModel.Picture(1), TinyModel.Video(2, frames: 5), Question];
        using Sequence whole = engine.Start(chat, content);
        float[] expected = engine.Compute(whole);

        engine.ChunkTokens = chunk;
        using Sequence chunked = engine.Start(chat, content);
        Assert.Equal(expected, engine.Compute(chunked));
    }

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
    public void Requests_computed_together_give_what_each_gives_alone_bit_for_bit(string name)
    {
        using ChatModel chat = TinyModel.Load(name: name);
        using InferenceEngine engine = new(chat.Model, chat.Ops, 2048);
        ChatContent[][] contents =
        [
            [TinyModel.Picture(1), Question],
            [new ChatText("Hello.")],
            [TinyModel.Video(4, frames: 3), new ChatText("or"), TinyModel.Picture(3, 32, 96)],
            [Question],
        ];
        List<float[]> alone = [];
        foreach (ChatContent[] content in contents)
        {
            using Sequence sequence = engine.Start(chat, content);
            alone.Add(engine.Compute(sequence));
        }

        Sequence[] together = [.. contents.Select(c => engine.Start(chat, c))];
        engine.Run(together);
        for (int i = 0; i < together.Length; i++)
        {
            Assert.Equal(alone[i], engine.Logits(together[i]).ToArray());
        }

        // One by one they go on in the same step as well.
        List<int>[] decoded = [.. contents.Select(_ => new List<int>())];
        for (int step = 0; step < 5; step++)
        {
            for (int i = 0; i < together.Length; i++)
            {
                float[] logits = engine.Logits(together[i]).ToArray();
                decoded[i].Add(Array.IndexOf(logits, logits.Max()));
            }

            for (int i = 0; i < together.Length; i++)
            {
                together[i].Append(decoded[i][^1]);
            }

            engine.Run(together);
        }

        for (int i = 0; i < contents.Length; i++)
        {
            using Sequence sequence = engine.Start(chat, contents[i]);
            Assert.Equal(engine.Decode(sequence, 5), decoded[i]);
            together[i].Dispose();
        }
    }

    [Theory, MemberData(nameof(Models))]
    public void The_number_of_threads_changes_no_bit(string name)
    {
        using ChatModel one = TinyModel.Load(threads: 1, name);
        using ChatModel three = TinyModel.Load(threads: 3, name);
        using InferenceEngine first = new(one.Model, one.Ops, 512);
        using InferenceEngine second = new(three.Model, three.Ops, 512);
        using Sequence a = first.Start(one, TinyModel.Picture(4), Question);
        using Sequence b = second.Start(three, TinyModel.Picture(4), Question);
        Assert.Equal(first.Compute(a), second.Compute(b));
    }

    [Theory, MemberData(nameof(Models))]
    public void A_beginning_that_ends_inside_of_a_medium_is_kept_and_changes_no_bit(string name)
    {
        using ChatModel chat = TinyModel.Load(name: name);
        using InferenceEngine engine = new(chat.Model, chat.Ops, 1024);
        ChatMedia video = TinyModel.Video(2, frames: 6);
        MediaFeatures features = engine.Look(chat, video);
        Prompt prompt = chat.Prompts.Build([ChatMessage.User(video, Question)]);
        using Sequence cold = engine.CreateSequence();
        cold.SetPrompt(prompt.Tokens, prompt.Spans, [features]);
        float[] expected = engine.Compute(cold);
        foreach (int kept in prompt.Spans.SelectMany(s => new[] { s.Start, s.Start + 1, s.Start + s.Tokens }))
        {
            cold.Truncate(kept);
            Assert.Equal(kept, cold.SetPrompt(prompt.Tokens, prompt.Spans, [features]));
            Assert.Equal(expected, engine.Compute(cold));
        }
    }

    [Theory, MemberData(nameof(Models))]
    public void A_common_beginning_is_not_computed_again_and_changes_no_bit(string name)
    {
        using ChatModel chat = TinyModel.Load(name: name);
        using InferenceEngine engine = new(chat.Model, chat.Ops, 1024);
        ChatMedia picture = TinyModel.Picture(1);
        MediaFeatures features = engine.Look(chat, picture);
        Prompt first = chat.Prompts.Build([ChatMessage.User(picture, new ChatText("One?"))]);
        Prompt second = chat.Prompts.Build([ChatMessage.User(picture, new ChatText("Two, or three?"))]);
        using Sequence cold = engine.CreateSequence();
        cold.SetPrompt(second.Tokens, second.Spans, [features]);
        float[] expected = engine.Compute(cold);

        using Sequence warm = engine.CreateSequence();
        warm.SetPrompt(first.Tokens, first.Spans, [features]);
        engine.Decode(warm, 5);
        int kept = warm.SetPrompt(second.Tokens, second.Spans, [features]);
        Assert.Equal(first.Tokens.AsSpan().CommonPrefixLength(second.Tokens), kept);
        Assert.Equal(expected, engine.Compute(warm));
    }

    [Theory, MemberData(nameof(Models))]
    public void A_decode_step_allocates_nothing_after_warm_up(string name)
    {
        using ChatModel chat = TinyModel.Load(name: name);
        using InferenceEngine engine = new(chat.Model, chat.Ops, 512);
        using Sequence sequence = engine.Start(chat, TinyModel.Picture(1), Question);
        Sequence[] sequences = [sequence];
        sequence.EnsureRoom(256);
        engine.Run(sequences);
        int token = 0;
        void Step()
        {
            sequence.Append(token++ % 256);
            engine.Run(sequences);
        }

        // Enough for every thread to have met its largest part, and for the compiler to be done.
        for (int i = 0; i < 50; i++)
        {
            Step();
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 200; i++)
        {
            Step();
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Theory, MemberData(nameof(Models))]
    public void A_long_video_in_several_passes_gives_the_features_of_one_bit_for_bit(string name)
    {
        using ChatModel chat = TinyModel.Load(name: name);
        ChatMedia video = TinyModel.Video(6, frames: 7);
        using PreparedMedia media = chat.Model.Info.Processor.Prepare(video.Source, default, chat.Pool);
        int frame = media.Plan.Grid.H * media.Plan.Grid.W;
        float[] whole = chat.Model.Encode(chat.Ops, media.Pixels, [media.Plan.Grid]).ToArray();
        List<float> parts = [];
        for (int t = 0; t < media.Plan.Grid.T; t++)
        {
            chat.Ops.Reset();
            parts.AddRange(
                chat.Model.Encode(chat.Ops, media.Pixels.Slice(t * frame, frame), [media.Plan.Grid with { T = 1 }])
                    .ToArray()
            );
        }

        Assert.Equal(whole, parts);
    }

    [Theory, MemberData(nameof(Models))]
    public void Memory_grows_with_the_tokens_alone_up_to_the_last_position(string name)
    {
        using ChatModel chat = TinyModel.Load(name: name);
        ModelInfo info = chat.Model.Info;
        Assert.Equal(262_144, info.MaxPositions);
        long At(int tokens) => MemoryPlan.For(info, tokens, chunk: 512, []).Total;
        long step = At(2048) - At(1024);
        Assert.Equal(step * 255, At(262_144) - At(1024));
    }
}
