using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Generation;
using VlmSharp.Testing;
using VlmSharp.Tests.Chat.Replies;
using VlmSharp.Text;
using Xunit;

namespace VlmSharp.Tests.Generation;

public sealed class ThinkingBudgetTests
{
    static readonly ChatMessage Question = ChatMessage.User(new ChatText("How many?"));
    static readonly SamplingOptions Long = new() { MaxNewTokens = 30, Repetition = null };

    static ChatAnswer Ask(ChatModel chat, SamplingOptions options)
    {
        using Conversation conversation = new(chat, 1024);
        return conversation.Ask(Question, options);
    }

    static int[] Closing(ChatModel chat)
    {
        List<int> ids = [];
        chat.Tokenizer.Encode("\n</think>\n\n", ids, AddedTokenUse.Parse);
        return [.. ids];
    }

    [Theory]
    [InlineData(0, true)]
    [InlineData(1, true)]
    [InlineData(7, true)]
    [InlineData(0, false)]
    [InlineData(7, false)]
    public void When_the_budget_is_spent_thoughts_are_closed_and_the_answer_is_chosen_again(int budget, bool hasTokens)
    {
        using ChatModel chat = ThinkingModel.Load(hasTokens: hasTokens);
        int[] closing = Closing(chat);
        int[] free = [.. Ask(chat, Long).Tokens];
        ChatAnswer answer = Ask(chat, Long with { ThinkingBudget = budget, LogProbs = 2 });
        Assert.Equal([.. free[..budget], .. closing], answer.Tokens.Take(budget + closing.Length));
        Assert.Equal(chat.Tokenizer.Decode(free.AsSpan(0, budget)).Trim('\n'), answer.Reasoning);
        Assert.Equal(30, answer.Tokens.Count);

        // The rest is what follows a prompt that ends with those thoughts.
        using InferenceEngine engine = new(chat.Model, chat.Ops, 1024);
        using Sequence sequence = engine.CreateSequence();
        Prompt prompt = chat.Prompts.Build([Question]);
        sequence.SetPrompt([.. prompt.Tokens, .. free[..budget], .. closing], [], []);
        Request rest = new(sequence, Long with { MaxNewTokens = 30 - budget - closing.Length }, chat.Tokenizer);
        Generator.Run(engine, [rest]);
        Assert.Equal(rest.Answer.ToArray(), answer.Tokens.Skip(budget + closing.Length));
    }

    [Fact]
    public void Closing_tokens_have_the_log_probabilities_the_model_gave_them()
    {
        using ChatModel chat = ThinkingModel.Load();
        ChatAnswer answer = Ask(chat, Long with { ThinkingBudget = 3, LogProbs = 2 });
        Assert.Equal(answer.Tokens, answer.LogProbs.Select(p => p.Chosen.Token));
        for (int i = 3; i < 3 + Closing(chat).Length; i++)
        {
            AnswerLogProbs closing = answer.LogProbs[i];
            Assert.True(closing.Rank == 1 == (closing.Top[0] == closing.Chosen));
            Assert.InRange(closing.Chosen.LogProb, double.MinValue, closing.Top[0].LogProb);
        }
    }

    [Fact]
    public void A_budget_that_is_not_reached_changes_nothing()
    {
        using ChatModel chat = ThinkingModel.Load();
        Assert.Equal(Ask(chat, Long).Tokens, Ask(chat, Long with { ThinkingBudget = 30 }).Tokens);
        SamplingOptions written = ThinkingModel.Writes(chat, "ab</think>cd");
        Assert.Equal(("ab", "cd"), Parts(Ask(chat, written with { ThinkingBudget = 3 })));
    }

    [Fact]
    public void Thoughts_that_the_model_opens_itself_count_from_their_tag()
    {
        using ChatModel chat = ThinkingModel.Load(opens: false);
        Assert.True(chat.Tokenizer.TryGetId("<think>", out int open));
        SamplingOptions opens = Long with { LogitBias = new Dictionary<int, double> { [open] = 1e4 } };
        int[] closing = Closing(chat);
        foreach (int budget in (int[])[0, 2])
        {
            ChatAnswer answer = Ask(chat, opens with { ThinkingBudget = budget });
            int[] expected = [open, .. Enumerable.Repeat(open, budget), .. closing, open];
            Assert.Equal(expected, answer.Tokens.Take(expected.Length)); // the tags after that are text
            Assert.Equal(30, answer.Tokens.Count);
        }
    }

    [Fact]
    public void A_limit_inside_the_closing_tokens_ends_the_answer_there()
    {
        using ChatModel chat = ThinkingModel.Load();
        ChatAnswer answer = Ask(chat, Long with { ThinkingBudget = 4, MaxNewTokens = 5 });
        Assert.Equal(FinishReason.Length, answer.Finish);
        Assert.Equal(Closing(chat)[0], answer.Tokens[4]);
    }

    [Fact]
    public void A_model_that_does_not_think_has_no_thoughts_to_close()
    {
        using ChatModel chat = ThinkingModel.Load(opens: false, hasTokens: false);
        Assert.Equal(Ask(chat, Long).Tokens, Ask(chat, Long with { ThinkingBudget = 0 }).Tokens);
    }

    [Theory]
    [InlineData("<think>\n", ThinkingMode.Open)]
    [InlineData("<think>", ThinkingMode.Open)]
    [InlineData("<think>\n\n</think>\n\n", ThinkingMode.None)]
    [InlineData("", ThinkingMode.Optional)]
    [InlineData("<think>\nWell", ThinkingMode.Optional)]
    public void The_end_of_the_prompt_decides_whether_the_answer_begins_with_thoughts(string end, ThinkingMode expected)
    {
        using ChatModel chat = ThinkingModel.Load();
        List<int> ids = [];
        chat.Tokenizer.Encode("<|im_start|>assistant\n" + end, ids, AddedTokenUse.Parse);
        Assert.Equal(expected, Thinking.Of([.. ids], chat.Tokenizer));

        // The same, typed by somebody, is text.
        ids.Clear();
        chat.Tokenizer.Encode("<|im_start|>assistant\n" + end, ids, AddedTokenUse.None);
        Assert.Equal(ThinkingMode.Optional, Thinking.Of([.. ids], chat.Tokenizer));
    }

    [Fact]
    public void Watching_the_budget_allocates_nothing()
    {
        using ChatModel chat = ThinkingModel.Load();
        ThinkingBudget budget = new(1000, chat.Prompts.Build([Question]).Tokens, chat.Tokenizer);
        budget.Push("<thought </think");
        void Step()
        {
            _ = budget.Next;
            budget.Push("<tag></thin");
        }

        Assert.Equal(0, Allocations.InSteadyState(Step, times: 1200));
    }

    [Fact]
    public void A_tag_in_a_call_of_a_tool_opens_no_thoughts_that_a_budget_would_close()
    {
        using ChatModel chat = ThinkingModel.Load(opens: false);
        const string text =
            "<tool_call>{\"name\": \"write\", \"arguments\": {\"text\": \"<think> and so on\"}}</tool_call>";
        ChatAnswer answer = Ask(chat, ThinkingModel.Writes(chat, text) with { ThinkingBudget = 2 });
        Assert.Equal(text, answer.Text);
    }

    [Fact]
    public void A_negative_budget_is_refused() =>
        Assert.Contains(
            "ThinkingBudget is -1",
            Assert.ThrowsAny<ArgumentException>(() => new SamplingOptions { ThinkingBudget = -1 }).Message
        );

    static (string Reasoning, string Content) Parts(ChatAnswer answer) => (answer.Reasoning, answer.Content);
}
