namespace VlmSharp.Datasets;

/// <summary>Conversations about pictures and films, each found by its number.</summary>
/// <remarks>The same number gives the same example in every run, so a position in the data is a number. Calls may come from several threads.</remarks>
public interface IExampleSource
{
    /// <summary>What reports and recipes call it.</summary>
    string Name { get; }

    /// <summary>How many there are; null where they are made as they are asked for and never end.</summary>
    long? Count { get; }

    /// <summary>One of them.</summary>
    /// <param name="index">From 0, below <see cref="Count"/>.</param>
    /// <exception cref="Formats.CheckpointException">It is broken; the message names file, line and field.</exception>
    Example Read(long index);
}
