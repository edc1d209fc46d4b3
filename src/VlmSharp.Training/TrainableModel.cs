using VlmSharp.Adapters;
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

    /// <summary>The model; matrices that are trained are f32.</summary>
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

    /// <summary>Loads a model whose weights stay as they are, and puts an adapter that can be trained beside them.</summary>
    /// <remarks>
    /// Only what the adapter stores in full is f32; all else may be stored as inference has it, quantised too. Beside a matrix stands its
    /// transpose, which hands gradients back: in bf16, or f32 where the matrix is f32 or f16.
    /// </remarks>
    /// <param name="checkpoint">May be disposed afterwards.</param>
    /// <param name="config">Which layers get products, of what size.</param>
    /// <param name="pool">Threads to pack with.</param>
    /// <param name="start">An adapter of this config whose values training begins with; null for new ones.</param>
    /// <param name="seed">Decides new values.</param>
    /// <param name="progress">Told the share of bytes done, 0 to 1.</param>
    /// <exception cref="CheckpointException">As for <see cref="Load"/>, or the config or the adapter names something that is not there.</exception>
    public static TrainableModel LoadAdapter(
        Checkpoint checkpoint,
        AdapterConfig config,
        WorkerPool pool,
        Adapter? start = null,
        ulong seed = 0,
        IProgress<double>? progress = null
    )
    {
        ParameterSet parameters = new(name => config.Saves(ModuleNames.Current(name)));
        WeightSource weights = new(checkpoint, pool, progress, parameters);
        IVisionLanguageModel model = ModelRegistry.Open(checkpoint).Load(weights);
        try
        {
            parameters.Lora = new LoraSet(config, weights.Linears, parameters, start, seed, pool);
            foreach (AdapterTensor tensor in start?.Tensors ?? [])
            {
                Parameter? known = ModuleNames.Find(tensor.Name, parameters.Contains) is { } name
                    ? parameters[name]
                    : null;
                if (known?.Shape.SequenceEqual(tensor.Shape) != true)
                {
                    throw new CheckpointException(
                        start!.Directory,
                        $"stores '{tensor.Name}', which the model does not have in this shape"
                    );
                }

                tensor.Values.CopyTo(known.Values);
            }

            parameters.Repack(pool);
            return new TrainableModel(model, parameters);
        }
        catch
        {
            model.Dispose();
            parameters.Dispose();
            throw;
        }
    }

    /// <summary>The adapter that is trained beside frozen weights; null where the weights themselves are trained.</summary>
    public LoraSet? Lora => Parameters.Lora;

    /// <summary>Frees model and parameters.</summary>
    public void Dispose()
    {
        Model.Dispose();
        Parameters.Dispose();
    }
}
