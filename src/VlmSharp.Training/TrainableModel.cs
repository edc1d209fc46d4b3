using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Models.Blocks;

namespace VlmSharp.Training;

/// <summary>A model and its parameters: the forward pass of inference, over weights that an optimiser may change.</summary>
public sealed class TrainableModel : IDisposable
{
    TrainableModel(IVisionLanguageModel model, ParameterSet parameters)
    {
        Model = model;
        Parameters = parameters;
    }

    /// <summary>The model; its matrices are f32.</summary>
    public IVisionLanguageModel Model { get; }

    /// <summary>What training changes.</summary>
    public ParameterSet Parameters { get; }

    /// <summary>Loads a model so that it can be trained.</summary>
    /// <param name="checkpoint">May be disposed afterwards.</param>
    /// <param name="pool">Threads to pack with.</param>
    /// <param name="progress">Told the share of bytes done, 0 to 1.</param>
    /// <exception cref="CheckpointException">As <see cref="ModelRegistry.Load(Checkpoint, WorkerPool, IProgress{double})"/>.</exception>
    /// <exception cref="NotSupportedException">Some tensors are stored in a way that cannot be trained.</exception>
    public static TrainableModel Load(Checkpoint checkpoint, WorkerPool pool, IProgress<double>? progress = null)
    {
        ParameterSet parameters = new();
        WeightSource weights = new(checkpoint, pool, progress, parameters);
        IVisionLanguageModel model = ModelRegistry.Open(checkpoint).Load(weights);
        string[] left =
        [
            .. checkpoint
                .Tensors.Select(t => t.Name)
                .Where(name => !parameters.Contains(name) && !checkpoint.Ignored.ContainsKey(name)),
        ];
        if (left.Length > 0)
        {
            model.Dispose();
            parameters.Dispose();
            throw new NotSupportedException(
                $"{checkpoint.Directory}: {left.Length} tensors of {checkpoint.Architecture} cannot be trained, '{left[0]}' among them: they are stored quantised or in another order."
            );
        }

        return new TrainableModel(model, parameters);
    }

    /// <summary>Frees model and parameters.</summary>
    public void Dispose()
    {
        Model.Dispose();
        Parameters.Dispose();
    }
}
