using VlmSharp.Generation;

namespace VlmSharp.Engine;

/// <summary>Drives requests through an engine until each has ended.</summary>
public static class Generator
{
    /// <summary>Computes prompts and answers of all requests together.</summary>
    /// <param name="engine">Owner of the requests' sequences.</param>
    /// <param name="requests">Their answers do not depend on each other.</param>
    /// <param name="onStep">Told after each step how many prompt and answer rows it computed.</param>
    /// <param name="cancellation">Ends all requests with <see cref="FinishReason.Cancelled"/>.</param>
    public static void Run(
        InferenceEngine engine,
        IReadOnlyList<Request> requests,
        Action<int>? onStep = null,
        CancellationToken cancellation = default
    )
    {
        List<Request> active = [.. requests.Where(r => r.Finish is null)];
        List<Sequence> sequences = [.. active.Select(r => r.Sequence)];
        while (active.Count > 0)
        {
            int rows;
            try
            {
                cancellation.ThrowIfCancellationRequested();
                rows = engine.Run(sequences);
            }
            catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
            {
                active.ForEach(r => r.Cancel());
                return;
            }

            for (int i = active.Count - 1; i >= 0; i--)
            {
                if (sequences[i].LogitRow < 0)
                {
                    continue;
                }

                active[i].Advance(engine.Logits(sequences[i]));
                if (active[i].Finish is not null)
                {
                    active.RemoveAt(i);
                    sequences.RemoveAt(i);
                }
            }

            onStep?.Invoke(rows);
        }
    }
}
