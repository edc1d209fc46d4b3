namespace VlmSharp.Media.Images;

/// <summary>A picture cannot be read: damaged, of an unsupported kind, larger than accepted, or the native library is missing.</summary>
/// <remarks>The message is complete and meant for the person who sent the picture: <c>name: what was found, what is accepted, what can be done</c>.</remarks>
public sealed class MediaException : Exception
{
    /// <summary>An error about one picture: <c>name: message</c>.</summary>
    /// <param name="name">The picture, as its owner would recognise it: a path, an address, "image 2 of the message".</param>
    /// <param name="message">What was found, what was expected, what can be done.</param>
    /// <param name="inner">The underlying error, if any.</param>
    public MediaException(string name, string message, Exception? inner = null)
        : base($"{name}: {message}", inner) => Name = name;

    /// <summary>The picture at fault.</summary>
    public string Name { get; }
}
