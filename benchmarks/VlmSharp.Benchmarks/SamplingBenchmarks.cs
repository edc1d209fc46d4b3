using BenchmarkDotNet.Attributes;
using VlmSharp.Generation;

namespace VlmSharp.Benchmarks;

/// <summary>One step of choosing a token from the vocabulary of the Qwen-VL models, logits shaped like a model's.</summary>
[MemoryDiagnoser, MinColumn]
public class SamplingBenchmarks
{
    const int Vocabulary = 151_936;

    readonly float[] logits = Logits();
    Sampler sampler = null!;

    /// <summary>What is on.</summary>
    [ParamsAllValues]
    public Case Options { get; set; }

    public enum Case
    {
        Greedy,
        GreedyWithPenalty,
        GreedyWithLogProbs,
        Temperature,
        TopK,
        TopP,
        TopKTopP,
        MinP,
    }

    [IterationSetup]
    public void Start()
    {
        sampler = new Sampler(
            Options switch
            {
                Case.Greedy => new SamplingOptions(),
                Case.GreedyWithPenalty => new SamplingOptions { RepetitionPenalty = 1.05 },
                Case.GreedyWithLogProbs => new SamplingOptions { LogProbs = 5 },
                Case.Temperature => new SamplingOptions { Temperature = 0.7 },
                Case.TopK => new SamplingOptions { Temperature = 0.7, TopK = 20 },
                Case.TopP => new SamplingOptions { Temperature = 0.7, TopP = 0.9 },
                Case.TopKTopP => new SamplingOptions
                {
                    Temperature = 0.7,
                    TopK = 20,
                    TopP = 0.8,
                    RepetitionPenalty = 1.05,
                },
                _ => new SamplingOptions { Temperature = 0.7, MinP = 0.05 },
            },
            [.. Enumerable.Range(0, 1000)],
            Vocabulary
        );
        sampler.Next(logits); // allocates the buffers
    }

    [Benchmark(OperationsPerInvoke = 100)]
    public int HundredTokens()
    {
        int token = 0;
        for (int i = 0; i < 100; i++)
        {
            token = sampler.Next(logits);
        }

        return token;
    }

    static float[] Logits()
    {
        Random random = new(1);
        float[] drawn = new float[Vocabulary];
        for (int i = 0; i < Vocabulary; i++)
        {
            double noise =
                Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
            drawn[i] = (float)(2 * noise + (random.Next(Vocabulary) < 40 ? 10 : 0));
        }

        return drawn;
    }
}
