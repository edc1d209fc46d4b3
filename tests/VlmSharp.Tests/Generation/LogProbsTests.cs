using System.Text.Json;
using VlmSharp.Formats;
using VlmSharp.Generation;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Generation;

public class LogProbsTests
{
    [Fact]
    public void Best_tokens_ranks_and_values_are_those_of_sorting_in_double_precision()
    {
        Random random = new(1);
        foreach (int vocabulary in new[] { 1, 5, 8, 300, 5000 })
        {
            // Quarters, so that many are equal.
            float[] logits = [.. Enumerable.Range(0, vocabulary).Select(_ => random.Next(-40, 41) / 4f)];
            double normaliser = Math.Log(logits.Sum(logit => Math.Exp(logit)));
            int[] order = [.. Enumerable.Range(0, vocabulary).OrderByDescending(i => logits[i])]; // stable: equal ones by id
            foreach (int count in new[] { 0, 1, 5, 20, vocabulary }.Where(count => count <= vocabulary))
            {
                TokenLogProb[] top = new TokenLogProb[count];
                LogProbs.Top(logits, top);
                Assert.Equal(order[..count], top.Select(entry => entry.Token));
                Assert.All(top, entry => Assert.Equal(logits[entry.Token] - normaliser, entry.LogProb, 1e-6));
            }

            for (int place = 0; place < vocabulary; place += 1 + vocabulary / 20)
            {
                Assert.Equal(place + 1, LogProbs.Rank(logits, order[place]));
            }
        }
    }

    [Fact]
    public void Tokens_that_cannot_come_have_minus_infinity()
    {
        TokenLogProb[] top = new TokenLogProb[3];
        LogProbs.Top([float.NegativeInfinity, 1, float.NegativeInfinity], top);
        Assert.Equal([new(1, 0), new(0, double.NegativeInfinity), new(2, double.NegativeInfinity)], top);
    }

    [Fact]
    public void More_best_tokens_than_there_are_is_refused() =>
        Assert.Contains(
            "3 best of 2",
            Assert.Throws<ArgumentException>(() => LogProbs.Top([1, 2], new TokenLogProb[3])).Message
        );

    [Fact]
    public void A_model_s_logits_give_the_tokens_ranks_and_best_five_of_the_reference()
    {
        using var json = JsonDocument.Parse(File.ReadAllBytes(Goldens.Shared("golden/sampling/decode.json")));
        foreach (JsonElement request in json.RootElement.GetProperty("logprobs").EnumerateArray())
        {
            using var expected = SafetensorsFile.Open(
                Goldens.Shared($"golden/qwen2-vl/expected/{request.GetProperty("request").GetString()}.safetensors")
            );
            float[] stepLogits = expected.Floats("step_logits"); // [steps, vocabulary]
            JsonElement[] steps = [.. request.GetProperty("steps").EnumerateArray()];
            int vocabulary = stepLogits.Length / steps.Length;
            Sampler sampler = new(new SamplingOptions { LogProbs = 5 }, [], vocabulary);
            for (int i = 0; i < steps.Length; i++)
            {
                Assert.Equal(
                    steps[i].GetProperty("id").GetInt32(),
                    sampler.Next(stepLogits.AsSpan(i * vocabulary, vocabulary))
                );
                StepLogProbs actual = sampler.LastLogProbs;
                Assert.Equal(steps[i].GetProperty("logprob").GetDouble(), actual.Chosen.LogProb, 1e-5);
                Assert.Equal(steps[i].GetProperty("rank").GetInt32(), actual.Rank);
                JsonElement[] top = [.. steps[i].GetProperty("top").EnumerateArray()];
                Assert.Equal(top.Length, actual.Top.Length);
                for (int place = 0; place < top.Length; place++)
                {
                    Assert.Equal(top[place][0].GetInt32(), actual.Top[place].Token);
                    Assert.Equal(top[place][1].GetDouble(), actual.Top[place].LogProb, 1e-5);
                }
            }
        }
    }
}
