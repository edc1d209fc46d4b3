using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Generation;
using VlmSharp.Kernels;
using VlmSharp.Media.Images;
using VlmSharp.Models;
using VlmSharp.Tensors;
using VlmSharp.Testing;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Engine;

public sealed class InferenceEngineTests
{
    static readonly ChatText Question = new("What moves, and how many are there?");

    public static TheoryData<string> Models => [.. TinyModel.Names];

    public static MatrixTheoryData<string, int> Chunks => new(TinyModel.Names, [1, 3, 7, 16, 33]);

    public static MatrixTheoryData<string, KvStorage> Caches => new(TinyModel.Names, Enum.GetValues<KvStorage>());

    [Theory, MemberData(nameof(Chunks))]
    public void A_prompt_computed_in_chunks_gives_the_logits_of_the_whole_bit_for_bit(string name, int chunk)
    {
        using ChatModel chat = TinyModel.Load(name: name);
        using InferenceEngine engine = new(chat.Model, chat.Ops, 512);
        ChatContent[] content = [TinyModel.Picture(1), TinyModel.Shown(chat, 2, frames: 5), Question];
        using Sequence whole = engine.Start(chat, content);
        float[] expected = engine.Compute(whole);

        engine.ChunkTokens = chunk;
        using Sequence chunked = engine.Start(chat, content);
        Assert.Equal(expected, engine.Compute(chunked));
    }

    [Theory, MemberData(nameof(Models))]
    public void The_logits_of_every_token_are_those_of_the_prompt_that_ends_there_bit_for_bit(string name)
    {
        using ChatModel chat = TinyModel.Load(name: name, exact: true);
        using InferenceEngine engine = new(chat.Model, chat.Ops, 512) { ChunkTokens = 7 };
        using Sequence whole = engine.Start(chat, [Question]);
        whole.LogitsFrom = 5;
        List<float[]> logits = [];
        while (whole.Pending > 0)
        {
            int start = Math.Max(5, whole.Computed);
            engine.Run([whole]);
            for (int token = start; token < whole.Computed; token++)
            {
                logits.Add(engine.Logits(whole, token).ToArray());
            }

            Assert.Throws<ArgumentOutOfRangeException>(() => engine.Logits(whole, start - 1).Length);
            Assert.Throws<ArgumentOutOfRangeException>(() => engine.Logits(whole, whole.Computed).Length);
        }

        Assert.Equal(whole.Tokens.Length - 5, logits.Count);
        Assert.Equal(engine.Logits(whole), logits[^1]);
        foreach (int token in (int[])[5, 8, whole.Tokens.Length - 1])
        {
            if (!chat.Model.KeepsPrefix(whole.Tokens.Length, token + 1))
            {
                continue; // the length of a prompt decides how it is computed
            }

            using Sequence cut = engine.CreateSequence();
            cut.SetPrompt(whole.Tokens[..(token + 1)], [], []);
            Assert.Equal(engine.Compute(cut), logits[token - 5]);
        }
    }

