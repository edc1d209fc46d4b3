namespace VlmSharp.Media.Images.Slides;

/// <summary>Where the pixels of a <see cref="LargeImage"/> come from: stored levels, read in blocks.</summary>
internal abstract class LevelSource : IDisposable
{
    /// <summary>Tells people what is read: "TIFF", "Aperio slide".</summary>
    internal abstract string Format { get; }

    /// <summary>The full picture first, as it is stored (not turned upright), then ever smaller ones.</summary>
    internal abstract IReadOnlyList<PyramidLevel> Levels { get; }

    /// <summary>How stored pixels are turned; 1 is upright.</summary>
    internal virtual int Orientation => 1;

    /// <summary>Micrometres between neighbouring pixels of the full picture, where the file tells.</summary>
    internal virtual double? MicronsPerPixel => null;

    /// <summary>Whether part of the picture can be decoded without what stands before it in the file.</summary>
    internal abstract bool HasRandomAccess { get; }

    /// <summary>Opens a level for the blocks of one region; what it keeps is freed with it.</summary>
    internal abstract LevelReader Open(int level, CancellationToken cancellation);

    /// <inheritdoc/>
    public virtual void Dispose() { }
}

/// <summary>Reads blocks of one level.</summary>
internal abstract class LevelReader : IDisposable
{
    /// <summary>The size of blocks that are read without decoding anything twice; they begin at multiples of it.</summary>
    internal abstract (int Width, int Height) Block { get; }

    /// <summary>Reads a rectangle that lies within the level.</summary>
    /// <param name="x">Of the level.</param>
    /// <param name="y">Of the level.</param>
    /// <param name="width">At least 1.</param>
    /// <param name="height">At least 1.</param>
    /// <param name="rgb">[height, width, 3].</param>
    /// <exception cref="MediaException">It cannot be decoded.</exception>
    internal abstract void Read(int x, int y, int width, int height, Span<byte> rgb);

    /// <inheritdoc/>
    public virtual void Dispose() { }
}
