namespace VlmSharp.Formats;

/// <summary>A file of a checkpoint is missing, damaged, contradicts another one, or asks for something unsupported.</summary>
/// <remarks>
/// The message is complete and meant for the person who has the file: it names the file, the tensor or the field, what was
/// found and what was expected.
/// </remarks>
public sealed class CheckpointException : Exception
{
    /// <summary>An error about one file: <c>file: message</c>.</summary>
    /// <param name="file">Path or name of the file, as the user would recognise it.</param>
    /// <param name="message">What was found, what was expected, what can be done.</param>
    /// <param name="inner">The underlying error, if any.</param>
    public CheckpointException(string file, string message, Exception? inner = null)
        : base($"{file}: {message}", inner) => File = file;

    /// <summary>The file at fault.</summary>
    public string File { get; }
}
