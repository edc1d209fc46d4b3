using System.Diagnostics;
using System.Runtime.InteropServices;
using VlmSharp.Datasets;
using VlmSharp.Formats;
using VlmSharp.Kernels;

namespace VlmSharp.Training.Recipes;

/// <summary>What an update did.</summary>
/// <param name="Update">Its number, from 1.</param>
/// <param name="Loss">Mean cross-entropy of its labels.</param>
/// <param name="Labels">Tokens that were learnt.</param>
/// <param name="Tokens">Tokens of its samples, media included.</param>
/// <param name="Patches">Patches of their media.</param>
/// <param name="Samples">How many samples.</param>
/// <param name="Norm">Norm of the gradients before clipping; where it is no finite number, nothing was changed.</param>
/// <param name="Rate">Factor of the peak rates.</param>
/// <param name="Level">Level of the curriculum.</param>
/// <param name="LevelName">What people call it.</param>
/// <param name="Smoothed">Smoothed loss of the level; null without a curriculum.</param>
/// <param name="Seconds">That it took.</param>
public sealed record StepReport(
    int Update,
    double Loss,
    int Labels,
    int Tokens,
    int Patches,
    int Samples,
    double Norm,
    double Rate,
    int Level,
    string LevelName,
    double? Smoothed,
    double Seconds
);

/// <summary>Trains a model as a recipe says, update after update; what it needs to go on can be saved between any two.</summary>
/// <remarks>
/// Only trained parameters are saved: what is frozen comes from the checkpoint that training began with. After
/// <see cref="Load"/> all values have the bits they would have without the interruption.
/// </remarks>
public sealed class TrainingLoop : IDisposable
{
    const int MostBadUpdates = 10; // in a row
    const int MostBrokenExamples = 1000; // in a row
    const int MostNotes = 20;
    const string Values = "state.safetensors";
    const string State = "state.json";

    readonly TrainingRecipe recipe;
    readonly TrainableModel model;
    readonly WorkerPool pool;
    readonly Func<Example, Sample> encode;
    readonly Trainer trainer;
    readonly Optimizer optimizer;
    readonly Curriculum curriculum;
    readonly ExampleStream stream;
    readonly IExampleSource? heldOut;
    readonly Dictionary<Parameter, double> rates;
    readonly Func<int, double> schedule;
    readonly long? mostDrawn;
    readonly int maxTokens;
    int badUpdates;
    int notes;

    /// <summary>A loop at its beginning.</summary>
    /// <param name="recipe">What to do.</param>
    /// <param name="model">Its parameters are marked as the recipe says.</param>
    /// <param name="open">Opens a source by the name that the recipe has for it.</param>
    /// <param name="encode">Makes a sample of an example; called from several threads.</param>
    /// <param name="pool">Threads.</param>
    /// <exception cref="CheckpointException">Recipe, model and data do not fit together.</exception>
    public TrainingLoop(
        TrainingRecipe recipe,
        TrainableModel model,
        Func<string, IExampleSource> open,
        Func<Example, Sample> encode,
        WorkerPool pool
    )
    {
        ArgumentNullException.ThrowIfNull(recipe);
        ArgumentNullException.ThrowIfNull(model);
        (this.recipe, this.model, this.encode, this.pool) = (recipe, model, encode, pool);
        recipe.Apply(model.Parameters);
        rates = model.Parameters.Trained.ToDictionary(p => p, p => recipe.Rates[ModelParts.Of(p.Name).Part]);
        maxTokens = recipe.MaxTokens ?? model.Model.Info.MaxPositions;
        curriculum = new Curriculum(recipe);
        Dictionary<string, IExampleSource> opened = [];
        foreach (string source in curriculum.Entries.Select(entry => entry.Source).Distinct())
        {
            opened.Add(source, open(source));
        }

        Mixture mixture = new([.. curriculum.Entries.Select(entry => opened[entry.Source])], recipe.Seed);
        mixture.Check();
        heldOut = recipe.Evaluation is { } evaluation ? open(evaluation.Source) : null;
        mostDrawn = recipe.Examples ?? AllEpochs(mixture);
        schedule = recipe.Schedule(TotalUpdates ?? 0);
        int sources = curriculum.Entries.Count;
        Progress = new LoopState(mixture.Start, Curriculum.Start, new long[sources], new long[sources], 0);
        stream = new ExampleStream(mixture, encode, recipe.ReadAhead);
        Rewind();
        optimizer = new Optimizer(model.Parameters, recipe.Optimizer, pool);
        trainer = new Trainer(model, pool)
        {
            RecomputeVision = recipe.RecomputeVision,
            RecomputeText = recipe.RecomputeText,
            BalanceFactor = recipe.BalanceFactor,
            MayRound = recipe.Precision != TrainingPrecision.F32 && MatMul.RoundsToBF16,
        };
    }

