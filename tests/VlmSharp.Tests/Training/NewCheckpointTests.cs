using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Testing;
using VlmSharp.Text;
using VlmSharp.Training;
using VlmSharp.Training.Scratch;
using Xunit;

namespace VlmSharp.Tests.Training;

/// <summary>Models that nobody has trained yet.</summary>
public class NewCheckpointTests
{
    [Theory]
    [InlineData("reader-4m", 3.4e6, 4e6)]
    [InlineData("reader-7m", 6.5e6, 8e6)]
    [InlineData("reader-12m", 10.5e6, 12e6)]
    public void A_new_reader_is_a_checkpoint_that_can_be_trained(string name, double least, double most)
    {
        using TemporaryDirectory directory = new();
        ModelShape shape = ModelShape.All.Single(s => s.Name == name);
        BytePairs pairs = BytePairTrainer.Train(["Read the text. Read the text."], 300);
        NewCheckpoint.Write(directory.Path, shape, pairs, (784, 50176), seed: 1);
        using WorkerPool pool = new(1);
        using Checkpoint checkpoint = Checkpoint.Open(directory.Path);
        using TrainableModel model = TrainableModel.Load(checkpoint, pool);
        ModelInfo info = model.Model.Info;
        Assert.InRange(info.VisionParameters + info.TextParameters, least, most);
        Tokenizer tokenizer = Tokenizer.Load(checkpoint);
        Assert.Equal(tokenizer.VocabularySize, info.Vocabulary);
        List<int> ids = [];
        tokenizer.Encode("<|image_pad|><|video_pad|>", ids, AddedTokenUse.Parse);
        Assert.Equal([info.ImageToken, info.VideoToken], ids);
    }

    [Fact]
    public void Weights_depend_on_the_seed_and_have_the_stated_deviation()
    {
        float[] a = new float[100_001];
        float[] b = new float[100_001];
        InitialWeights.Fill("a.weight", [1, 100_001], 1, a);
        InitialWeights.Fill("a.weight", [1, 100_001], 1, b);
        Assert.Equal(a, b);
        InitialWeights.Fill("a.weight", [1, 100_001], 2, b);
        Assert.NotEqual(a, b);

        InitialWeights.Fill("a.weight", [1000, 100], 1, a.AsSpan(0, 100_000));
        double mean = a.Take(100_000).Average();
        double deviation = Math.Sqrt(a.Take(100_000).Average(x => x * (double)x));
        Assert.InRange(mean, -0.001, 0.001);
        Assert.InRange(deviation, 0.079, 0.081);
        Assert.InRange(a.Max(Math.Abs), 0.3, 0.5); // some of 100,000 normal numbers lie beyond four deviations

        InitialWeights.Fill("norm.weight", [4], 1, a.AsSpan(0, 4));
        InitialWeights.Fill("fc.bias", [4], 1, a.AsSpan(4, 4));
        Assert.Equal([1, 1, 1, 1, 0, 0, 0, 0], a.Take(8));
    }
}
