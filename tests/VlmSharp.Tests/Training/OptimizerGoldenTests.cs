using System.Text.Json;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Testing;
using VlmSharp.Training;
using Xunit;

namespace VlmSharp.Tests.Training;

/// <summary>The trajectories and schedules of <c>golden/optim</c>.</summary>
public sealed class OptimizerGoldenTests
{
    static JsonDocument Open() => JsonDocument.Parse(File.ReadAllBytes(Goldens.Shared("golden/optim/optim.json")));

    [Theory]
    [InlineData("adamw")]
    [InlineData("adamw-eps")]
    [InlineData("adamw-schedule")]
    [InlineData("adamw-clipped")]
    public void AdamW_takes_the_reference_s_path(string name)
    {
        using JsonDocument json = Open();
        JsonElement row = json.RootElement.GetProperty("optimizers").GetProperty(name);
        JsonElement attributes = row.GetProperty("attributes");
        double tolerance = json.RootElement.GetProperty("tolerance").GetDouble();
        using WorkerPool pool = new(2);
        using SafetensorsFile file = SafetensorsFile.Open(Goldens.Shared("golden/optim/optim.safetensors"));
        int[] tensors = [.. row.GetProperty("tensors").EnumerateArray().Select(t => t.GetInt32())];
        float[][] values = [.. tensors.Select(i => file.Floats($"start.{i}"))];
        float[][] first = [.. values.Select(v => new float[v.Length])];
        float[][] second = [.. values.Select(v => new float[v.Length])];
        for (int step = 0; step < 20; step++)
        {
            float[][] gradients =
            [
                .. tensors.Select(i =>
                    file.Floats($"grads.{i}").AsSpan(step * values[i].Length, values[i].Length).ToArray()
                ),
            ];
            double scale = 1;
            if (row.TryGetProperty("clip_grad_norm", out JsonElement most))
            {
                double norm = Math.Sqrt(gradients.Sum(g => AdamW.SumOfSquares(g, pool)));
                scale = Math.Min(1, most.GetDouble() / (norm + 1e-6));
            }

            AdamW.Settings settings = new(
                row.TryGetProperty("lr_per_step", out JsonElement rates)
                    ? rates[step].GetDouble()
                    : attributes.GetProperty("lr").GetDouble(),
                attributes.GetProperty("betas")[0].GetDouble(),
                attributes.GetProperty("betas")[1].GetDouble(),
                attributes.GetProperty("eps").GetDouble(),
                attributes.GetProperty("weight_decay").GetDouble(),
                step + 1,
                scale
            );
            foreach (int i in tensors)
            {
                AdamW.Update(values[i], gradients[i], first[i], second[i], settings, pool);
                double[] path =
                [
                    .. System.Runtime.InteropServices.MemoryMarshal.Cast<byte, double>(file.Bytes($"{name}.{i}")),
                ];
                Near.RelativeToLargest(
                    tolerance,
                    path.AsSpan(step * values[i].Length, values[i].Length),
                    values[i],
                    $"{name}, tensor {i}, step {step}"
                );
            }
        }
    }

    [Fact]
    public void Schedules_are_the_reference_s()
    {
        using JsonDocument json = Open();
        Dictionary<string, Func<int, double>> schedules = new()
        {
            ["constant"] = Schedule.Constant(),
            ["constant-warmup"] = Schedule.Constant(4),
            ["linear"] = Schedule.Linear(4, 20),
            ["linear-no-warmup"] = Schedule.Linear(0, 20),
            ["cosine"] = Schedule.Cosine(4, 20),
            ["cosine-cycles"] = Schedule.Cosine(4, 20, cycles: 1.5),
            ["cosine-restarts"] = Schedule.CosineWithRestarts(4, 20, 2),
            ["cosine-min-lr"] = Schedule.Cosine(4, 20, floor: 0.1),
            ["polynomial"] = Schedule.Polynomial(4, 20, 0.001, 2),
            ["inverse-sqrt"] = Schedule.InverseSquareRoot(4),
            ["wsd"] = Schedule.WarmupStableDecay(4, 6, 7, 0.05),
        };
        int compared = 0;
        foreach (JsonProperty row in json.RootElement.GetProperty("schedules").EnumerateObject())
        {
            int k = 0;
            foreach (JsonElement factor in row.Value.GetProperty("factors").EnumerateArray())
            {
                Assert.Equal(factor.GetDouble(), schedules[row.Name](k++), 1e-12);
            }

            compared++;
        }

        Assert.Equal(schedules.Count, compared);
    }
}