    /// <summary>Updates so far.</summary>
    public int Updates => optimizer.Updates;

    /// <summary>Updates of the whole run; null where that is not known before.</summary>
    public int? TotalUpdates =>
        recipe.Steps
        ?? (
            recipe.ExamplesPerUpdate > 0
                ? (int)
                    Math.Min(int.MaxValue, (mostDrawn!.Value + recipe.ExamplesPerUpdate - 1) / recipe.ExamplesPerUpdate)
                : null
        );

    /// <summary>Share of the run that is done, 0 to 1.</summary>
    public double Done =>
        recipe.Steps is { } steps ? (double)Updates / steps : (double)Progress.Position.Drawn / mostDrawn!.Value;

    /// <summary>Whether there is nothing left to do.</summary>
    public bool Finished => Done >= 1;

    /// <summary>Where it stands.</summary>
    public LoopState Progress { get; private set; }

    /// <summary>The sources, as <see cref="LoopState"/> counts them.</summary>
    public IReadOnlyList<MixtureEntry> Sources => curriculum.Entries;

    /// <summary>Is told what is worth knowing, one line each: examples that are left out, and why.</summary>
    public Action<string>? Note { get; set; }

    long? AllEpochs(Mixture mixture)
    {
        if (recipe.Epochs is not { } epochs)
        {
            return null;
        }

        long all = 0;
        foreach (IExampleSource source in mixture.Sources.Distinct())
        {
            all +=
                source.Count
                ?? throw new CheckpointException(
                    source.Name,
                    "never ends: 'epochs' needs sources that do; say 'steps'"
                );
        }

        return Math.Max(1, (long)Math.Round(all * epochs));
    }

    /// <summary>One update.</summary>
    /// <param name="cancellation">Ends it with nothing changed.</param>
    /// <returns>What it did; null where the examples are used up.</returns>
    /// <exception cref="CheckpointException">The data cannot be read, or gradients are no numbers again and again.</exception>
    public StepReport? Step(CancellationToken cancellation = default)
    {
        long start = Stopwatch.GetTimestamp();
        try
        {
            trainer.Tape.Cancellation = cancellation;
            return Update(start, cancellation);
        }
        catch
        {
            Rewind();
            throw;
        }
    }

    StepReport? Update(long start, CancellationToken cancellation)
    {
        (List<(int Source, Sample Sample)> taken, LoopState after) = TakeSamples(cancellation);
        if (taken.Count == 0)
        {
            Progress = after;
            return null;
        }

        int labels = taken.Sum(t => t.Sample.LabelCount);
        List<List<(int Source, Sample Sample)>> batches = Pack(taken, t => t.Sample, recipe.MicroBatchTokens);
        model.Parameters.ZeroGradients();
        int level = after.Curriculum.Level;
        double loss = 0;
        double levelLoss = 0;
        int levelLabels = 0;
        foreach (List<(int Source, Sample Sample)> batch in batches)
        {
            double[] losses = new double[batch.Count];
            trainer.DropoutSeed = recipe.Seed ^ ((ulong)Updates << 32) ^ (ulong)batches.IndexOf(batch);
            BatchLoss found = trainer.Accumulate(
                [.. batch.Select(t => t.Sample)],
                1.0 / labels,
                1.0 / batches.Count,
                losses
            );
            loss += found.CrossEntropy;
            for (int i = 0; i < losses.Length; i++)
            {
                if (curriculum.IsOf(batch[i].Source, level))
                {
                    levelLoss += losses[i];
                    levelLabels += batch[i].Sample.LabelCount;
                }
            }
        }

        cancellation.ThrowIfCancellationRequested();
        double rate = schedule(Updates);
        double norm = optimizer.Update(parameter => rates[parameter] * rate);
        if (double.IsFinite(norm))
        {
            badUpdates = 0;
            after = after with
            {
                Curriculum = curriculum.After(after.Curriculum, levelLoss / Math.Max(1, levelLabels), levelLabels),
            };
        }
        else if (++badUpdates == MostBadUpdates)
        {
            throw new CheckpointException(
                recipe.Model,
                $"has gradients that are no numbers in {MostBadUpdates} updates one after the other: lower 'rates', or go on from a checkpoint before"
            );
        }

        bool moved = after.Curriculum.Level != level;
        Progress = after;
        if (moved)
        {
            Rewind(); // what was read ahead belongs to the level before
        }

        return new StepReport(
            Updates,
            loss / labels,
            labels,
            taken.Sum(t => t.Sample.Tokens.Length),
            taken.Sum(t => t.Sample.Media.Sum(m => m.Grid.Patches)),
            taken.Count,
            norm,
            rate,
            level,
            curriculum.Name(level),
            after.Curriculum.Smoothed,
            Stopwatch.GetElapsedTime(start).TotalSeconds
        );
    }

