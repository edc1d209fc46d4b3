using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;
using VlmSharp.Generation;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Tensors;
using VlmSharp.Testing;
using VlmSharp.Tests.Engine;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Adapters;

/// <summary>Adapters beside the weights of a model in memory, chosen by each request.</summary>
public sealed class AdapterRowsTests
{
    static readonly ChatText Question = new("What is in the picture?");

    public static TheoryData<string> Cases => [.. AdapterCase.Names];

    [Theory, MemberData(nameof(Cases))]
    public void Logits_are_the_reference_s(string name)
    {
        using AdapterCase golden = new(name);
        using ChatModel chat = ChatModel.Load(golden.CheckpointDirectory, threads: 2, exact: true);
        using InferenceEngine engine = new(chat.Model, chat.Ops, 512);
        using SafetensorsFile inputs = SafetensorsFile.Open(
            Goldens.Shared("golden/train-qwen2-vl/expected/inputs.safetensors")
        );
        using SafetensorsFile expected = golden.Expected();
        WeightAdapter adapter = chat.LoadAdapter(golden.Directory, name);
        string[] samples =
        [
            .. expected
                .Tensors.Where(t => t.Name.EndsWith(".logits", StringComparison.Ordinal))
                .Select(t => t.Name[..^".logits".Length]),
        ];
        Assert.NotEmpty(samples);
        foreach (string sample in samples)
        {
            using Sequence sequence = engine.CreateSequence();
            sequence.Adapter = adapter;
            int[] tokens = [.. inputs.Integers($"{sample}.input_ids").Select(t => (int)t)];
            List<MediaSpan> spans = [];
            List<MediaFeatures> features = [];
            if (inputs.Contains($"{sample}.image_grid_thw"))
            {
                long[] g = inputs.Integers($"{sample}.image_grid_thw");
                GridThw grid = new((int)g[0], (int)g[1], (int)g[2]);
                Assert.Equal(3, g.Length);
                chat.Ops.Reset();
                Tensor pixels = chat.Ops.Allocate(grid.Patches, chat.Model.Info.PatchWidth);
                inputs.Floats($"{sample}.pixel_values").CopyTo(pixels.Data);
                chat.Ops.Adapters = new RowAdapters(adapter);
                features.Add(new MediaFeatures(chat.Model.Encode(chat.Ops, pixels, [grid])));
                chat.Ops.Adapters = null;
                spans.Add(new MediaSpan(Array.IndexOf(tokens, chat.Model.Info.ImageToken), grid, 2));
            }

            sequence.SetPrompt(tokens, [.. spans], [.. features]);
            sequence.LogitsFrom = 0;
            engine.Run([sequence]);
            float[] logits =
            [
                .. Enumerable.Range(0, tokens.Length).SelectMany(t => engine.Logits(sequence, t).ToArray()),
            ];
            Near.RelativeToLargest(
                golden.Tolerance("logits"),
                Array.ConvertAll(expected.Floats($"{sample}.logits"), v => (double)v),
                logits,
                sample
            );
            features.ForEach(f => f.Dispose());
        }
    }

    [Theory]
    [InlineData("qwen2-vl", true, null)]
    [InlineData("qwen2-vl-tied-bf16", false, null)]
    [InlineData("qwen3-vl-moe", false, null)]
    [InlineData("reader-ref", false, "q4_0")]
    public void Requests_with_different_adapters_in_one_step_compute_the_bits_of_each_alone(
        string model,
        bool exact,
        string? packing
    )
    {
        using ChatModel chat = ChatModel.Load(
            Goldens.Local($"{model}/checkpoint"),
            threads: 2,
            exact: exact,
            packing: packing is null ? null : Recipe.Find(packing)
        );
        using InferenceEngine engine = new(chat.Model, chat.Ops, 2048);
        using TemporaryDirectory directory = new();
        string[] kinds = [.. RandomAdapters.Write(directory.Path, Goldens.Local($"{model}/checkpoint"))];
        List<WeightAdapter?> adapters = [null, .. kinds.Select(kind => chat.LoadAdapter(kind, kind)), null];
        List<float[]> alone = [];
        Sequence[] together = [.. adapters.Select((adapter, i) => Start(engine, chat, adapter, i))];
        engine.ChunkTokens = 2048;
        for (int i = 0; i < adapters.Count; i++)
        {
            using Sequence sequence = Start(engine, chat, adapters[i], i);
            float[] prompt = engine.Compute(sequence);
            sequence.Rewind(sequence.Tokens.Length - 1);
            sequence.Append(prompt.Length - 1);
            alone.Add([.. prompt, .. engine.Compute(sequence)]);
            float[] first = alone[i][..chat.Model.Info.Vocabulary];
            if (adapters[i] is not null)
            {
                using Sequence plain = Start(engine, chat, null, i);
                Assert.NotEqual(engine.Compute(plain), first);
            }
        }

        engine.Run(together);
        for (int i = 0; i < together.Length; i++)
        {
            Near.SameBits(alone[i].AsSpan(0, chat.Model.Info.Vocabulary), engine.Logits(together[i]), $"{i}");
        }

        // Steps of single rows, too.
        foreach (Sequence sequence in together)
        {
            sequence.Rewind(sequence.Tokens.Length - 1);
            sequence.Append(chat.Model.Info.Vocabulary - 1);
        }

        engine.Run(together);
        for (int i = 0; i < together.Length; i++)
        {
            Near.SameBits(alone[i].AsSpan(chat.Model.Info.Vocabulary), engine.Logits(together[i]), $"{i}");
            together[i].Dispose();
        }
    }

