namespace VlmSharp.Text.Templates;

/// <summary>A chat template does not parse, or rendering it failed: an error in the template, an input it refuses, or a limit.</summary>
/// <remarks>The message is complete: <c>template, line n: what happened</c>.</remarks>
public sealed class TemplateException : Exception
{
    internal TemplateException(
        string template,
        int line,
        string problem,
        string? raisedMessage = null,
        Exception? inner = null
    )
        : base($"{template}, line {line}: {problem}", inner)
    {
        Template = template;
        Line = line;
        RaisedMessage = raisedMessage;
    }

    /// <summary>The name the template was parsed under.</summary>
    public string Template { get; }

    /// <summary>The line of the template, from 1, where the error was found.</summary>
    public int Line { get; }

    /// <summary>
    /// The bare text the template itself gave to <c>raise_exception</c>, for instance that roles must alternate; null for every
    /// other error. It is about the conversation, so it can be shown to whoever sent it.
    /// </summary>
    public string? RaisedMessage { get; }
}

/// <summary>An error while evaluating, before the template's name and the line are known.</summary>
/// <param name="message">Where Python would raise, Python's own words, since template authors know those.</param>
/// <param name="raisedByTemplate">Whether the message is what the template gave to <c>raise_exception</c>.</param>
internal sealed class EvaluationException(string message, bool raisedByTemplate = false) : Exception(message)
{
    public bool RaisedByTemplate { get; } = raisedByTemplate;
}
