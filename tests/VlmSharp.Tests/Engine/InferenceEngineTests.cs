using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Generation;
using VlmSharp.Media.Images;
using VlmSharp.Models;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Engine;

public sealed class InferenceEngineTests
{
    static readonly ChatText Question = new("What is in the picture, and how many of them are there?");

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(16)]
    [InlineData(33)]
    public void A_prompt_computed_in_chunks_gives_the_logits_of_the_whole_bit_for_bit(int chunk)
    {
        using ChatModel chat = TinyModel.Load();
        using InferenceEngine engine = new(chat.Model, chat.Ops, 512);
        ChatMedia picture = TinyModel.Picture(1);

        using Sequence whole = engine.Start(chat, picture, Question);
        float[] expected = engine.Compute(whole);

        engine.ChunkTokens = chunk;
        using Sequence chunked = engine.Start(chat, picture, Question);
        Assert.Equal(expected, engine.Compute(chunked));
    }

    [Fact]
    public void Requests_computed_together_give_what_each_gives_alone_bit_for_bit()
    {
        using ChatModel chat = TinyModel.Load();
        using InferenceEngine engine = new(chat.Model, chat.Ops, 2048);
        ChatContent[][] contents =
        [
            [TinyModel.Picture(1), Question],
            [new ChatText("Hello.")],
            [Question, TinyModel.Picture(2, 140, 28), new ChatText("or"), TinyModel.Picture(3, 28, 84)],
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
            together[i].Dispose();
        }
    }

    [Fact]
    public void The_number_of_threads_changes_no_bit()
    {
        using ChatModel one = TinyModel.Load(threads: 1);
        using ChatModel three = TinyModel.Load(threads: 3);
        using InferenceEngine first = new(one.Model, one.Ops, 512);
        using InferenceEngine second = new(three.Model, three.Ops, 512);
        using Sequence a = first.Start(one, TinyModel.Picture(4), Question);
        using Sequence b = second.Start(three, TinyModel.Picture(4), Question);
        Assert.Equal(first.Compute(a), second.Compute(b));
    }

    [Fact]
    public void A_decode_step_allocates_nothing_after_warm_up()
    {
        using ChatModel chat = TinyModel.Load();
        using InferenceEngine engine = new(chat.Model, chat.Ops, 512);
        using Sequence sequence = engine.Start(chat, TinyModel.Picture(1), Question);
        Sampler sampler = new(new SamplingOptions { MaxNewTokens = 256 }, sequence.Tokens, chat.Model.Info.Vocabulary);
        Sequence[] sequences = [sequence];
        sequence.EnsureRoom(256);
        engine.Run(sequences);
        void Step()
        {
            sequence.Append(sampler.Next(engine.Logits(sequence)));
            engine.Run(sequences);
        }

        for (int i = 0; i < 10; i++)
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

    [Fact]
    public void A_common_beginning_is_not_computed_again_and_changes_no_bit()
    {
        using ChatModel chat = TinyModel.Load();
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
        Assert.True(engine.PagesAddUp());
    }

    [Fact]
    public void Another_picture_behind_equal_placeholders_is_computed_again()
    {
        using ChatModel chat = TinyModel.Load();
        using InferenceEngine engine = new(chat.Model, chat.Ops, 512);
        ChatMedia picture = TinyModel.Picture(1);
        Prompt prompt = chat.Prompts.Build([ChatMessage.User(picture, Question)]);
        MediaFeatures one = engine.Look(chat, picture);
        MediaFeatures other = engine.Look(chat, TinyModel.Picture(2));

        using Sequence sequence = engine.CreateSequence();
        sequence.SetPrompt(prompt.Tokens, prompt.Spans, [one]);
        float[] first = engine.Compute(sequence);
        Assert.Equal(prompt.Spans[0].Start, sequence.SetPrompt(prompt.Tokens, prompt.Spans, [other]));
        Assert.NotEqual(first, engine.Compute(sequence));
        sequence.SetPrompt(prompt.Tokens, prompt.Spans, [one]);
        Assert.Equal(first, engine.Compute(sequence));
    }

    [Fact]
    public void A_step_that_does_not_fit_changes_nothing()
    {
        using ChatModel chat = TinyModel.Load();
        using InferenceEngine engine = new(chat.Model, chat.Ops, 64);
        using Sequence small = engine.Start(chat, new ChatText("Hi"));
        engine.Compute(small);
        int free = engine.Pages.Free;
        using Sequence large = engine.Start(chat, new ChatText(string.Concat(Enumerable.Repeat("many words ", 100))));
        CacheFullException e = Assert.Throws<CacheFullException>(() => engine.Run([small, large]));
        Assert.Contains("64", e.Message);
        Assert.Equal(free, engine.Pages.Free);
        Assert.True(engine.PagesAddUp());
    }

    [Fact]
    public void Finished_and_abandoned_sequences_return_all_pages()
    {
        using ChatModel chat = TinyModel.Load();
        using InferenceEngine engine = new(chat.Model, chat.Ops, 1024);
        Random random = new(5);
        List<Sequence> alive = [];
        for (int round = 0; round < 60; round++)
        {
            if (alive.Count < 4)
            {
                alive.Add(engine.Start(chat, new ChatText(new string('a', random.Next(1, 90)))));
            }

            engine.ChunkTokens = random.Next(1, 64);
            engine.Run(alive);
            foreach (Sequence sequence in alive.Where(s => s.LogitRow >= 0))
            {
                sequence.Append(random.Next(100));
            }

            int index = random.Next(alive.Count);
            switch (random.Next(4))
            {
                case 0:
                    alive[index].Dispose();
                    alive.RemoveAt(index);
                    break;
                case 1:
                    alive[index].Truncate(random.Next(alive[index].Computed + 1));
                    break;
            }

            Assert.True(engine.PagesAddUp());
        }

        alive.ForEach(s => s.Dispose());
        Assert.Equal(engine.Pages.Total, engine.Pages.Free);
    }

    [Fact]
    public void A_long_video_in_several_passes_gives_the_features_of_one_bit_for_bit()
    {
        using ChatModel chat = TinyModel.Load();
        using InferenceEngine engine = new(chat.Model, chat.Ops, 64);
        RgbImage[] frames =
        [
            .. Enumerable.Range(0, 6).Select(i => TinyModel.Picture(i, 1120, 1400).Source.Frames[0]), // 8000 patches each
        ];
        using PreparedMedia media = chat.Model.Info.Processor.Prepare(MediaSource.Video(frames), default, chat.Pool);
        Assert.True(InferenceEngine.FramesPerPass(media.Plan.Grid) < media.Plan.Grid.T);
        using MediaFeatures features = engine.Encode(media);
        chat.Ops.Reset();
        Assert.Equal(chat.Model.Encode(chat.Ops, media.Pixels, [media.Plan.Grid]).ToArray(), features.Rows.ToArray());
    }

    [Fact]
    public void Positions_of_tokens_behind_a_picture_go_on_from_its_longest_side()
    {
        using ChatModel chat = TinyModel.Load();
        Prompt prompt = chat.Prompts.Build([ChatMessage.User(TinyModel.Picture(1, 140, 56), new ChatText("x"))]);
        int[] positions = new int[3 * prompt.Tokens.Length];
        int delta = chat.Model.Positions(prompt.Spans, positions);
        MediaSpan span = prompt.Spans[0];
        int tokens = span.Grid.MergedTokens(2);
        int widest = Math.Max(span.Grid.H, span.Grid.W) / 2;
        Assert.Equal(span.Start + widest, positions[span.Start + tokens]);
        Assert.Equal(widest - tokens, delta);
    }
}
