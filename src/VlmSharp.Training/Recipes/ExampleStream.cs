using VlmSharp.Datasets;

namespace VlmSharp.Training.Recipes;

/// <summary>An example that was read, or why it was not.</summary>
/// <param name="Draw">Which one.</param>
/// <param name="Sample">Encoded; null where it is broken.</param>
/// <param name="Error">What was wrong with it.</param>
sealed record FetchedExample(Draw Draw, Sample? Sample, Exception? Error);

/// <summary>Reads and encodes examples of a mixture ahead, so that training does not wait for them; they come in the mixture's order.</summary>
/// <param name="mixture">What to read.</param>
/// <param name="encode">Makes a sample of an example; called from several threads.</param>
/// <param name="ahead">How many are read ahead.</param>
sealed class ExampleStream(Mixture mixture, Func<Example, Sample> encode, int ahead) : IDisposable
{
    readonly Queue<Task<FetchedExample>> queue = new();
    CancellationTokenSource cancellation = new();
    DataPosition next = mixture.Start;
    double[] shares = [];

    /// <summary>Goes on from a position, with other shares.</summary>
    public void Seek(DataPosition position, double[] newShares)
    {
        Drop();
        (next, shares) = (position, newShares);
    }

    /// <summary>The next example.</summary>
    public FetchedExample Take(CancellationToken token)
    {
        while (queue.Count <= ahead)
        {
            Draw draw = mixture.Next(next, shares);
            next = draw.After;
            CancellationToken dropped = cancellation.Token;
            queue.Enqueue(Task.Run(() => Fetch(draw, dropped)));
        }

        queue.Peek().Wait(token);
        return queue.Dequeue().Result;
    }

    FetchedExample Fetch(Draw draw, CancellationToken dropped)
    {
        dropped.ThrowIfCancellationRequested();
        try
        {
            return new FetchedExample(draw, encode(mixture.Sources[draw.Source].Read(draw.Index)), null);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // One example of a million may be broken in any way; which one and how is for the reader of the log.
            return new FetchedExample(draw, null, e);
        }
    }

    // Sources may be closed afterwards: waits for what is being read.
    void Drop()
    {
        cancellation.Cancel();
        foreach (Task<FetchedExample> task in queue)
        {
            try
            {
                task.Wait(CancellationToken.None);
            }
            catch (AggregateException)
            {
                // cancelled before it began
            }
        }

        queue.Clear();
        cancellation.Dispose();
        cancellation = new CancellationTokenSource();
    }

    public void Dispose()
    {
        Drop();
        cancellation.Dispose();
    }
}
