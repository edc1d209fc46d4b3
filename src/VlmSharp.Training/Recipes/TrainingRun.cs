using VlmSharp.Datasets;
using VlmSharp.Formats;
using VlmSharp.Kernels;

namespace VlmSharp.Training.Recipes;

/// <summary>What a run takes from the program around it, and tells it.</summary>
public interface ITrainingHost
{
    /// <summary>Opens a source by the name that the recipe has for it.</summary>
    /// <exception cref="CheckpointException">There is no such source.</exception>
    IExampleSource Open(string source);

    /// <summary>The model is being loaded; share of bytes done.</summary>
    void Loading(double share);

    /// <summary>An update was done.</summary>
    void Stepped(StepReport step, TrainingLoop loop);

    /// <summary>The held-out loss after so many updates.</summary>
    void Evaluated(int update, double loss);

    /// <summary>Something to know, on one line.</summary>
    void Noted(string text);
}

/// <summary>A run in its output directory: checkpoints, log, report and the trained model.</summary>
/// <remarks>
/// The directory holds <c>checkpoints/</c>, <c>log.jsonl</c>, <c>report.html</c>, and the model in Hugging Face layout, or the adapter in
/// PEFT's, as it was at the last checkpoint.
/// </remarks>
/// <param name="recipe">What to do.</param>
/// <param name="host">The program around it.</param>
public sealed class TrainingRun(TrainingRecipe recipe, ITrainingHost host)
{
    readonly CheckpointStore store = new(Path.Combine(recipe.Output, "checkpoints"));
    readonly TrainingLog log = new(Path.Combine(recipe.Output, "log.jsonl"));

    /// <summary>The page about the run.</summary>
    public string Report => Path.Combine(recipe.Output, "report.html");

    /// <summary>Trains until the recipe is done.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="resume">Goes on from the newest checkpoint, or begins where there is none.</param>
    /// <param name="most">Updates to do now; the recipe's schedule stays as it is.</param>
    /// <param name="cancellation">Ends the run with a checkpoint.</param>
    /// <returns>Whether the recipe is done.</returns>
    /// <exception cref="CheckpointException">Model, data and recipe do not fit together, or there is a run that was not to go on.</exception>
    public bool Run(WorkerPool pool, bool resume = false, int? most = null, CancellationToken cancellation = default)
    {
        string? latest = store.Latest;
        if (latest is not null && !resume)
        {
            throw new CheckpointException(
                recipe.Output,
                "holds a run already: go on with it (--resume), or name another directory in 'output'"
            );
        }

        if (Path.GetFullPath(recipe.Output) == Path.GetFullPath(recipe.Model))
        {
            throw new CheckpointException(
                recipe.Output,
                "is 'model' as well as 'output'; the model would be overwritten"
            );
        }

        if (!Directory.Exists(recipe.Model))
        {
            throw new CheckpointException(
                recipe.Model,
                "is no directory; training begins with a checkpoint in Hugging Face layout"
            );
        }

        using Checkpoint checkpoint = Checkpoint.Open(recipe.Model);
        using TrainableModel model = recipe.Lora is { } lora
            ? TrainableModel.LoadAdapter(checkpoint, lora, pool, seed: recipe.Seed, progress: new Progress(host))
            : TrainableModel.Load(checkpoint, pool, new Progress(host));
        using ExampleEncoder encoder = new(checkpoint, model.Model)
        {
            Pixels = recipe.Pixels,
            MaxTokens = recipe.MaxTokens ?? model.Model.Info.MaxPositions,
        };
        using TrainingLoop loop = new(recipe, model, host.Open, encoder.Encode, pool);
        Directory.CreateDirectory(recipe.Output);
        loop.Note = text =>
        {
            log.Note(loop.Updates, text);
            host.Noted(text);
        };
        if (latest is not null)
        {
            loop.Load(latest);
        }

        log.Truncate(latest is null ? -1 : loop.Updates);
        try
        {
            Train(loop, model, pool, most, cancellation);
        }
        catch (OperationCanceledException)
        {
            // The loop stands where its last update left it.
        }

        Save(loop, model, pool);
        return loop.Finished;
    }

    void Train(TrainingLoop loop, TrainableModel model, WorkerPool pool, int? most, CancellationToken cancellation)
    {
        int last = most is { } now ? loop.Updates + now : int.MaxValue;
        while (!loop.Finished && loop.Updates < last && loop.Step(cancellation) is { } step)
        {
            log.Add(step);
            host.Stepped(step, loop);
            bool changed = double.IsFinite(step.Norm);
            bool end = loop.Finished || loop.Updates >= last;
            if (changed && recipe.Evaluation is { } plan && (loop.Updates % plan.Every == 0 || loop.Finished))
            {
                if (loop.Evaluate(cancellation) is { } loss)
                {
                    log.Evaluation(loop.Updates, loss);
                    host.Evaluated(loop.Updates, loss);
                }
            }

            if (changed && loop.Updates % recipe.CheckpointEvery == 0 && !end)
            {
                Save(loop, model, pool);
            }
        }
    }

    void Save(TrainingLoop loop, TrainableModel model, WorkerPool pool)
    {
        store.Save(loop.Updates, loop.Save);
        if (model.Lora is { } lora)
        {
            lora.ToAdapter(recipe.Output).Save(recipe.Output);
        }
        else
        {
            ModelExport.Write(recipe.Output, recipe.Model, model.Parameters, recipe.Weights, pool);
        }

        TrainingReport.Write(Report, recipe, loop, log);
    }

    sealed class Progress(ITrainingHost host) : IProgress<double>
    {
        public void Report(double value) => host.Loading(value);
    }
}
