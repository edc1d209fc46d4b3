using System.Runtime.InteropServices;
using System.Text;
using VlmSharp.Chat.Replies;
using VlmSharp.Formats;
using VlmSharp.Models;
using VlmSharp.Text;
using VlmSharp.Text.Templates;
using VlmSharp.Vision;

namespace VlmSharp.Chat;

/// <summary>Prompts of the first Qwen-VL, which has no template: <c>make_context</c> and <c>from_list_format</c> of its published code.</summary>
/// <remarks>
/// <para>
/// <c>chatml</c> writes turns between <c>&lt;|im_start|&gt;</c> and <c>&lt;|im_end|&gt;</c> and tokenises role, line break and content each on its own.
/// <c>raw</c> is the content of all messages, one directly after the other, for the model that only continues text. Option
/// <c>chat_format</c> chooses; else <c>generation_config.json</c> does.
/// </para>
/// <para>
/// A picture is <c>Picture 1: &lt;img&gt;name&lt;/img&gt;</c> and a line break, counted through the conversation. The bytes of its name stand as ids
/// 0 to 255 in the first of its slots, <c>&lt;imgpad&gt;</c> in the others; the features replace them all. Pictures are given as media: tags of
/// pictures in a text are characters, and the name of a picture cannot end its tag.
/// </para>
/// </remarks>
public sealed class QwenVLPromptBuilder : IPromptBuilder
{
    const string DefaultSystem = "You are a helpful assistant.";
    const string ImageStart = "<img>";
    const string ImageEnd = "</img>";
    const string TurnStart = "<|im_start|>";
    const string TurnEnd = "<|im_end|>";
    const string TextEnd = "<|endoftext|>";

    readonly Tokenizer tokenizer;
    readonly QwenVL model;
    readonly string defaultFormat;
    readonly int turnStart;
    readonly int turnEnd;
    readonly int textEnd;

    /// <summary>Checks that model and tokenizer belong together.</summary>
    /// <param name="tokenizer">Text to ids.</param>
    /// <param name="model">Knows the slots of a picture.</param>
    /// <param name="defaultFormat"><c>chat_format</c> of the generation settings; chatml where they do not say.</param>
    /// <exception cref="CheckpointException">The config's picture tokens are not the tokenizer's, or the format is unknown.</exception>
    public QwenVLPromptBuilder(Tokenizer tokenizer, QwenVL model, string? defaultFormat)
    {
        this.tokenizer = tokenizer;
        this.model = model;
        this.defaultFormat = defaultFormat ?? "chatml";
        turnStart = Find(TurnStart);
        turnEnd = Find(TurnEnd);
        textEnd = Find(TextEnd);
        string[] tags = [ImageStart, ImageEnd, "<imgpad>"];
        for (int i = 0; i < tags.Length; i++)
        {
            if (Find(tags[i]) is var id && id != model.ImageStart + i)
            {
                throw new CheckpointException(
                    "config.json",
                    $"field 'visual.image_start_id' is {model.ImageStart}, so that {tags[i]} would be {model.ImageStart + i}; the tokenizer has it as {id}"
                );
            }
        }

        if (this.defaultFormat is not ("chatml" or "raw"))
        {
            throw new CheckpointException(
                "generation_config.json",
                $"field 'chat_format' is {Quote.Name(this.defaultFormat)}, expected chatml or raw"
            );
        }

        int Find(string token) =>
            tokenizer.TryGetId(token, out int id)
                ? id
                : throw new CheckpointException("tokenizer", $"has no token {token}");
    }

    /// <inheritdoc/>
    /// <remarks>
    /// Options are <c>chat_format</c> and <c>add_generation_prompt</c> (true unless given; raw has none). Text of users is never parsed for
    /// tokens. In texts of the model the tags of references and boxes are tokens; in raw prompts that a program wrote all others as well.
    /// </remarks>
    public Prompt Build(
        IReadOnlyList<ChatMessage> messages,
        IReadOnlyDictionary<string, TemplateValue>? options = null,
        IReadOnlyList<ToolDefinition>? tools = null
    )
    {
        if (tools is { Count: > 0 })
        {
            throw new PromptException("There are tools, but this model was not made to call any.");
        }

        string format = options?.GetValueOrDefault("chat_format")?.ToString() ?? defaultFormat;
        bool answer = options?.GetValueOrDefault("add_generation_prompt")?.IsTrue ?? true;
        return format switch
        {
            "chatml" => BuildChat(messages, answer),
            "raw" => BuildRaw(messages),
            _ => throw new PromptException($"chat_format is '{format}', expected chatml or raw."),
        };
    }

    /// <inheritdoc/>
    /// <remarks>As chatml, whatever the checkpoint's prompts are: it is how the published code trains both the base model and the chat model.</remarks>
    public Prompt BuildAnswered(IReadOnlyList<ChatMessage> messages, IReadOnlyList<ToolDefinition>? tools = null)
    {
        if (tools is { Count: > 0 } || messages.Any(message => message.ToolCalls.Count > 0))
        {
            throw new PromptException("There are tools, but this model was not made to call any.");
        }

        Draft draft = WriteTurns(messages);
        draft.Text("\n", AddedTokenUse.None);
        return draft.Finish([]) with { Answers = draft.Answers };
    }

    Prompt BuildChat(IReadOnlyList<ChatMessage> messages, bool answer)
    {
        Draft draft = WriteTurns(messages);
        if (answer)
        {
            draft.Text("\n", AddedTokenUse.None);
            draft.Token(turnStart, TurnStart);
            draft.Text("assistant", AddedTokenUse.None);
            draft.Text("\n", AddedTokenUse.None);
        }

        return draft.Finish([turnEnd, turnStart, textEnd]);
    }

