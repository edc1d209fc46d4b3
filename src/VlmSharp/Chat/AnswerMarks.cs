using VlmSharp.Text.Templates;

namespace VlmSharp.Chat;

/// <summary>What a chat template writes around each answer.</summary>
/// <param name="Opening">
/// What it ends a prompt with, for the model to go on: <c>&lt;|im_start|&gt;assistant</c> and a line break, and the start of thoughts where models think. The
/// first line alone begins a turn, as the template may leave the thoughts of earlier turns out.
/// </param>
/// <param name="Closing">What follows the text of an answer: <c>&lt;|im_end|&gt;</c> and a line break.</param>
sealed record AnswerMarks(string Opening, string Closing)
{
    readonly string head = Opening[..(Opening.IndexOf('\n') + 1 is > 0 and var line ? line : Opening.Length)];

    /// <summary>What the model writes in a conversation, closings included: ascending ranges of its text.</summary>
    /// <remarks>Marks that people typed are not marks.</remarks>
    public IEnumerable<Range> Answers(RenderedPrompt prompt)
    {
        int at = 0;
        while (PromptBuilder.IndexOutside(prompt.Text, head, at, prompt.UserText) is >= 0 and var found)
        {
            bool whole =
                prompt.Text.AsSpan(found).StartsWith(Opening)
                && PromptBuilder.IsOutside(found, Opening.Length, prompt.UserText);
            int start = found + (whole ? Opening.Length : head.Length);
            int close = PromptBuilder.IndexOutside(prompt.Text, Closing, start, prompt.UserText);
            if (close < 0)
            {
                break;
            }

            at = close + Closing.Length;
            yield return start..at;
        }
    }
}
