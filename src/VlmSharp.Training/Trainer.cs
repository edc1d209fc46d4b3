using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Tensors;
using VlmSharp.Vision;

namespace VlmSharp.Training;

/// <summary>A conversation to learn from: token ids, which of them are learnt, and its media.</summary>
/// <param name="Tokens">Token ids, media placeholders expanded.</param>
/// <param name="Labels">For each token itself where it is learnt, else <see cref="CrossEntropy.Ignored"/>. Position t predicts label t + 1.</param>
/// <param name="Media">In the order of the prompt.</param>
public sealed record Sample(int[] Tokens, int[] Labels, IReadOnlyList<SampleMedium> Media)
{
    /// <summary>Tokens that are learnt: the first one has nothing before it that could predict it.</summary>
    public int LabelCount => Labels.Skip(1).Count(label => label >= 0);
}

/// <summary>A picture or a film of a <see cref="Sample"/>.</summary>
/// <param name="Pixels">[patches, patch width], as <see cref="IVisionLanguageModel.Encode"/> takes them.</param>
/// <param name="Grid">Its patches.</param>
/// <param name="Spans">Where its tokens stand; several where every frame is told on its own.</param>
public sealed record SampleMedium(float[] Pixels, GridThw Grid, IReadOnlyList<MediaSpan> Spans);

/// <summary>What a micro-batch added to the loss.</summary>
/// <param name="CrossEntropy">Sum over its labels.</param>
/// <param name="Labels">How many there were.</param>
/// <param name="Auxiliary">The routers' balance, where there are experts and it was asked for; else 0.</param>
public readonly record struct BatchLoss(double CrossEntropy, int Labels, double Auxiliary);

/// <summary>Packs samples into a step without padding, computes their loss and adds up the gradients.</summary>
/// <example>
/// <code>
/// parameters.ZeroGradients();
/// foreach (Sample[] batch in microBatches) trainer.Accumulate(batch, 1.0 / labelsOfAllBatches);
/// optimizer.Update(p => peak * schedule(optimizer.Updates));
/// </code>
/// </example>
public sealed class Trainer : IDisposable
{
    readonly TrainableModel model;
    readonly TapeOps tape;
    readonly Step step = new();
    readonly KvCache none;
    int[] positions = [];
    int[] pages = [];
    AlignedBuffer pixels = new(0);

    /// <summary>Something to train with.</summary>
    public Trainer(TrainableModel model, WorkerPool pool)
    {
        this.model = model;
        tape = new TapeOps(model.Parameters, pool);
        none = new KvCache(0, model.Model.Info.Attention.Layout(KvStorage.F32), 0);
    }

    /// <summary>Computes the blocks of the vision tower twice instead of keeping what is in them. The gradients have the same bits.</summary>
    public bool RecomputeVision { get; set; }

    /// <summary>Computes the layers of the decoder twice instead of keeping what is in them.</summary>
    public bool RecomputeText { get; set; }

    /// <summary>Lets the large products round both factors to bf16 (<see cref="TapeOps.MayRound"/>).</summary>
    public bool MayRound
    {
        get => tape.MayRound;
        set => tape.MayRound = value;
    }

    /// <summary>Decides what dropout of an adapter leaves out of the next batch; <see cref="Evaluate"/> leaves out nothing.</summary>
    public ulong DropoutSeed
    {
        get => tape.DropoutSeed;
        set => tape.DropoutSeed = value;
    }

    /// <summary>Factor of the loss that keeps experts evenly used (<see cref="RouterBalance"/>); 0 for none.</summary>
    public double BalanceFactor { get; set; }

    /// <summary>The tape, for other losses: its results live until the next batch.</summary>
    public TapeOps Tape => tape;

    /// <summary>Adds the gradients of a micro-batch.</summary>
    /// <param name="batch">Whole sequences.</param>
    /// <param name="scale">Factor of each label's cross-entropy: 1 / labels of all micro-batches of the update.</param>
    /// <param name="balanceScale">Factor of the routers' balance beside <see cref="BalanceFactor"/>: 1 / micro-batches.</param>
    /// <param name="sampleLosses">[samples]: the cross-entropy of each, summed over its labels; or empty.</param>
    /// <returns>What it adds to the loss; nothing, without a pass, where no sample has a label.</returns>
    public BatchLoss Accumulate(
        IReadOnlyList<Sample> batch,
        double scale,
        double balanceScale = 1,
        Span<double> sampleLosses = default
    )
    {
        if (batch.All(sample => sample.LabelCount == 0))
        {
            return default;
        }

        (Tensor logits, int[] labels) = Forward(batch, learntOnly: true, model.Lora?.Config.Dropout ?? 0);
        double[] rows = new double[sampleLosses.IsEmpty ? 0 : labels.Length];
        double loss = tape.CrossEntropy(logits, labels, scale, rowLosses: rows);
        int row = 0;
        for (int i = 0; i < sampleLosses.Length; i++)
        {
            sampleLosses[i] = 0;
            for (int end = row + batch[i].LabelCount; row < end; row++)
            {
                sampleLosses[i] += rows[row];
            }
        }

        double balance = BalanceFactor > 0 ? Balance(balanceScale) : 0;
        tape.Backward();
        return new BatchLoss(loss, labels.Length, balance);
    }

