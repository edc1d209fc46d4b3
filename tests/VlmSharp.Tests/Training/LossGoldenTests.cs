using System.Text.Json;
using VlmSharp.Kernels;
using VlmSharp.Testing;
using VlmSharp.Training;
using Xunit;

namespace VlmSharp.Tests.Training;

/// <summary>The rows of <c>golden/losses</c> that training uses.</summary>
public sealed class LossGoldenTests
{
    const double Exact = 1e-9; // the file's
    const double Single = 1e-6; // where the kernel computes in f32

    static void ForEach(string prefix, Action<JsonElement> check)
    {
        using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(Goldens.Shared("golden/losses/losses.json")));
        JsonElement[] rows =
        [
            .. json
                .RootElement.GetProperty("cases")
                .EnumerateArray()
                .Where(row => row.GetProperty("id").GetString()!.StartsWith(prefix)),
        ];
        Assert.NotEmpty(rows);
        Array.ForEach(rows, check);
    }

    static double[] Numbers(JsonElement json) =>
        json.ValueKind == JsonValueKind.Array ? [.. json.EnumerateArray().SelectMany(Numbers)] : [json.GetDouble()];

    static double[][] Rows(JsonElement json) => [.. json.EnumerateArray().Select(Numbers)];

    static void Equal(double[] expected, IEnumerable<double> actual, double tolerance, string what)
    {
        double largest = Math.Max(expected.Max(Math.Abs), 1e-3);
        double[] values = [.. actual];
        Assert.Equal(expected.Length, values.Length);
        for (int i = 0; i < values.Length; i++)
        {
            Assert.True(
                Math.Abs(expected[i] - values[i]) <= tolerance * largest,
                $"{what} [{i}]: {values[i]:R}, expected {expected[i]:R}"
            );
        }
    }

    static void CrossEntropyOf(JsonElement row, int[] labels, double count, double smoothing)
    {
        using WorkerPool pool = new(1);
        float[] logits = [.. Numbers(row.GetProperty("inputs").GetProperty("logits")).Select(v => (float)v)];
        double loss = CrossEntropy.Apply(
            logits,
            logits.Length / labels.Length,
            labels,
            logits.Length / labels.Length,
            1 / count,
            pool,
            smoothing
        );
        string id = row.GetProperty("id").GetString()!;
        Equal(Numbers(row.GetProperty("value")), [loss / count], Single, id);
        Equal(Numbers(row.GetProperty("gradients").GetProperty("logits")), logits.Select(v => (double)v), Single, id);
    }

    [Fact]
    public void Cross_entropy()
    {
        void Check(JsonElement row)
        {
            int[] labels = [.. Numbers(row.GetProperty("inputs").GetProperty("labels")).Select(v => (int)v)];
            JsonElement attributes = row.GetProperty("attributes");
            bool sum = attributes.TryGetProperty("reduction", out JsonElement r) && r.GetString() == "sum";
            double smoothing = attributes.TryGetProperty("label_smoothing", out JsonElement e) ? e.GetDouble() : 0;
            CrossEntropyOf(row, labels, sum ? 1 : labels.Count(label => label >= 0), smoothing);
        }

        ForEach("cross-entropy-mean", Check);
        ForEach("cross-entropy-sum", Check);
        ForEach("cross-entropy-large", Check);
    }

    [Fact]
    public void Next_token_loss() =>
        ForEach(
            "causal-lm",
            row =>
            {
                // Position t predicts label t + 1, the last one nothing.
                double[][] labels = Rows(row.GetProperty("inputs").GetProperty("labels"));
                int[] shifted = [.. labels.SelectMany(l => l.Skip(1).Append(CrossEntropy.Ignored)).Select(v => (int)v)];
                JsonElement items = row.GetProperty("attributes").GetProperty("num_items_in_batch");
                double count = items.ValueKind == JsonValueKind.Null ? shifted.Count(l => l >= 0) : items.GetDouble();
                CrossEntropyOf(row, shifted, count, 0);
            }
        );

    [Fact]
    public void Symmetric_contrastive_loss() =>
        ForEach(
            "clip-symmetric",
            row =>
            {
                JsonElement inputs = row.GetProperty("inputs");
                (double value, double[][] images, double[][] texts, double logScale) = Contrastive.Symmetric(
                    Rows(inputs.GetProperty("image")),
                    Rows(inputs.GetProperty("text")),
                    inputs.GetProperty("log_scale").GetDouble()
                );
                string id = row.GetProperty("id").GetString()!;
                JsonElement gradients = row.GetProperty("gradients");
                Equal(Numbers(row.GetProperty("value")), [value], Exact, id);
                Equal(Numbers(gradients.GetProperty("image")), images.SelectMany(v => v), Exact, id);
                Equal(Numbers(gradients.GetProperty("text")), texts.SelectMany(v => v), Exact, id);
                Equal(Numbers(gradients.GetProperty("log_scale")), [logScale], Exact, id);
            }
        );

    [Fact]
    public void InfoNce() =>
        ForEach(
            "infonce",
            row =>
            {
                JsonElement inputs = row.GetProperty("inputs");
                (double value, double[][] queries, double[][] keys) = Contrastive.InfoNce(
                    Rows(inputs.GetProperty("query")),
                    Rows(inputs.GetProperty("key")),
                    row.GetProperty("attributes").GetProperty("temperature").GetDouble()
                );
                JsonElement gradients = row.GetProperty("gradients");
                Equal(Numbers(row.GetProperty("value")), [value], Exact, "value");
                Equal(Numbers(gradients.GetProperty("query")), queries.SelectMany(v => v), Exact, "query");
                Equal(Numbers(gradients.GetProperty("key")), keys.SelectMany(v => v), Exact, "key");
            }
        );

    static IEnumerable<(Corners Predicted, Corners Target)> Boxes(JsonElement row)
    {
        Corners Box(double[] b) => new(b[0], b[1], b[2], b[3]);
        JsonElement inputs = row.GetProperty("inputs");
        return Rows(inputs.GetProperty("predicted"))
            .Zip(Rows(inputs.GetProperty("target")), (p, t) => (Box(p), Box(t)));
    }

    static double[] Values(Corners box) => [box.X0, box.Y0, box.X1, box.Y1];

    [Fact]
    public void Generalised_intersection_over_union() =>
        ForEach(
            "giou-loss",
            row =>
            {
                (double Value, Corners Gradient)[] results =
                [
                    .. Boxes(row).Select(pair => BoxLoss.Giou(pair.Predicted, pair.Target)),
                ];
                Equal(Numbers(row.GetProperty("value")), results.Select(r => r.Value), Exact, "value");
                double[] expected = Numbers(row.GetProperty("gradients").GetProperty("predicted"));
                Equal(expected, results.SelectMany(r => Values(r.Gradient)), Exact, "gradient");
            }
        );

    [Fact]
    public void Distance_of_boxes() =>
        ForEach(
            "l1-box",
            row =>
            {
                (double Value, Corners Gradient)[] results =
                [
                    .. Boxes(row).Select(pair => BoxLoss.L1(pair.Predicted, pair.Target)),
                ];
                bool mean = row.GetProperty("attributes").GetProperty("reduction").GetString() == "mean";
                double share = mean ? 1.0 / (4 * results.Length) : 1;
                Equal(
                    [share * Numbers(row.GetProperty("value")).Sum() / share],
                    [share * results.Sum(r => r.Value)],
                    Exact,
                    "value"
                );
                double[] expected = Numbers(row.GetProperty("gradients").GetProperty("predicted"));
                Equal(expected, results.SelectMany(r => Values(r.Gradient)).Select(g => g * share), Exact, "gradient");
            }
        );

    [Fact]
    public void Balance_of_routers() =>
        ForEach(
            "load-balancing",
            row =>
            {
                JsonElement inputs = row.GetProperty("inputs");
                JsonElement mask = inputs.GetProperty("attention_mask");
                bool[]? seen = mask.ValueKind == JsonValueKind.Null ? null : [.. Numbers(mask).Select(v => v != 0)];
                double[][][] layers = [Rows(inputs.GetProperty("layer0")), Rows(inputs.GetProperty("layer1"))];
                (double value, double[][] gradients) = RouterBalance.Compute(
                    [
                        .. layers.Select(rows =>
                            (
                                rows.Where((_, i) => seen is null || seen[i])
                                    .SelectMany(v => v)
                                    .Select(v => (float)v)
                                    .ToArray(),
                                rows[0].Length
                            )
                        ),
                    ],
                    row.GetProperty("attributes").GetProperty("top_k").GetInt32()
                );
                // The reference counts shares in f32.
                Equal(Numbers(row.GetProperty("value")), [value], Single, "value");
                for (int l = 0; l < 2; l++)
                {
                    double[] expected =
                    [
                        .. Rows(row.GetProperty("gradients").GetProperty($"layer{l}"))
                            .Where((_, i) => seen is null || seen[i])
                            .SelectMany(v => v),
                    ];
                    Equal(expected, gradients[l], Single, $"layer {l}");
                }
            }
        );
}