    void Rewind() => stream.Seek(Progress.Position, curriculum.Shares(Progress.Curriculum.Level));

    (List<(int Source, Sample Sample)> Taken, LoopState After) TakeSamples(CancellationToken cancellation)
    {
        List<(int, Sample)> taken = [];
        DataPosition position = Progress.Position;
        long[] trained = [.. Progress.Trained];
        long[] skipped = [.. Progress.Skipped];
        int tokens = 0;
        int broken = 0;
        while (
            (recipe.ExamplesPerUpdate > 0 ? taken.Count < recipe.ExamplesPerUpdate : tokens < recipe.TokensPerUpdate)
            && !(position.Drawn >= mostDrawn)
        )
        {
            FetchedExample fetched = stream.Take(cancellation);
            position = fetched.Draw.After;
            int source = fetched.Draw.Source;
            if (Problem(fetched) is { } problem)
            {
                skipped[source]++;
                broken++;
                Skip(source, fetched, problem, broken);
                continue;
            }

            Sample sample = fetched.Sample!;
            broken = 0;
            trained[source]++;
            tokens += sample.Tokens.Length;
            taken.Add((source, sample));
        }

        return (taken, new LoopState(position, Progress.Curriculum, trained, skipped, Progress.Tokens + tokens));
    }

    string? Problem(FetchedExample fetched) =>
        fetched.Error is { } error ? error.Message
        : fetched.Sample!.Tokens.Length > maxTokens
            ? $"has {fetched.Sample.Tokens.Length} tokens, more than {maxTokens} (maxTokens)"
        : fetched.Sample.LabelCount == 0 ? "has nothing to learn"
        : null;

    void Skip(int source, FetchedExample fetched, string problem, int broken)
    {
        string text = $"{curriculum.Entries[source].Source}, example {fetched.Draw.Index}: {problem}";
        if (recipe.StopAtBroken || broken == MostBrokenExamples)
        {
            throw new CheckpointException(
                curriculum.Entries[source].Source,
                recipe.StopAtBroken
                    ? $"example {fetched.Draw.Index}: {problem}"
                    : $"{MostBrokenExamples} examples one after the other cannot be used; the last: {problem}",
                fetched.Error
            );
        }

        if (notes <= MostNotes)
        {
            Note?.Invoke(
                notes == MostNotes ? "further examples that are left out are only counted" : $"left out: {text}"
            );
            notes++;
        }
    }

    /// <summary>Whole samples one after the other, as many as fit; one that does not fit at all is alone.</summary>
    internal static List<List<T>> Pack<T>(IEnumerable<T> items, Func<T, Sample> sample, int mostTokens)
    {
        List<List<T>> batches = [];
        int tokens = 0;
        foreach (T item in items)
        {
            int length = sample(item).Tokens.Length;
            if (batches.Count == 0 || tokens + length > mostTokens)
            {
                batches.Add([]);
                tokens = 0;
            }

            batches[^1].Add(item);
            tokens += length;
        }

        return batches;
    }

