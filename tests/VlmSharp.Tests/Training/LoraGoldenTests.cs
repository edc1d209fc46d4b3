using System.Text.Json;
using VlmSharp.Adapters;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Testing;
using VlmSharp.Tests.Adapters;
using VlmSharp.Training;
using Xunit;

namespace VlmSharp.Tests.Training;

/// <summary>Gradients, losses and updated values of adapters, against the reference.</summary>
public sealed class LoraGoldenTests
{
    const string Prefix = "base_model.model.";

    public static TheoryData<string> Cases => [.. AdapterCase.Names];

    static double[] Doubles(float[] values) => Array.ConvertAll(values, v => (double)v);

    // The parameter of a tensor of the reference.
    static Parameter Find(TrainableModel model, string key)
    {
        if (model.Parameters.Contains(key))
        {
            return model.Parameters[key];
        }

        string name = key[Prefix.Length..];
        string own =
            model.Parameters.Trained.Select(p => p.Name).FirstOrDefault(p => ModuleNames.Current(p) == name)
            // the same adapter under older names
            ?? model
                .Parameters.Trained.Select(p => p.Name)
                .Single(p =>
                    p.StartsWith(Prefix, StringComparison.Ordinal) && ModuleNames.Current(p[Prefix.Length..]) == name
                );
        return model.Parameters[own];
    }

    [Theory, MemberData(nameof(Cases))]
    public void Gradients_losses_and_values_of_ten_updates_are_the_reference_s(string name)
    {
        using WorkerPool pool = new(2);
        using AdapterCase golden = new(name);
        using Checkpoint checkpoint = golden.Checkpoint;
        Adapter adapter = golden.Adapter;
        using TrainingCase training = new(
            "train-qwen2-vl",
            pool,
            TrainableModel.LoadAdapter(checkpoint, adapter.Config, pool, adapter)
        );
        using SafetensorsFile expected = golden.Expected();
        TrainableModel model = training.Model;
        Dictionary<Parameter, float[]> before = model.Parameters.Trained.ToDictionary(p => p, p => p.Values.ToArray());
        string[] gradients = Names(expected, "grad.");
        Assert.Equal(gradients.Length, model.Parameters.Trained.Count());
        Optimizer optimizer = training.Optimizer(golden.HyperParameters);
        double peak = golden.HyperParameters.GetProperty("peak_lr").GetProperty("language").GetDouble();
        int update = 0;
        foreach (JsonElement step in golden.Losses.EnumerateArray())
        {
            (double loss, int labels) = training.Accumulate(step);
            Assert.Equal(step.GetProperty("label_tokens").GetInt32(), labels);
            foreach (string key in update == 0 ? gradients : [])
            {
                Near.RelativeToLargest(
                    golden.Tolerance("gradients"),
                    Doubles(expected.Floats($"grad.{key}")),
                    Find(model, key).Gradient,
                    key
                );
            }

            double rate = step.GetProperty("lr").GetProperty("language").GetDouble();
            Assert.Equal(rate, training.Factor(update) * peak, 1e-9);
            double norm = optimizer.Update(_ => rate);
            Near.RelativeToLargest(
                golden.Tolerance("losses"),
                [step.GetProperty("loss").GetDouble()],
                [(float)loss],
                $"loss {update}"
            );
            Near.RelativeToLargest(
                golden.Tolerance("losses"),
                [step.GetProperty("grad_norm").GetDouble()],
                [(float)norm],
                $"norm {update}"
            );
            update++;
        }

        Assert.Equal(10, update);
        foreach (string key in Names(expected, "final."))
        {
            Parameter parameter = Find(model, key);
            float[] start = before[parameter];
            Near.RelativeToLargest(
                training.Tolerance("updates"),
                [.. expected.Floats($"final.{key}").Select((v, i) => (double)v - start[i])],
                [.. parameter.Values.ToArray().Select((v, i) => v - start[i])],
                key
            );
        }
    }

    static string[] Names(SafetensorsFile file, string prefix) =>
        [
            .. file
                .Tensors.Where(t => t.Name.StartsWith(prefix, StringComparison.Ordinal))
                .Select(t => t.Name[prefix.Length..]),
        ];

    [Theory, MemberData(nameof(Cases))]
    public void What_is_not_trained_is_saved_as_it_was_read(string name)
    {
        using WorkerPool pool = new(2);
        using AdapterCase golden = new(name);
        using Checkpoint checkpoint = golden.Checkpoint;
        Adapter adapter = golden.Adapter;
        using TrainableModel model = TrainableModel.LoadAdapter(checkpoint, adapter.Config, pool, adapter);
        Adapter saved = model.Lora!.ToAdapter("saved");
        Assert.Equal(adapter.Modules.Select(m => m.Name), saved.Modules.Select(m => m.Name));
        foreach ((AdapterModule before, AdapterModule after) in adapter.Modules.Zip(saved.Modules))
        {
            Assert.Equal(before.A, after.A);
            Assert.Equal(before.B, after.B);
            Assert.Equal(before.Magnitude, after.Magnitude);
            Assert.Equal(before.Scale, after.Scale, 1e-6);
        }

        foreach (AdapterTensor tensor in adapter.Tensors)
        {
            AdapterTensor after = Assert.Single(saved.Tensors, t => t.Name == tensor.Name);
            Assert.Equal(tensor.Shape, after.Shape);
            Assert.Equal(tensor.Values, after.Values);
        }

        Assert.Equal(adapter.Tensors.Count, saved.Tensors.Count);
    }
}
