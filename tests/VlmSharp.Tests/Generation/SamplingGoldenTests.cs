using VlmSharp.Generation;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Generation;

/// <summary>Every processor and pipeline against what transformers, vLLM, Aphrodite and text-generation-webui computed.</summary>
public class SamplingGoldenTests
{
    const double Tolerance = 1e-5;

    [Fact]
    public void Scores_and_kept_sets_are_those_of_the_references() => EveryRow(Goldens.Local("sampling"), Dense);

    [Fact]
    public void Scores_and_kept_sets_are_those_of_the_references_in_the_full_set() =>
        EveryRow(Goldens.Shared("golden/sampling"), Dense);

    [Fact]
    public void Dropping_removed_tokens_between_the_steps_changes_nothing() =>
        EveryRow(Goldens.Local("sampling"), Compacted);

    [Fact]
    public void Dropping_removed_tokens_between_the_steps_changes_nothing_in_the_full_set() =>
        EveryRow(Goldens.Shared("golden/sampling"), Compacted);

    static float[] Dense(SamplingGoldens.Row row)
    {
        float[] scores = [.. row.Logits];
        row.Pipeline().Process(scores, row.History(), new SamplerScratch(scores.Length));
        return scores;
    }

    static float[] Compacted(SamplingGoldens.Row row)
    {
        float[] scores = [.. row.Logits];
        int[] ids = new int[scores.Length];
        int count = row.Pipeline().ProcessCompacting(scores, ids, row.History(), new SamplerScratch(scores.Length));
        float[] dense = new float[scores.Length];
        Array.Fill(dense, float.NegativeInfinity);
        for (int i = 0; i < count; i++)
        {
            dense[ids[i]] = scores[i];
        }

        return dense;
    }

    static void EveryRow(string directory, Func<SamplingGoldens.Row, float[]> process)
    {
        using SamplingGoldens goldens = new(directory);
        List<string> wrong = [];
        int rows = 0;
        foreach (SamplingGoldens.Row row in goldens.Rows())
        {
            rows++;
            float[] scores = process(row);
            if (Difference(row, scores) is { } difference)
            {
                wrong.Add($"{row.Id}: {difference}");
            }
        }

        Assert.True(rows > 200, $"only {rows} rows in {directory}");
        Assert.True(wrong.Count == 0, $"{wrong.Count} of {rows} rows differ:\n" + string.Join('\n', wrong));
    }

    static string? Difference(SamplingGoldens.Row row, float[] scores)
    {
        int kept = scores.Count(score => !float.IsNegativeInfinity(score));
        if (kept != row.Kept)
        {
            return $"keeps {kept} tokens, expected {row.Kept}";
        }

        if (!row.TiesDecide)
        {
            for (int i = 0; i < scores.Length; i++)
            {
                bool near =
                    scores[i] == row.Scores[i]
                    || Math.Abs(scores[i] - row.Scores[i]) <= Tolerance * Math.Max(1, Math.Abs(row.Scores[i]));
                if (!near)
                {
                    return $"score of token {i} is {scores[i]}, expected {row.Scores[i]}";
                }
            }
        }

        if (row.Probabilities is null)
        {
            return null;
        }

        double max = scores.Max();
        double[] actual = [.. scores.Select(score => Math.Exp(score - max))];
        double sum = actual.Sum();
        actual = [.. actual.Select(p => p / sum)];
        double[] expected = [.. row.Probabilities.Select(p => (double)p)];
        if (row.TiesDecide)
        {
            Array.Sort(actual);
            Array.Sort(expected);
        }

        int worst = Enumerable.Range(0, actual.Length).MaxBy(i => Math.Abs(actual[i] - expected[i]));
        return Math.Abs(actual[worst] - expected[worst]) <= Tolerance
            ? null
            : $"probability {worst} is {actual[worst]}, expected {expected[worst]}";
    }
}
