namespace VlmSharp.Datasets;

/// <summary>What is wrong with a sample of a file.</summary>
/// <param name="Reason">One of <see cref="FaultReason"/>.</param>
/// <param name="Line">From 1: where the sample begins, or where it stops being JSON.</param>
/// <param name="Message">Field, what was found, what was expected.</param>
public sealed record ExampleFault(string Reason, int Line, string Message);

/// <summary>Names of what can be wrong with a sample.</summary>
public static class FaultReason
{
    /// <summary>It is not JSON: cut off, NaN, a name twice, nested too deeply.</summary>
    public const string Json = "json";

    /// <summary>It is JSON, but no object.</summary>
    public const string NotAnObject = "not-an-object";

    /// <summary>It is not UTF-8.</summary>
    public const string Encoding = "encoding";

    /// <summary>There are no messages.</summary>
    public const string MessagesMissing = "messages-missing";

    /// <summary>The list of messages is empty.</summary>
    public const string MessagesEmpty = "messages-empty";

    /// <summary>The messages are no list of objects.</summary>
    public const string MessagesType = "messages-type";

    /// <summary>A message has no role, or one that the format does not know.</summary>
    public const string Role = "role";

    /// <summary>Roles follow each other in a way the format does not have.</summary>
    public const string RoleOrder = "role-order";

    /// <summary>A content is missing, null, or of an unknown type.</summary>
    public const string Content = "content";

    /// <summary>Nothing in it can be learnt.</summary>
    public const string NoAnswer = "no-answer";

    /// <summary>Places for pictures and pictures differ.</summary>
    public const string ImageCount = "image-count";

    /// <summary>Places for films and films differ.</summary>
    public const string VideoCount = "video-count";

    /// <summary>A picture is not there.</summary>
    public const string FileMissing = "file-missing";

    /// <summary>A picture cannot be read, and a box needs its size.</summary>
    public const string FileUnreadable = "file-unreadable";

    /// <summary>A box has neither two nor four numbers.</summary>
    public const string BoxLength = "box-length";

    /// <summary>A coordinate is no finite number.</summary>
    public const string BoxNumber = "box-number";

    /// <summary>The unit of boxes is unknown.</summary>
    public const string BoxType = "box-type";

    /// <summary>Places for boxes and boxes differ.</summary>
    public const string BoxCount = "box-count";

    /// <summary>Places for references and references differ.</summary>
    public const string ReferenceCount = "ref-count";

    /// <summary>A box is on a picture that does not exist.</summary>
    public const string ImageId = "image-id";
}

/// <summary>Ends the reading of one sample.</summary>
/// <param name="reason">One of <see cref="FaultReason"/>.</param>
/// <param name="message">Field, what was found, what was expected.</param>
/// <param name="lines">Lines behind the beginning of the sample.</param>
sealed class SampleException(string reason, string message, int lines = 0) : Exception(message)
{
    public string Reason { get; } = reason;

    public int Lines { get; } = lines;
}
