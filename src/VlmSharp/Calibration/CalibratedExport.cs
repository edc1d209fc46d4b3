using VlmSharp.Chat;
using VlmSharp.Conversion;
using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;
using VlmSharp.Kernels;

namespace VlmSharp.Calibration;

/// <summary>How a calibrated model is written.</summary>
/// <param name="Types">Types of its tensors; the importance comes from the samples.</param>
/// <param name="AnswerTokens">Longest greedy answer that is compared; 0 for no answers.</param>
/// <param name="ImportanceFile">Where the importance is written, too; null for nowhere.</param>
/// <param name="Measured">Other samples to measure the models on, as <see cref="CalibrationData"/> reads them; null for the same.</param>
public sealed record CalibrationOptions(
    GgufExportOptions Types,
    int AnswerTokens = 32,
    string? ImportanceFile = null,
    string? Measured = null
);

/// <summary>How well a model does on the samples.</summary>
/// <param name="Weights">What it is: <c>unquantised</c>, or a type.</param>
/// <param name="Calibrated">Whether columns were weighed by their importance.</param>
/// <param name="Bytes">Size of the language model's tensors.</param>
/// <param name="Perplexity">Over all predicted tokens.</param>
/// <param name="Deviation">Root mean square of what the predicted tokens' log-probabilities differ by from the unquantised model's, in nats.</param>
/// <param name="Agreement">Share of predicted tokens in whose place the unquantised model finds the same token likeliest.</param>
/// <param name="EqualAnswers">Greedy answers that are those of the unquantised model.</param>
public sealed record ModelQuality(
    string Weights,
    bool Calibrated,
    long Bytes,
    double Perplexity,
    double Deviation,
    double Agreement,
    int EqualAnswers
);

/// <summary>What a calibration came to.</summary>
/// <param name="Export">What was written.</param>
/// <param name="Samples">Samples.</param>
/// <param name="Tokens">Tokens that were predicted.</param>
/// <param name="Answers">Greedy answers that were compared.</param>
/// <param name="Models">The unquantised model, the quantised one with all columns alike, the one that was written.</param>
public sealed record CalibrationReport(
    GgufExportReport Export,
    int Samples,
    int Tokens,
    int Answers,
    IReadOnlyList<ModelQuality> Models
);

/// <summary>Quantises a model with what samples tell of its columns, and measures what that did to its predictions.</summary>
public static class CalibratedExport
{
    /// <summary>Runs the model over the samples, writes it, and runs it again as it was written, with and without importance.</summary>
    /// <remarks>One model is in memory at a time. What it is compared with is written beside the target for a while.</remarks>
    /// <param name="source">The checkpoint, which is not quantised.</param>
    /// <param name="projector">The vision part of a pair of GGUF files; the only one beside the source where not given.</param>
    /// <param name="target">Path of the language model, which ends in <c>.gguf</c>.</param>
    /// <param name="data">What <see cref="CalibrationData"/> reads.</param>
    /// <param name="options">How it is written.</param>
    /// <param name="threads">Threads to compute on.</param>
    /// <param name="progress">Told what is going on and the share of it that is done, 0 to 1.</param>
    /// <exception cref="CheckpointException">The checkpoint or a sample cannot be used.</exception>
    /// <exception cref="IOException">A file is there already, or cannot be written.</exception>
    public static CalibrationReport Write(
        string source,
        string? projector,
        string target,
        string data,
        CalibrationOptions options,
        int threads,
        Action<string, double>? progress = null
    )
    {
        IReadOnlyList<CalibrationSample> seen = CalibrationData.Read(data);
        IReadOnlyList<CalibrationSample> samples = options.Measured is { } other ? CalibrationData.Read(other) : seen;
        using Checkpoint checkpoint = Checkpoint.Open(source, projector);
        GgufExport.Check(checkpoint, target, options.Types);
        ModelTrial original;
        Importance importance;
        using (ChatModel chat = Load(source, projector, "Loading"))
        using (StatisticsOps ops = new(chat.Pool))
        {
            original = ModelTrial.Run(chat, ops, seen, options.AnswerTokens, null, Step("Calibrating"));
            importance = ops.ToImportance(data);
            if (samples != seen)
            {
                original = ModelTrial.Run(chat, samples, options.AnswerTokens, null, Step("Measuring unquantised"));
            }
        }

        if (options.ImportanceFile is { } file)
        {
            importance.Save(file, data);
        }

        using WorkerPool pool = new(threads);
        GgufExportReport export = Export(target, importance, "Writing");
        string temporary = Directory.CreateDirectory($"{target}.{Guid.NewGuid():N}.tmp").FullName;
        try
        {
            string path = Path.Combine(temporary, Path.GetFileName(target));
            GgufExportReport alike = Export(path, null, "Writing without importance");
            return new CalibrationReport(
                export,
                samples.Count,
                original.Tokens,
                original.Answers,
                [
                    new("unquantised", false, TextBytes(checkpoint), original.Perplexity, 0, 1, original.Answers),
                    Measure(alike, false, "Measuring without importance"),
                    Measure(export, true, "Measuring"),
                ]
            );
        }
        finally
        {
            Directory.Delete(temporary, recursive: true);
        }

        ChatModel Load(string path, string? vision, string step) =>
            ChatModel.Load(path, threads, Step(step), exact: true, projector: vision);

        GgufExportReport Export(string path, Importance? columns, string step) =>
            GgufExport.Write(checkpoint, path, options.Types with { Importance = columns }, pool, Step(step));

        ModelQuality Measure(GgufExportReport written, bool calibrated, string step)
        {
            using ChatModel chat = Load(written.LanguageModel, written.Projector, "Loading what was written");
            ModelTrial trial = ModelTrial.Run(chat, samples, options.AnswerTokens, original, Step(step));
            string name = Path.GetFileName(written.LanguageModel);
            return new ModelQuality(
                options.Types.Text.Name,
                calibrated,
                written.Types.Where(line => line.File == name).Sum(line => line.Bytes),
                trial.Perplexity,
                original.Deviation(trial),
                original.Agreement(trial),
                original.EqualAnswers(trial)
            );
        }

        Share? Step(string step) => progress is null ? null : new Share(step, progress);
    }

    static long TextBytes(Checkpoint checkpoint) =>
        checkpoint
            .Weights.Where(weight => GgufNames.OfLanguageModel(weight.Name) is not null)
            .Sum(weight => weight.LoadedBytes);

    sealed class Share(string step, Action<string, double> progress) : IProgress<double>
    {
        public void Report(double value) => progress(step, value);
    }
}
