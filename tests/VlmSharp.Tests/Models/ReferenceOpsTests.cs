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

    [Theory]
    [InlineData(84, 56)]
    [InlineData(28, 28)]
    [InlineData(196, 112)]
    public void The_tower_equals_its_definition(int width, int height)
    {
        using ChatModel chat = TinyModel.Load();
        ChatMedia picture = TinyModel.Picture(3, width, height);
        using PreparedMedia media = chat.Model.Info.Processor.Prepare(picture.Source, default, chat.Pool);
        float[] ours = chat.Model.Encode(chat.Ops, media.Pixels, [media.Plan.Grid]).ToArray();
        float[] expected = chat.Model.Encode(new ReferenceOps(), media.Pixels, [media.Plan.Grid]).ToArray();
        AssertClose(expected, ours);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(5)]
    [InlineData(150)]
    public void The_decoder_equals_its_definition(int length)
    {
        using ChatModel chat = TinyModel.Load();
        Random random = new(length);
        Step step = new();
        int[] pages = [.. Enumerable.Range(0, (length / KvLayout.PageTokens) + 1).Reverse()];
        for (int i = 0; i < length; i++)
        {
            step.WantLogits(step.AddRow(random.Next(400), i, random.Next(i + 1), random.Next(i + 1)));
        }

        step.AddSequence(pages, length, length, length);
        ModelInfo info = chat.Model.Info;
        using KvCache cache = new(info.Layers, info.Attention.Layout, pages.Length);
        float[] ours = chat.Model.Forward(chat.Ops, step, cache).ToArray();
        float[] expected = chat.Model.Forward(new ReferenceOps(), step, cache).ToArray();
        AssertClose(expected, ours);
    }

    static void AssertClose(float[] expected, float[] actual) =>
        Near.RelativeToLargest(Tolerance, Array.ConvertAll(expected, v => (double)v), actual);
}
