using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Generation;
using VlmSharp.Grounding;

namespace VlmSharp.Tiling;

/// <summary>Asks a conversation, which forgets everything before each question.</summary>
public sealed class ConversationTileModel : ITileModel
{
    readonly ChatModel chat;
    readonly Conversation conversation;
    readonly SamplingOptions sampling;
    readonly string? system;

    /// <summary>Takes a conversation over.</summary>
    /// <param name="chat">Borrowed, as is the conversation.</param>
    /// <param name="conversation">Is cleared now and before each question.</param>
    /// <param name="sampling">How answers are chosen.</param>
    /// <param name="system">A system prompt, if any.</param>
    /// <exception cref="CacheFullException">The context has no room for a question and the longest answer.</exception>
    public ConversationTileModel(
        ChatModel chat,
        Conversation conversation,
        SamplingOptions sampling,
        string? system = null
    )
    {
        this.chat = chat;
        this.conversation = conversation;
        this.sampling = sampling;
        this.system = system;
        Start();
        // Headers and system prompt; the text itself may join its neighbours in a token, which makes it shorter.
        int frame = chat.Prompts.Build([.. conversation.Messages, ChatMessage.User(new ChatText("x"))]).Tokens.Length;
        int answer = Math.Min(sampling.MaxNewTokens ?? int.MaxValue, conversation.ContextTokens / 2);
        MaxTextTokens = conversation.ContextTokens - answer - frame;
        if (MaxTextTokens < 1)
        {
            throw new CacheFullException(
                $"The context holds {conversation.ContextTokens} tokens; {answer} for an answer and {frame} for headers leave no room for a question."
            );
        }
    }

    /// <inheritdoc/>
    public int MaxTextTokens { get; }

    /// <inheritdoc/>
    public int CountTokens(string text)
    {
        List<int> ids = [];
        chat.Tokenizer.Encode(text, ids);
        return ids.Count;
    }

    /// <inheritdoc/>
    public TileReply Ask(IReadOnlyList<ChatContent> content, CancellationToken cancellation)
    {
        Start();
        ChatAnswer answer = conversation.Ask(ChatMessage.User(content), sampling, cancellation: cancellation);
        if (answer.Finish == FinishReason.Cancelled)
        {
            throw new OperationCanceledException(cancellation);
        }

        return new(answer.Content, answer.Finish, Ground(answer));
    }

    /// <summary>What the answer points at on the picture of its question, with ranges that count from where its content begins.</summary>
    GroundedItem[] Ground(ChatAnswer answer)
    {
        if (answer.Media.Count != 1)
        {
            return [];
        }

        GroundingResult found = answer.Ground(chat.Tokenizer, chat.Model.Info.Grounding, answer.Media[0].Plan.Frame());
        // Thoughts come before the content.
        int start = Math.Max(0, answer.Text.LastIndexOf(answer.Content, StringComparison.Ordinal));
        return
        [
            .. found.Items.Select(item =>
                item with
                {
                    Range = Shift(item.Range),
                    CoordinateRange = Shift(item.CoordinateRange),
                }
            ),
        ];

        TextRange Shift(TextRange range) => new(range.Start - start, range.End - start);
    }

    void Start()
    {
        conversation.Clear();
        if (system is not null)
        {
            conversation.Add(ChatMessage.System(system));
        }
    }
}
