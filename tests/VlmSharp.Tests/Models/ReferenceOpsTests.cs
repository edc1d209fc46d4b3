using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Tensors;
using VlmSharp.Testing;
using VlmSharp.Tests.Engine;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Models;

/// <summary>The model on kernels against the same model on operations written out in double precision.</summary>
public sealed class ReferenceOpsTests
{
    const double Tolerance = 2e-5; // of the largest value: f32 sums over a few hundred terms in three layers

    public static MatrixTheoryData<string, (int, int)> Pictures =>
        new(["qwen2-vl", "qwen2.5-vl", "qwen3-vl-tied-bf16", "qwen3-vl-moe"], [(84, 56), (28, 28), (196, 112)]);

    public static MatrixTheoryData<string, int> Lengths =>
        new(["qwen2-vl", "qwen2.5-vl", "qwen3-vl-tied-bf16", "qwen3-vl-moe"], [1, 5, 150]);

    [Theory, MemberData(nameof(Pictures))]
    public void The_tower_equals_its_definition(string name, (int Width, int Height) size)
    {
        using ChatModel chat = TinyModel.Load(name: name, exact: true);
        ChatMedia picture = TinyModel.Picture(3, size.Width, size.Height);
        using PreparedMedia media = chat.Model.Info.Processor.Prepare(picture.Source, default, chat.Pool);
        float[] ours = chat.Model.Encode(chat.Ops, media.Pixels, [media.Plan.Grid]).ToArray();
        float[] expected = chat.Model.Encode(new ReferenceOps(), media.Pixels, [media.Plan.Grid]).ToArray();
        AssertClose(expected, ours);
    }

    [Theory, MemberData(nameof(Lengths))]
    public void The_decoder_equals_its_definition(string name, int length)
    {
        using ChatModel chat = TinyModel.Load(name: name, exact: true);
        Random random = new(length);
        Step step = new();
        int[] pages = [.. Enumerable.Range(0, (length / KvLayout.PageTokens) + 1).Reverse()];
        for (int i = 0; i < length; i++)
        {
            step.WantLogits(step.AddRow(random.Next(400), i, random.Next(i + 1), random.Next(i + 1)));
        }

        ModelInfo info = chat.Model.Info;
        using MediaFeatures features = new(length / 3, info.FeatureWidth);
        foreach (ref float value in features.Rows.Data)
        {
            value = random.NextSingle() - 0.5f;
        }

        step.AddMedia(length / 4, features.Rows);
        step.AddSequence(pages, length, length, length);
        using KvCache cache = new(info.Layers, info.Attention.Layout(KvStorage.F32), pages.Length);
        float[] ours = chat.Model.Forward(chat.Ops, step, cache).ToArray();
        float[] expected = chat.Model.Forward(new ReferenceOps(), step, cache).ToArray();
        AssertClose(expected, ours);
    }

    [Theory, MemberData(nameof(Requests))]
    public void A_whole_request_equals_its_definition(string name, string shape)
    {
        using ChatModel chat = TinyModel.Load(name: name, exact: true);
        AssertRequest(chat, Content(chat, shape));
    }

    [Theory]
    [InlineData("qwen-vl")]
    [InlineData("qwen2-vl")]
    [InlineData("qwen2.5-vl")]
    [InlineData("qwen3-vl-tied-bf16")]
    public void A_whole_request_with_the_head_sizes_of_published_models_equals_its_definition(string name)
    {
        using CheckpointCopy copy = TrueHeads.Write(name);
        using ChatModel chat = ChatModel.Load(copy.Path, threads: 2, exact: true);
        (int tower, int decoder) = TrueHeads.Of(name);
        Assert.Equal(tower, chat.Model.Info.Tower.Width / chat.Model.Info.Tower.Heads);
        Assert.Equal(decoder, chat.Model.Info.Attention.HeadDim);
        AssertRequest(chat, Content(chat, "film"));
    }

    public static MatrixTheoryData<string, string> Requests =>
        new(TinyModel.Names, ["thin pictures", "many pictures", "film"]);

    static ChatContent[] Content(ChatModel chat, string shape)
    {
        Random random = new(shape.Length);
        ChatText question = new("What is there?");
        return shape switch
        {
            "thin pictures" =>
            [
                TinyModel.Picture(1, 1, 150),
                TinyModel.Picture(2, 190, 1),
                TinyModel.Shown(chat, 3, frames: 3, width: 97, height: 33),
                question,
            ],
            "many pictures" =>
            [
                .. Enumerable.Range(0, 6).Select(i => TinyModel.Picture(i, random.Next(9, 90), random.Next(9, 90))),
                question,
            ],
            _ =>
            [
                TinyModel.Shown(chat, 4, frames: 7, random.Next(30, 120), random.Next(30, 120)),
                TinyModel.Picture(5, random.Next(30, 200), random.Next(30, 200)),
                question,
            ],
        };
    }

    static void AssertRequest(ChatModel chat, ChatContent[] content)
    {
        Prompt prompt = chat.Prompts.Build([ChatMessage.User(content)]);
        List<Tensor> features = [];
        foreach (ChatMedia media in prompt.Media)
        {
            using PreparedMedia prepared = chat.Model.Info.Processor.Prepare(media.Source, media.Limits, chat.Pool);
            features.Add(chat.Model.Encode(new ReferenceOps(), prepared.Pixels, [prepared.Plan.Grid]));
        }

        int count = prompt.Tokens.Length;
        int[] positions = new int[3 * count];
        chat.Model.Positions(prompt.Spans, positions);
        Step step = new();
        for (int i = 0; i < count; i++)
        {
            step.AddRow(prompt.Tokens[i], positions[i], positions[count + i], positions[(2 * count) + i]);
        }

        step.WantLogits(count - 1);
        foreach (MediaSpan span in prompt.Spans)
        {
            step.AddMedia(span.Start, features[span.Medium].Slice(span.FirstFeature, span.Tokens));
        }

        int[] pages = [.. Enumerable.Range(0, KvLayout.PagesFor(count))];
        step.AddSequence(pages, count, count, count);
        ModelInfo info = chat.Model.Info;
        using KvCache cache = new(info.Layers, info.Attention.Layout(KvStorage.F32), pages.Length);
        float[] expected = chat.Model.Forward(new ReferenceOps(), step, cache).ToArray();

        using InferenceEngine engine = new(chat.Model, chat.Ops, count + 1);
        using Sequence sequence = engine.Start(chat, content);
        AssertClose(expected, engine.Compute(sequence), 2 * Tolerance); // one after the other: tower and decoder
    }

    static void AssertClose(float[] expected, float[] actual, double tolerance = Tolerance) =>
        Near.RelativeToLargest(tolerance, Array.ConvertAll(expected, v => (double)v), actual);
}
