using System.Text.Json;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Tensors;
using VlmSharp.Testing;
using VlmSharp.Training;
using Xunit;

namespace VlmSharp.Tests.Training;

/// <summary>Logits, gradients, losses and updated weights of the golden training cases.</summary>
public sealed class TrainingGoldenTests
{
    public static TheoryData<string> Cases => [.. TrainingCase.Names];

    static double[] Doubles(float[] values) => Array.ConvertAll(values, v => (double)v);

    [Theory, MemberData(nameof(Cases))]
    public void Logits_of_a_packed_batch_are_the_reference_s(string name)
    {
        using WorkerPool pool = new(2);
        using TrainingCase golden = new(name, pool);
        using SafetensorsFile expected = golden.Expected("logits.safetensors");
        int[] used =
        [
            .. Enumerable.Range(0, golden.Ids.Count).Where(i => expected.Contains($"{golden.Ids[i]}.logits")),
        ];
        (Tensor logits, _) = golden.Trainer.Forward([.. used.Select(i => golden.Samples[i])], learntOnly: false);
        int row = 0;
        foreach (int i in used)
        {
            int rows = golden.Samples[i].Tokens.Length;
            Near.RelativeToLargest(
                golden.Tolerance("logits"),
                Doubles(expected.Floats($"{golden.Ids[i]}.logits")),
                logits.Slice(row, rows).ToArray(),
                golden.Ids[i]
            );
            row += rows;
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void Gradients_of_the_first_update_are_the_reference_s(string name)
    {
        using WorkerPool pool = new(2);
        using TrainingCase golden = new(name, pool);
        using SafetensorsFile expected = golden.Expected("step0.safetensors");
        (double loss, int labels) = golden.Accumulate(golden.Losses("full")[0]);
        Assert.Equal(golden.Losses("full")[0].GetProperty("label_tokens").GetInt32(), labels);
        Near.RelativeToLargest(golden.Tolerance("loss"), Doubles(expected.Floats("loss")), [(float)loss], "loss");
        int compared = 0;
        foreach (Parameter parameter in golden.Model.Parameters.All)
        {
            Near.RelativeToLargest(
                golden.Tolerance("gradients"),
                Doubles(expected.Floats($"grad.{parameter.Name}")),
                parameter.Gradient,
                parameter.Name
            );
            compared++;
        }

        Assert.Equal(expected.Tensors.Count(t => t.Name.StartsWith("grad.")), compared);
        Near.RelativeToLargest(
            golden.Tolerance("gradients"),
            Doubles(expected.Floats("grad_norm")),
            [(float)golden.Optimizer().GradientNorm()],
            "norm"
        );
    }

    [Theory, MemberData(nameof(Cases))]
    public void Losses_and_weights_of_ten_updates_are_the_reference_s(string name)
    {
        using WorkerPool pool = new(2);
        string[] variants = [];
        using (TrainingCase golden = new(name, pool))
        {
            variants = [.. golden.Variants];
        }

        foreach (string variant in variants)
        {
            using TrainingCase golden = new(name, pool);
            using SafetensorsFile expected = golden.Expected(
                variant == "full" ? "final.safetensors" : $"{variant}.safetensors"
            );
            golden.Freeze(variant);
            Dictionary<string, float[]> before = golden.Model.Parameters.All.ToDictionary(
                p => p.Name,
                p => p.Values.ToArray()
            );
            Optimizer optimizer = golden.Optimizer();
            int update = 0;
            foreach (JsonElement step in golden.Losses(variant).EnumerateArray())
            {
                (double loss, _) = golden.Accumulate(step);
                if (update == 0)
                {
                    CompareGradients(golden, expected, variant);
                }

                int k = update;
                double norm = optimizer.Update(p => golden.Rate(p, k));
                Near.RelativeToLargest(
                    golden.Tolerance("losses"),
                    [step.GetProperty("loss").GetDouble()],
                    [(float)loss],
                    $"{variant}: loss {k}"
                );
                Near.RelativeToLargest(
                    golden.Tolerance("losses"),
                    [step.GetProperty("grad_norm").GetDouble()],
                    [(float)norm],
                    $"{variant}: norm {k}"
                );
                update++;
            }

            Assert.Equal(10, update);
            foreach (TensorInfo tensor in expected.Tensors.Where(t => t.Name.StartsWith("final.")))
            {
                string parameter = tensor.Name["final.".Length..];
                float[] start = before[parameter];
                float[] end = expected.Floats(tensor.Name);
                Near.RelativeToLargest(
                    golden.Tolerance("updates"),
                    [.. end.Select((v, i) => (double)v - start[i])],
                    [.. golden.Model.Parameters[parameter].Values.ToArray().Select((v, i) => v - start[i])],
                    $"{variant}: {parameter}"
                );
            }

            foreach (Parameter frozen in golden.Model.Parameters.All.Where(p => !p.Trained))
            {
                Near.SameBits(before[frozen.Name], frozen.Values, frozen.Name);
            }
        }
    }

    static void CompareGradients(TrainingCase golden, SafetensorsFile expected, string variant)
    {
        foreach (TensorInfo tensor in expected.Tensors.Where(t => t.Name.StartsWith("grad.")))
        {
            string parameter = tensor.Name["grad.".Length..];
            Near.RelativeToLargest(
                golden.Tolerance("gradients"),
                Doubles(expected.Floats(tensor.Name)),
                golden.Model.Parameters[parameter].Gradient,
                $"{variant}: {parameter}"
            );
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void Recomputed_blocks_give_gradients_of_the_same_bits(string name)
    {
        using WorkerPool pool = new(2);
        using TrainingCase golden = new(name, pool);
        JsonElement step = golden.Losses("full")[0];
        golden.Accumulate(step);
        Dictionary<string, float[]> kept = golden.Model.Parameters.All.ToDictionary(
            p => p.Name,
            p => p.Gradient.ToArray()
        );
        foreach ((bool vision, bool text) in new[] { (true, false), (false, true), (true, true) })
        {
            golden.Trainer.RecomputeVision = vision;
            golden.Trainer.RecomputeText = text;
            golden.Accumulate(step);
            foreach (Parameter parameter in golden.Model.Parameters.All)
            {
                Near.SameBits(kept[parameter.Name], parameter.Gradient, $"{parameter.Name}, {vision}, {text}");
            }
        }
    }

    [Fact]
    public void Gradients_do_not_depend_on_the_threads()
    {
        float[]? first = null;
        foreach (int threads in new[] { 1, 2, 3 })
        {
            using WorkerPool pool = new(threads);
            using TrainingCase golden = new("train-qwen3-vl-moe", pool);
            golden.Accumulate(golden.Losses("full")[0]);
            float[] all = [.. golden.Model.Parameters.All.SelectMany(p => p.Gradient.ToArray())];
            first ??= all;
            Near.SameBits(first, all);
        }
    }
}