    Draft WriteTurns(IReadOnlyList<ChatMessage> messages)
    {
        Draft draft = new(this);
        IEnumerable<ChatMessage> turns = messages is [{ Role: "system" }, ..]
            ? messages
            : messages.Prepend(ChatMessage.System(DefaultSystem));
        int count = 0;
        foreach (ChatMessage turn in turns)
        {
            if (!(turn.Role is "user" or "assistant" || (turn.Role == "system" && count == 0)))
            {
                throw new PromptException(
                    $"A turn has the role '{turn.Role}'; this model knows user, assistant, and system for the first turn."
                );
            }

            if (count++ > 0)
            {
                draft.Text("\n", AddedTokenUse.None);
            }

            draft.Token(turnStart, TurnStart);
            draft.Text(turn.Role, AddedTokenUse.None);
            draft.Text("\n", AddedTokenUse.None);
            int start = draft.Count;
            draft.Content(turn, turn.FromModel ? AddedTokenUse.SpecialAsText : AddedTokenUse.None);
            draft.Token(turnEnd, TurnEnd);
            if (turn.Role == "assistant")
            {
                draft.Answers.Add(start..(draft.Count + 1)); // and the line break that follows
            }
        }

        return draft;
    }

    Prompt BuildRaw(IReadOnlyList<ChatMessage> messages)
    {
        Draft draft = new(this);
        foreach (ChatMessage message in messages)
        {
            // What a model wrote earlier may hold an open tag, which must not end the conversation.
            AddedTokenUse trusted = message.Role == "assistant" ? AddedTokenUse.SpecialAsText : AddedTokenUse.Parse;
            draft.Content(message, message.FromModel ? trusted : AddedTokenUse.None);
        }

        return draft.Finish([textEnd]);
    }

    /// <inheritdoc/>
    public MediaPlan Plan(ChatMedia media) => media.PlanFor(model);

    /// <summary>A name that fits into the slots, which must have room for one pad and one more: the published code asks for both.</summary>
    string PictureName(string name)
    {
        // Form C and without lone surrogates, as the reference has the whole text.
        byte[] bytes = Encoding.UTF8.GetBytes(name);
        bytes = Encoding.UTF8.GetBytes(new Nfc().Normalize(Encoding.UTF8.GetString(bytes)).ToString());
        int most = Math.Max(0, model.ImageSlots - 2);
        int start = Math.Max(0, bytes.Length - most); // the end of a path says more than its beginning
        while (start > 0 && start < bytes.Length && bytes[start] >> 6 == 0b10)
        {
            start++;
        }

        return Encoding.UTF8.GetString(bytes.AsSpan(start));
    }

    /// <summary>A prompt in the making.</summary>
    sealed class Draft(QwenVLPromptBuilder builder)
    {
        readonly StringBuilder text = new();
        readonly List<int> tokens = [];
        readonly List<ChatMedia> media = [];
        readonly List<MediaSpan> spans = [];

        public int Count => tokens.Count;

        public List<Range> Answers { get; } = [];

        public void Token(int id, string shown)
        {
            tokens.Add(id);
            text.Append(shown);
        }

        public void Text(string piece, AddedTokenUse use)
        {
            int first = tokens.Count;
            builder.tokenizer.Encode(piece, tokens, use);
            Written(piece, first);
        }

        // Tokens in the text of people are characters, those in the program's are tokens.
        void Text(string piece, List<Range> literal)
        {
            int first = tokens.Count;
            builder.tokenizer.Encode(piece, CollectionsMarshal.AsSpan(literal), tokens);
            Written(piece, first);
        }

        void Written(string piece, int first)
        {
            text.Append(piece);
            if (tokens.IndexOf(builder.model.ImageStart, first) >= 0)
            {
                throw new PromptException($"A text has the tag {ImageStart}; pictures are given as pictures.");
            }
        }

        public void Content(ChatMessage message, AddedTokenUse use)
        {
            string run = ""; // text up to the next picture is one piece
            List<Range> literal = []; // what of it is not markup
            foreach (ChatContent part in message.Content)
            {
                switch (part)
                {
                    case ChatText written:
                        literal.Add(run.Length..(run.Length + written.Text.Length));
                        run += written.Text;
                        break;
                    case ChatMarkup markup:
                        run += markup.Text;
                        break;
                    case ChatMedia picture:
                        run += $"Picture {media.Count + 1}: ";
                        Write();
                        Picture(picture);
                        run = "\n";
                        literal.Clear();
                        break;
                    default:
                        throw new ArgumentException($"A message cannot hold {part.GetType().Name}.");
                }
            }

            Write();

            void Write()
            {
                if (use == AddedTokenUse.None)
                {
                    Text(run, literal);
                }
                else
                {
                    Text(run, use);
                }
            }
        }

        void Picture(ChatMedia picture)
        {
            int slots = builder.Plan(picture).Tokens;
            string name = builder.PictureName(picture.Source.Name);
            Token(builder.model.ImageStart, ImageStart);
            spans.Add(new MediaSpan(tokens.Count, new GridThw(1, 1, slots), 1) { Medium = media.Count });
            media.Add(picture);
            byte[] bytes = Encoding.UTF8.GetBytes(name);
            tokens.AddRange(bytes.Select(b => (int)b));
            tokens.AddRange(Enumerable.Repeat(builder.model.ImageStart + 2, slots - bytes.Length));
            text.Append(name);
            Token(builder.model.ImageStart + 1, ImageEnd);
        }

        public Prompt Finish(int[] endTokens) =>
            new(text.ToString(), [.. tokens], media, [.. spans]) { EndTokens = endTokens };
    }
}
