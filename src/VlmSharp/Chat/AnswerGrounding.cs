using VlmSharp.Engine;
using VlmSharp.Generation;
using VlmSharp.Grounding;
using VlmSharp.Models;
using VlmSharp.Text;

namespace VlmSharp.Chat;

/// <summary>What an answer points at, from the answer itself.</summary>
public static class AnswerGrounding
{
    /// <summary>The coordinate systems of a medium.</summary>
    /// <param name="plan">Its sizes.</param>
    /// <param name="picture">Which one of the conversation, from 0.</param>
    public static PictureFrame Frame(this MediaPlan plan, int picture = 0) =>
        new(plan.OriginalWidth, plan.OriginalHeight, plan.ResizedWidth, plan.ResizedHeight, picture);

    /// <summary>Reads what an answer points at; with scores where the log-probabilities of its tokens were asked for.</summary>
    /// <param name="answer">The answer.</param>
    /// <param name="tokenizer">The one that turned its tokens into text.</param>
    /// <param name="dialect">How the model writes coordinates.</param>
    /// <param name="frame">The picture that was asked about.</param>
    public static GroundingResult Ground(
        this ChatAnswer answer,
        Tokenizer tokenizer,
        GroundingDialect dialect,
        PictureFrame frame
    )
    {
        if (answer.Reasoning.Length > 0 && !answer.Text.Contains(Thoughts.CloseTag, StringComparison.Ordinal))
        {
            // Thoughts that the prompt opened and nothing closed: boxes weighed in them are no answer.
            return new([], GroundingError.Truncated, frame);
        }

        GroundingResult result = GroundingParser.Parse(answer.Text, dialect, frame);
        return answer.LogProbs.Count == 0 ? result : GroundingScores.Attach(result, Spans(tokenizer, answer.LogProbs));
    }

    /// <summary>Which characters of the answer each token spells.</summary>
    /// <remarks>A token that ends within a character spells the whole character, together with those that complete it.</remarks>
    /// <param name="tokenizer">The one that turned the tokens into text.</param>
    /// <param name="tokens">The answer's tokens from the first one on.</param>
    public static IReadOnlyList<TokenSpan> Spans(Tokenizer tokenizer, IReadOnlyList<AnswerLogProbs> tokens)
    {
        TokenStream stream = new(tokenizer, skipSpecial: false);
        TokenSpan[] spans = new TokenSpan[tokens.Count];
        int at = 0;
        int first = 0; // of the tokens whose text is not certain yet
        for (int i = 0; i < spans.Length; i++)
        {
            int length = stream.Next(tokens[i].Chosen.Token).Length;
            spans[i] = new(new(at, at), tokens[i].Chosen.LogProb);
            if (length > 0)
            {
                for (; first <= i; first++)
                {
                    spans[first] = spans[first] with { Range = new(spans[first].Range.Start, at + length) };
                }

                at += length;
            }
        }

        return spans;
    }
}