    [Theory]
    [InlineData("qwen2-vl", 1e-4)]
    [InlineData("qwen2.5-vl", 1e-4)]
    [InlineData("qwen3-vl-moe", 0.005)] // merged weights are rounded to f16, as the checkpoint has them
    [InlineData("qwen2-vl-tied-bf16", 0.05)] // and to bf16
    public void Merged_adapters_give_the_logits_of_those_beside_the_weights(string model, double tolerance)
    {
        string path = Goldens.Local($"{model}/checkpoint");
        using TemporaryDirectory directory = new();
        foreach (string kind in RandomAdapters.Write(directory.Path, path))
        {
            using ChatModel chat = ChatModel.Load(path, threads: 2, exact: true);
            using ChatModel merged = ChatModel.Load(path, threads: 2, exact: true, adapters: [kind]);
            using InferenceEngine engine = new(chat.Model, chat.Ops, 512);
            using InferenceEngine other = new(merged.Model, merged.Ops, 512);
            using Sequence beside = Start(engine, chat, chat.LoadAdapter(kind, "beside"), 1);
            using Sequence within = Start(other, merged, null, 1);
            Near.RelativeToLargest(
                tolerance,
                Array.ConvertAll(engine.Compute(beside), v => (double)v),
                other.Compute(within),
                Path.GetFileName(kind)
            );
        }
    }

    static Sequence Start(InferenceEngine engine, ChatModel chat, WeightAdapter? adapter, int seed)
    {
        Prompt prompt = chat.Prompts.Build([ChatMessage.User([TinyModel.Picture(seed), Question])]);
        Sequence sequence = engine.CreateSequence();
        sequence.Adapter = adapter;
        sequence.SetPrompt(prompt.Tokens, prompt.Spans, [.. prompt.Media.Select(Look)]);
        return sequence;

        MediaFeatures Look(ChatMedia media)
        {
            using PreparedMedia prepared = chat.Model.Info.Processor.Prepare(media.Source, media.Limits, chat.Pool);
            return engine.Encode(prepared, adapter);
        }
    }

    [Fact]
    public void A_conversation_that_changes_its_adapter_computes_everything_anew()
    {
        using ChatModel chat = TinyModel.Load(exact: true);
        using TemporaryDirectory directory = new();
        string adapter = RandomAdapters.Write(directory.Path, Goldens.Local("qwen2-vl/checkpoint")).First();
        chat.LoadAdapter(adapter, "mine");
        Assert.Throws<ArgumentException>(() => chat.LoadAdapter(adapter, "mine"));
        using Conversation conversation = new(chat, 512);
        Assert.Throws<KeyNotFoundException>(() => conversation.Adapter = "other");
        ChatMessage message = ChatMessage.User([TinyModel.Picture(1), Question]);
        SamplingOptions greedy = chat.DefaultSampling with { Temperature = 0, MaxNewTokens = 6 };
        IReadOnlyList<int> plain = conversation.Ask(message, greedy).Tokens;
        conversation.Adapter = "mine";
        ChatAnswer second = conversation.Ask(message, greedy);
        Assert.Equal(0, second.CachedTokens);
        conversation.Clear();
        conversation.Adapter = null;
        Assert.Equal(plain, conversation.Ask(message, greedy).Tokens);
    }
}