    [Theory, MemberData(nameof(Caches))]
    public void Requests_computed_together_give_what_each_gives_alone_bit_for_bit(string name, KvStorage cache)
    {
        using ChatModel chat = TinyModel.Load(name: name, cache: cache);
        using InferenceEngine engine = new(chat.Model, chat.Ops, 2048);
        ChatContent[][] contents =
        [
            [TinyModel.Picture(1), Question],
            [new ChatText("Hello.")],
            [TinyModel.Shown(chat, 4, frames: 3), new ChatText("or"), TinyModel.Picture(3, 32, 96)],
            [Question, TinyModel.Picture(2, 140, 28), new ChatText("or"), TinyModel.Picture(3, 28, 84)],
            [Question],
        ];
        List<float[]> alone = [];
        foreach (ChatContent[] content in contents)
        {
            using Sequence sequence = engine.Start(chat, content);
            alone.Add(engine.Compute(sequence));
        }

        Sequence[] together = [.. contents.Select(c => engine.Start(chat, c))];
        engine.ChunkTokens = 2048;
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

    [Theory, MemberData(nameof(Caches))]
    public void The_number_of_threads_changes_no_bit(string name, KvStorage cache)
    {
        using ChatModel one = TinyModel.Load(threads: 1, name, cache: cache);
        using ChatModel three = TinyModel.Load(threads: 3, name, cache: cache);
        using InferenceEngine first = new(one.Model, one.Ops, 512);
        using InferenceEngine second = new(three.Model, three.Ops, 512);
        ChatContent[] content = [TinyModel.Picture(4), TinyModel.Shown(one, 5, frames: 3), Question];
        using Sequence a = first.Start(one, content);
        using Sequence b = second.Start(three, content);
        Assert.Equal(first.Compute(a), second.Compute(b));
    }

    [Theory, MemberData(nameof(Caches))]
    public void A_prompt_in_chunks_gives_the_bits_of_the_whole_and_the_cache_keeps_what_it_promises(
        string name,
        KvStorage cache
    )
    {
        using ChatModel exact = TinyModel.Load(name: name, exact: true);
        using ChatModel chat = TinyModel.Load(name: name, exact: true, cache: cache);
        using InferenceEngine reference = new(exact.Model, exact.Ops, 512);
        using InferenceEngine engine = new(chat.Model, chat.Ops, 512);
        ChatContent[] content = [TinyModel.Picture(1), Question];
        using Sequence sequence = reference.Start(exact, content);
        float[] expected = reference.Compute(sequence);
        using Sequence whole = engine.Start(chat, content);
        float[] stored = engine.Compute(whole);
        // Loose: weights of these models are random, so that layers amplify what is rounded.
        double tolerance = cache == KvStorage.F32 ? 0 : 0.1;
        Near.RelativeToLargest(tolerance, Array.ConvertAll(expected, x => (double)x), stored, $"{cache}");

        engine.ChunkTokens = 5;
        using Sequence chunked = engine.Start(chat, content);
        Assert.Equal(stored, engine.Compute(chunked));
    }

    [Theory, MemberData(nameof(Models))]
    public void A_decode_step_allocates_nothing_after_warm_up(string name)
    {
        const int Steps = 60;
        const int Rounds = 6;
        using ChatModel chat = TinyModel.Load(name: name);
        using InferenceEngine engine = new(chat.Model, chat.Ops, 1024);
        using Sequence sequence = engine.Start(chat, TinyModel.Picture(1), Question);
        Sampler sampler = new(
            new SamplingOptions { MaxNewTokens = (Rounds + 1) * Steps },
            sequence.Tokens,
            chat.Model.Info.Vocabulary
        );
        Sequence[] sequences = [sequence];
        sequence.EnsureRoom((Rounds + 1) * Steps);
        engine.Run(sequences);
        void Step()
        {
            sequence.Append(sampler.Next(engine.Logits(sequence)));
            engine.Run(sequences);
        }

        Step();
        Assert.Equal(0, Allocations.InSteadyState(Step, Steps, Rounds));
    }

    [Theory, MemberData(nameof(Models))]
    public void A_common_beginning_is_not_computed_again_and_changes_no_bit(string name)
    {
        using ChatModel chat = TinyModel.Load(name: name);
        using InferenceEngine engine = new(chat.Model, chat.Ops, 1024);
        ChatMedia shown = TinyModel.Shown(chat, 1, frames: 5);
        MediaFeatures features = engine.Look(chat, shown);
        Prompt first = chat.Prompts.Build([ChatMessage.User(shown, new ChatText("One?"))]);
        foreach (string question in (string[])["Two?", "Two, or three? Or four, or five, or very many more of them?"])
        {
            Prompt second = chat.Prompts.Build([ChatMessage.User(shown, new ChatText(question))]);
            using Sequence cold = engine.CreateSequence();
            cold.SetPrompt(second.Tokens, second.Spans, [features]);
            float[] expected = engine.Compute(cold);

            using Sequence warm = engine.CreateSequence();
            warm.SetPrompt(first.Tokens, first.Spans, [features]);
            engine.Decode(warm, 5);
            int kept = warm.SetPrompt(second.Tokens, second.Spans, [features]);
            bool keeps = chat.Model.KeepsPrefix(first.Tokens.Length, second.Tokens.Length);
            Assert.Equal(keeps ? first.Tokens.AsSpan().CommonPrefixLength(second.Tokens) : 0, kept);
            Assert.Equal(expected, engine.Compute(warm));
            Assert.True(engine.PagesAddUp());
        }
    }

    [Theory, MemberData(nameof(Models))]
    public void A_beginning_that_ends_inside_of_a_medium_is_kept_and_changes_no_bit(string name)
    {
        using ChatModel chat = TinyModel.Load(name: name);
        using InferenceEngine engine = new(chat.Model, chat.Ops, 1024);
        ChatMedia shown = TinyModel.Shown(chat, 2, frames: 6);
        MediaFeatures features = engine.Look(chat, shown);
        Prompt prompt = chat.Prompts.Build([ChatMessage.User(shown, Question)]);
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
    public void Another_medium_behind_equal_placeholders_is_computed_again(string name)
    {
        using ChatModel chat = TinyModel.Load(name: name);
        using InferenceEngine engine = new(chat.Model, chat.Ops, 512);
        ChatMedia shown = TinyModel.Shown(chat, 1, frames: 4);
        Prompt prompt = chat.Prompts.Build([ChatMessage.User(shown, Question)]);
        MediaFeatures one = engine.Look(chat, shown);
        MediaFeatures other = engine.Look(chat, TinyModel.Shown(chat, 2, frames: 4));

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

    [Theory, MemberData(nameof(Models))]
    public void Each_moment_of_a_video_alone_gives_its_features_of_the_whole_bit_for_bit(string name)
    {
        using ChatModel chat = TinyModel.Load(name: name);
        ChatMedia shown = TinyModel.Shown(chat, 6, frames: 7, width: 150, height: 70);
        using PreparedMedia media = chat.Model.Info.Processor.Prepare(shown.Source, default, chat.Pool);
        int frame = media.Plan.Grid.H * media.Plan.Grid.W;
        chat.Ops.Reset();
        float[] whole = chat.Model.Encode(chat.Ops, media.Pixels, [media.Plan.Grid]).ToArray();
        List<float> parts = [];
        for (int t = 0; t < media.Plan.Grid.T; t++)
        {
            chat.Ops.Reset();
            Tensor pixels = media.Pixels.Slice(t * frame, frame);
            parts.AddRange(chat.Model.Encode(chat.Ops, pixels, [media.Plan.Grid with { T = 1 }]).ToArray());
        }

        Assert.Equal(whole, parts);
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
