using System.Text;
using VlmSharp.Generation;
using VlmSharp.Tensors;
using VlmSharp.Text;

namespace VlmSharp.Engine;

/// <summary>One answer in the making: a sequence, how its next token is chosen, and when it ends.</summary>
/// <remarks>Borrows the sequence.</remarks>
public sealed class Request
{
    const int ReservedTokens = 4096; // longer answers grow the lists now and then

    readonly Sampler sampler;
    readonly TokenStream stream;
    readonly StopStrings stops;
    readonly StopConditions conditions;
    readonly ThinkingBudget? thinking;
    readonly bool recordLogProbs;
    readonly Action<string>? onText;
    readonly List<AnswerLogProbs> logProbs = [];
    readonly StringBuilder text = new();

    /// <summary>An answer to the prompt that the sequence holds.</summary>
    /// <param name="sequence">Holds the prompt.</param>
    /// <param name="options">Sampling, end tokens, stop strings, limits.</param>
    /// <param name="tokenizer">Turns tokens into text.</param>
    /// <param name="onText">Gets pieces of text as soon as they are certain.</param>
    public Request(Sequence sequence, SamplingOptions options, Tokenizer tokenizer, Action<string>? onText = null)
    {
        Sequence = sequence;
        sequence.EnsureRoom(Math.Min(options.MaxNewTokens ?? ReservedTokens, ReservedTokens));
        InferenceEngine engine = sequence.Engine;
        sampler = new Sampler(options, sequence.Tokens, engine.Model.Info.Vocabulary, null, engine.Scratch);
        stream = new TokenStream(tokenizer, skipSpecial: false);
        stops = new StopStrings(options.StopStrings);
        conditions = new StopConditions(options, sequence.Tokens.Length);
        thinking = options.ThinkingBudget is { } budget ? new ThinkingBudget(budget, sequence.Tokens, tokenizer) : null;
        recordLogProbs = options.LogProbs is not null;
        this.onText = onText;
    }

    /// <summary>Prompt and answer.</summary>
    public Sequence Sequence { get; }

    /// <summary>The adapter it is answered with, null for none; requests of one step may have different ones. Set before the first step.</summary>
    public WeightAdapter? Adapter
    {
        get => Sequence.Adapter;
        set => Sequence.Adapter = value;
    }

    /// <summary>Tokens of the answer, the end token included. Valid until the next step.</summary>
    public ReadOnlySpan<int> Answer => sampler.Answer;

    /// <summary>Log-probabilities of the answer's tokens, where they were asked for.</summary>
    public IReadOnlyList<AnswerLogProbs> LogProbs => logProbs;

    /// <summary>The answer as text, without the end token.</summary>
    public string Text => text.ToString();

    /// <summary>Why the answer ended; null while it goes on.</summary>
    public FinishReason? Finish { get; private set; }

    /// <summary>Ends the answer where it stands.</summary>
    public void Cancel() => End(FinishReason.Cancelled);

    /// <summary>Chooses the next token.</summary>
    /// <param name="logits">[vocabulary]</param>
    internal void Advance(ReadOnlySpan<float> logits)
    {
        int token = thinking?.Next is { } forced ? sampler.Force(logits, forced) : sampler.Next(logits);
        if (recordLogProbs)
        {
            StepLogProbs step = sampler.LastLogProbs;
            logProbs.Add(new AnswerLogProbs(step.Chosen, step.Rank, step.Top.ToArray()));
        }

        FinishReason? ended = conditions.Push(token);
        bool stopped = false;
        if (ended != FinishReason.Stop)
        {
            string piece = stream.Next(token);
            thinking?.Push(piece);
            if (piece.Length > 0)
            {
                Emit(stops.Push(piece, out stopped));
            }
        }

        if (stopped)
        {
            Finish = FinishReason.Stop; // what is held back belongs to the stop string
        }
        else if (ended is { } reason)
        {
            End(reason);
        }
        else
        {
            Sequence.Append(token);
        }
    }

    void End(FinishReason reason)
    {
        if (Finish is not null)
        {
            return;
        }

        Finish = reason;
        bool stopped = false;
        if (stream.Finish() is { Length: > 0 } tail)
        {
            Emit(stops.Push(tail, out stopped));
        }

        if (!stopped)
        {
            Emit(stops.Flush());
        }
    }

    void Emit(string piece)
    {
        if (piece.Length > 0)
        {
            text.Append(piece);
            onText?.Invoke(piece);
        }
    }
}

/// <summary>How likely a token of an answer was, and what else was.</summary>
/// <param name="Chosen">The token and its log-probability, of the raw logits.</param>
/// <param name="Rank">1 if it was the likeliest.</param>
/// <param name="Top">The likeliest tokens, best first.</param>
public sealed record AnswerLogProbs(TokenLogProb Chosen, int Rank, IReadOnlyList<TokenLogProb> Top);