    /// <summary>What a batch would add to the loss, without the routers' balance. Gradients stay as they are.</summary>
    /// <param name="batch">Whole sequences.</param>
    public BatchLoss Evaluate(IReadOnlyList<Sample> batch)
    {
        if (batch.All(sample => sample.LabelCount == 0))
        {
            return default;
        }

        (Tensor logits, int[] labels) = Forward(batch, learntOnly: true);
        return new BatchLoss(tape.CrossEntropy(logits, labels, scale: 0), labels.Length, 0);
    }

    /// <summary>Runs the model over samples.</summary>
    /// <param name="batch">Whole sequences.</param>
    /// <param name="learntOnly">Only the rows that predict a label, otherwise all.</param>
    /// <returns>Logits [rows, vocabulary], and the label of each row, negative where there is none. They live until the next batch.</returns>
    public (Tensor Logits, int[] Labels) Forward(IReadOnlyList<Sample> batch, bool learntOnly) =>
        Forward(batch, learntOnly, dropout: 0);

    (Tensor Logits, int[] Labels) Forward(IReadOnlyList<Sample> batch, bool learntOnly, double dropout)
    {
        tape.Reset();
        tape.Dropout = dropout;
        tape.Watch = BalanceFactor > 0 ? name => name.StartsWith("text.router.", StringComparison.Ordinal) : null;
        Tensor features = Encode(batch);
        step.Clear();
        List<int> labels = [];
        int feature = 0;
        foreach (Sample sample in batch)
        {
            feature = AddSample(sample, features, feature, learntOnly, labels);
        }

        tape.Recompute = RecomputeText;
        return (model.Model.Forward(tape, step, none), [.. labels]);
    }

    // The features of all media: [tokens, feature width].
    Tensor Encode(IReadOnlyList<Sample> batch)
    {
        SampleMedium[] media = [.. batch.SelectMany(s => s.Media)];
        if (media.Length == 0)
        {
            return default;
        }

        int width = model.Model.Info.PatchWidth;
        int patches = media.Sum(m => m.Grid.Patches);
        long bytes = (long)patches * width * sizeof(float);
        if (pixels.Bytes < bytes)
        {
            pixels.Dispose();
            pixels = new AlignedBuffer(bytes);
        }

        Tensor input = new(pixels, 0, patches, width, width);
        int row = 0;
        foreach (SampleMedium medium in media)
        {
            if (medium.Pixels.Length != medium.Grid.Patches * width)
            {
                throw new ArgumentException(
                    $"{medium.Pixels.Length} numbers of pixels for a grid of {medium.Grid} patches of {width}."
                );
            }

            medium.Pixels.CopyTo(input.Slice(row, medium.Grid.Patches).Data);
            row += medium.Grid.Patches;
        }

        tape.Recompute = RecomputeVision;
        return model.Model.Encode(tape, input, [.. media.Select(m => m.Grid)]);
    }

    int AddSample(Sample sample, Tensor features, int feature, bool learntOnly, List<int> labels)
    {
        int length = sample.Tokens.Length;
        if (sample.Labels.Length != length)
        {
            throw new ArgumentException($"{sample.Labels.Length} labels for {length} tokens.");
        }

        if (positions.Length < 3 * length)
        {
            positions = new int[3 * length];
        }

        MediaSpan[] spans = [.. sample.Media.SelectMany(m => m.Spans).OrderBy(s => s.Start)];
        Span<int> where = positions.AsSpan(0, 3 * length);
        model.Model.Positions(spans, where);
        int first = step.Tokens.Length;
        for (int t = 0; t < length; t++)
        {
            int row = step.AddRow(sample.Tokens[t], where[t], where[length + t], where[(2 * length) + t]);
            int label = t + 1 < length ? sample.Labels[t + 1] : CrossEntropy.Ignored;
            if (label >= 0 || !learntOnly)
            {
                step.WantLogits(row);
                labels.Add(label);
            }
        }

        foreach (MediaSpan span in spans)
        {
            int tokens = span.Grid.MergedTokens(span.MergeSize);
            step.AddMedia(first + span.Start, features.Slice(feature, tokens));
            feature += tokens;
        }

        int pageCount = KvLayout.PagesFor(length);
        if (pages.Length < pageCount)
        {
            pages = new int[pageCount]; // nothing is cached: any number does
        }

        step.AddSequence(pages, length, length, length);
        return feature;
    }

    double Balance(double scale)
    {
        IReadOnlyList<TapeOps.Tapped> routers = tape.Watched;
        (double value, double[][] gradients) = RouterBalance.Compute(
            [.. routers.Select(r => (r.Values, r.Width))],
            tape.ExpertsPerToken
        );
        for (int i = 0; i < routers.Count; i++)
        {
            tape.Seed(routers[i], [.. gradients[i].Select(g => (float)(g * BalanceFactor * scale))]);
        }

        return value;
    }

    /// <summary>Frees the tape.</summary>
    public void Dispose()
    {
        tape.Dispose();
        none.Dispose();
        pixels.Dispose();
    }
}
