using VlmSharp.Chat;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Tensors;
using VlmSharp.Testing;
using VlmSharp.Tests.Engine;
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
        using KvCache cache = new(info.Layers, info.Attention.Layout, pages.Length);
        float[] ours = chat.Model.Forward(chat.Ops, step, cache).ToArray();
        float[] expected = chat.Model.Forward(new ReferenceOps(), step, cache).ToArray();
        AssertClose(expected, ours);
    }

    static void AssertClose(float[] expected, float[] actual) =>
        Near.RelativeToLargest(Tolerance, Array.ConvertAll(expected, v => (double)v), actual);
}