    /// <summary>Mean cross-entropy of the held-out examples; null without any.</summary>
    public double? Evaluate(CancellationToken cancellation = default)
    {
        if (heldOut is null)
        {
            return null;
        }

        trainer.Tape.Cancellation = cancellation;
        double loss = 0;
        long labels = 0;
        foreach (List<Sample> batch in Pack(HeldOut(cancellation), sample => sample, recipe.MicroBatchTokens))
        {
            BatchLoss found = trainer.Evaluate(batch);
            loss += found.CrossEntropy;
            labels += found.Labels;
        }

        return labels == 0 ? null : loss / labels;
    }

    IEnumerable<Sample> HeldOut(CancellationToken cancellation)
    {
        long count = Math.Min(recipe.Evaluation!.Examples, heldOut!.Count ?? long.MaxValue);
        for (long i = 0; i < count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            Sample? sample = null;
            try
            {
                sample = encode(heldOut.Read(i));
            }
            catch (Exception e) when (e is not OutOfMemoryException && !recipe.StopAtBroken)
            {
                if (notes++ < MostNotes)
                {
                    Note?.Invoke($"left out of the evaluation: {heldOut.Name}, example {i}: {e.Message}");
                }
            }

            if (sample is not null && sample.Tokens.Length <= maxTokens)
            {
                yield return sample;
            }
        }
    }

    /// <summary>Writes everything that is needed to go on, to the disk.</summary>
    /// <param name="directory">It is there.</param>
    public void Save(string directory)
    {
        Parameter[] trained = [.. model.Parameters.Trained];
        using SafetensorsOutput output = new(
            Path.Combine(directory, Values),
            trained.SelectMany(p => Names(p).Select(name => (name, SafetensorsType.F32, p.Shape)))
        );
        foreach (Parameter parameter in trained)
        {
            (float[] first, float[] second) = optimizer.Moments(parameter);
            output.Write(MemoryMarshal.AsBytes(parameter.Values));
            output.Write(MemoryMarshal.AsBytes(first.AsSpan()));
            output.Write(MemoryMarshal.AsBytes(second.AsSpan()));
        }

        output.Finish();
        Progress.Write(Path.Combine(directory, State), Updates, recipe.Seed, curriculum.Entries);
    }

    /// <summary>Goes on where <see cref="Save"/> was called.</summary>
    /// <exception cref="CheckpointException">It cannot be read, or belongs to another recipe.</exception>
    public void Load(string directory)
    {
        using SafetensorsFile file = SafetensorsFile.Open(Path.Combine(directory, Values));
        Parameter[] trained = [.. model.Parameters.Trained];
        HashSet<string> expected = [.. trained.SelectMany(Names)];
        if (file.Tensors.FirstOrDefault(t => !expected.Contains(t.Name)) is { } other)
        {
            throw new CheckpointException(file.Name, $"holds '{other.Name}', which this recipe does not train");
        }

        (LoopState state, int updates) = LoopState.Read(
            Path.Combine(directory, State),
            recipe.Seed,
            curriculum.Entries,
            recipe.Curriculum?.Levels.Count ?? 1
        );
        foreach (Parameter parameter in trained)
        {
            string[] names = Names(parameter);
            (float[] first, float[] second) = optimizer.Moments(parameter);
            Read(file, names[0], parameter, parameter.Values);
            Read(file, names[1], parameter, first);
            Read(file, names[2], parameter, second);
        }

        model.Parameters.Repack(pool);
        optimizer.Updates = updates;
        Progress = state;
        Rewind();
    }

    static void Read(SafetensorsFile file, string name, Parameter parameter, Span<float> values)
    {
        TensorInfo info = file.Find(name);
        if (!info.Shape.AsSpan().SequenceEqual(parameter.Shape.ToArray()) || info.Type != SafetensorsType.F32)
        {
            throw new CheckpointException(file.Name, $"holds {info}, the model has {parameter}");
        }

        file.Tensor(name).CopyTo(values);
    }

    static string[] Names(Parameter p) => [$"value.{p.Name}", $"first.{p.Name}", $"second.{p.Name}"];

    /// <summary>Ends reading ahead and frees the tape.</summary>
    public void Dispose()
    {
        stream.Dispose();
        trainer.Dispose();
    }
}
