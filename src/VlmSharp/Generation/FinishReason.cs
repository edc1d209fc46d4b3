namespace VlmSharp.Generation;

/// <summary>Why an answer ended.</summary>
public enum FinishReason
{
    /// <summary>The model produced an end token, or the text reached a stop string.</summary>
    Stop,

    /// <summary>The limit on tokens was reached.</summary>
    Length,

    /// <summary>The answer had become an endless cycle; see <see cref="RepetitionDetector"/>.</summary>
    Repetition,

    /// <summary>The caller gave up.</summary>
    Cancelled,
}
