namespace VlmSharp.Formats;

/// <summary>What the elements of tensors are read from: a mapped file, or something that unpacks them.</summary>
interface ITensorBytes
{
    /// <summary>The file's name, for messages.</summary>
    string Name { get; }

    /// <summary>Some of a tensor's elements, little endian; valid until the file is disposed.</summary>
    /// <param name="tensor">The tensor's name, for messages.</param>
    /// <param name="offset">Where they begin, in bytes, counted as the tensor's <see cref="TensorInfo"/> does.</param>
    /// <param name="size">How many bytes.</param>
    /// <exception cref="CheckpointException">There are more than 2 GiB of them.</exception>
    ReadOnlySpan<byte> Slice(string tensor, long offset, long size);
}
