using System.Text.Json;
using VlmSharp.Cli.Bench;
using VlmSharp.Formats;
using VlmSharp.Models;
using VlmSharp.Testing;
using VlmSharp.Training.Scratch;
using Xunit;

namespace VlmSharp.Hosting.Tests;

public sealed class BenchTests
{
    [Theory]
    [InlineData("qwen2-vl")]
    [InlineData("qwen2.5-vl")]
    public void Random_weights_have_the_names_and_shapes_of_a_published_checkpoint(string name)
    {
        using Checkpoint checkpoint = Checkpoint.Open(Goldens.Local($"{name}/checkpoint"));
        IEnumerable<(string Name, int[] Shape)> ours = checkpoint.Architecture switch
        {
            Qwen2VL.Architecture => ShapeTensors.Of(Qwen2VL.Config.Read(checkpoint.Config)),
            _ => ShapeTensors.Of(Qwen25VL.Config.Read(checkpoint.Config)),
        };
        AssertSame(checkpoint, ours);
    }

    [Fact]
    public void Random_weights_of_qwen3_have_the_names_and_shapes_of_a_published_checkpoint()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Goldens.Local("qwen3-vl-tied-bf16/checkpoint"));
        AssertSame(checkpoint, ShapeTensors.Of(Qwen3VL.Config.Read(checkpoint.Config, Qwen3VL.Architecture)));
    }

    static void AssertSame(Checkpoint checkpoint, IEnumerable<(string Name, int[] Shape)> ours)
    {
        static string Describe(string name, IEnumerable<long> shape) => $"{name} [{string.Join(", ", shape)}]";
        Assert.Equal(
            checkpoint.Tensors.Select(t => Describe(t.Name, t.Shape.Select(extent => (long)extent))).Order(),
            ours.Select(t => Describe(t.Name, t.Shape.Select(extent => (long)extent))).Order()
        );
    }

    [Fact]
    public void Every_shape_reads_as_a_config_and_lists_its_tensors()
    {
        foreach (ModelShape shape in ModelShape.All)
        {
            double parameters = shape.Tensors().Sum(t => t.Shape.Aggregate(1.0, (count, extent) => count * extent));
            string size = shape.Name.Split('-')[^1];
            double named = double.Parse(size[..^1]) * (size[^1] == 'b' ? 1e9 : 1e6);
            // Names round: Qwen2.5-VL-3B has 3.75 billion parameters.
            Assert.InRange(parameters, 0.95 * named, 1.26 * named);
        }
    }

    [Fact]
    public void Bench_measures_each_part_beside_its_limit()
    {
        foreach (
            (string part, string? limit) in ((string, string?)[])
                [("load", null), ("prefill", "fma"), ("decode", "stream")]
        )
        {
            VlmProcess.Result result = VlmProcess.Run(
                "bench",
                "--model",
                Goldens.Local("qwen2-vl/checkpoint"),
                "--only",
                part,
                "--runs",
                "1",
                "--threads",
                "1",
                "--json"
            );
            Assert.Equal(0, result.ExitCode);
            JsonElement[] rows =
            [
                .. JsonDocument.Parse(result.Output).RootElement.GetProperty("results").EnumerateArray(),
            ];
            Assert.NotEmpty(rows);
            Assert.All(
                rows,
                row =>
                {
                    Assert.Equal(part, row.GetProperty("name").GetString());
                    Assert.Equal("f32", row.GetProperty("weights").GetString());
                    Assert.Equal(1, row.GetProperty("threads").GetInt32());
                    Assert.True(row.GetProperty("seconds").GetDouble() > 0);
                    Assert.True(row.GetProperty("memory_mb").GetInt32() > 0);
                    Assert.Equal(limit, row.TryGetProperty("limit", out JsonElement found) ? found.GetString() : null);
                }
            );
        }
    }

    [Fact]
    public void Bench_compares_with_the_limit_of_the_kernel_that_was_chosen()
    {
        VlmProcess.Result result = VlmProcess.RunWith(
            new() { ["VLM_ISA"] = "matmul=portable" },
            "",
            "bench",
            "--model",
            Goldens.Local("qwen2-vl-tied-bf16/checkpoint"),
            "--only",
            "prefill",
            "--runs",
            "1",
            "--json"
        );
        Assert.Equal(0, result.ExitCode);
        Assert.All(
            JsonDocument.Parse(result.Output).RootElement.GetProperty("results").EnumerateArray(),
            row =>
            {
                Assert.Equal("bf16", row.GetProperty("weights").GetString());
                Assert.Equal("fma", row.GetProperty("limit").GetString());
            }
        );
    }

    [Fact]
    public void Bench_names_the_shapes_it_knows()
    {
        VlmProcess.Result result = VlmProcess.Run("bench", "--shape", "qwen9-vl-1b");
        Assert.Equal(1, result.ExitCode);
        Assert.Contains("qwen9-vl-1b", result.Error);
        Assert.Contains("qwen2-vl-2b", result.Error);
        Assert.Equal(1, VlmProcess.Run("bench").ExitCode);
    }

    [Fact]
    public void The_readers_have_the_sizes_of_their_names() =>
        Assert.Equal(
            [3.80, 7.26, 11.43],
            ModelShape.Readers.Select(shape =>
                Math.Round(shape.Tensors().Sum(t => t.Shape.Aggregate(1.0, (count, extent) => count * extent)) / 1e6, 2)
            )
        );

    [Fact]
    public void Bench_measures_updates_beside_a_product()
    {
        VlmProcess.Result result = VlmProcess.Run(
            "bench",
            "--train",
            "--model",
            Goldens.Local("qwen2-vl/checkpoint"),
            "--runs",
            "1",
            "--threads",
            "1",
            "--json"
        );
        Assert.True(result.ExitCode == 0, result.Error);
        JsonElement root = JsonDocument.Parse(result.Output).RootElement;
        Assert.True(root.GetProperty("f32_product_gflops").GetDouble() > 0);
        Assert.All(
            root.GetProperty("results").EnumerateArray(),
            row =>
            {
                Assert.True(row.GetProperty("seconds").GetDouble() > 0);
                Assert.True(row.GetProperty("gflops").GetDouble() > 0);
                Assert.Equal(
                    64 * 48 * row.GetProperty("patches_per_second").GetDouble(),
                    64 * 64 * row.GetProperty("tokens_per_second").GetDouble(),
                    tolerance: 1e4
                );
            }
        );
    }
}
