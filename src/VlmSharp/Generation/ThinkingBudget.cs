using VlmSharp.Text;

namespace VlmSharp.Generation;

/// <summary>Ends thoughts that take more tokens than they may, by tokens that stand in for chosen ones.</summary>
/// <remarks>
/// The tags are found in the text of the answer, so it makes no difference whether the vocabulary has tokens for them. Counted are the
/// tokens behind the tag that opens the thoughts. As when an answer is divided, only the first thoughts of it are thoughts; a tag in a call
/// of a tool opens none. A character that the last counted token leaves incomplete becomes U+FFFD. Allocates nothing once it is made.
/// </remarks>
sealed class ThinkingBudget
{
    const string CallTag = "<tool_call>";

    enum Phase
    {
        Before,
        Inside,
        After,
    }

    readonly int tokens;
    readonly int[] closing;
    Phase phase;
    int matched; // characters of the tag that is waited for
    int matchedCall; // characters of the tag of a call
    int spent;
    int forced = -1; // of the closing tokens; -1 while none was

    /// <param name="tokens">Tokens of thoughts at most.</param>
    /// <param name="prompt">What the answer follows.</param>
    /// <param name="tokenizer">The tokenizer of both.</param>
    public ThinkingBudget(int tokens, ReadOnlySpan<int> prompt, Tokenizer tokenizer)
    {
        this.tokens = tokens;
        phase = Thinking.Of(prompt, tokenizer) switch
        {
            ThinkingMode.Open => Phase.Inside,
            ThinkingMode.Optional => Phase.Before,
            _ => Phase.After,
        };
        List<int> ids = [];
        tokenizer.Encode(Thinking.Closing, ids, AddedTokenUse.Parse);
        closing = [.. ids];
    }

    /// <summary>The token that has to come next; null where the model chooses.</summary>
    public int? Next =>
        forced >= 0
            ? forced < closing.Length
                ? closing[forced]
                : null
            : phase == Phase.Inside && spent >= tokens
                ? closing[0]
                : null;

    /// <summary>Takes the token that has come.</summary>
    /// <param name="piece">The text that became certain with it.</param>
    public void Push(string piece)
    {
        if (Next is not null)
        {
            forced = Math.Max(forced, 0) + 1;
        }

        spent += phase == Phase.Inside ? 1 : 0;
        foreach (char c in piece)
        {
            if (phase == Phase.After)
            {
                break;
            }

            string tag = phase == Phase.Before ? Thoughts.OpenTag : Thoughts.CloseTag;
            if (Ends(c, tag, ref matched))
            {
                phase++;
            }
            else if (phase == Phase.Before && Ends(c, CallTag, ref matchedCall))
            {
                phase = Phase.After;
            }
        }
    }

    /// <summary>Whether a character ends a tag. Each begins with a character that it has nowhere else.</summary>
    static bool Ends(char c, string tag, ref int matched)
    {
        matched =
            c == tag[matched] ? matched + 1
            : c == tag[0] ? 1
            : 0;
        bool ends = matched == tag.Length;
        matched = ends ? 0 : matched;
        return ends;
    }
}
