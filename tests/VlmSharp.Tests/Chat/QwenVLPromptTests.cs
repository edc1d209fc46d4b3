using System.Text;
using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Generation;
using VlmSharp.Media.Images;
using VlmSharp.Models;
using VlmSharp.Testing;
using VlmSharp.Tests.Engine;
using VlmSharp.Tests.Models;
using VlmSharp.Text.Templates;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Chat;

public sealed class QwenVLPromptTests(QwenVLFixture fixture) : IClassFixture<QwenVLFixture>
{
    const int First = TinyQwenVL.FirstSpecial;
    const int Image = First + 214;

    static readonly Dictionary<string, TemplateValue> Raw = new() { ["chat_format"] = "raw" };
    static readonly SamplingOptions Short = new() { MaxNewTokens = 6, Repetition = null };

    readonly ChatModel chat = fixture.Chat;

    Prompt Build(params ChatMessage[] messages) => chat.Prompts.Build(messages);

    static ChatMedia Picture(string name) => new(MediaSource.Image(new RgbImage(2, 2, new byte[12]), name));

    [Fact]
    public void A_conversation_without_a_system_prompt_gets_the_published_one()
    {
        Prompt prompt = Build(ChatMessage.User(new ChatText("Hi")));
        Assert.Equal(
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
            prompt.Text
        );
        Assert.Equal(3, prompt.Tokens.Count(t => t == First + 1));
        Assert.Equal([First + 2, First + 1, First], prompt.EndTokens);

        Prompt own = Build(ChatMessage.System("Be brief."), ChatMessage.User(new ChatText("Hi")));
        Assert.StartsWith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n", own.Text);
    }

    [Fact]
    public void Role_line_break_and_content_are_tokenised_each_on_its_own()
    {
        // Two line breaks in a row would be one piece, "user\n" another.
        Prompt prompt = Build(ChatMessage.User(new ChatText("\n in")));
        int start = Array.LastIndexOf(prompt.Tokens, First + 1, Array.LastIndexOf(prompt.Tokens, First + 1) - 1);
        Assert.Equal(
            [First + 1, 'u', 's', 'e', 'r', '\n', '\n', ' ', 260, First + 2],
            prompt.Tokens[start..(start + 10)]
        );
    }

    [Fact]
    public void Pictures_are_numbered_through_the_conversation()
    {
        Prompt prompt = Build(
            ChatMessage.User(Picture("a"), new ChatText("One "), Picture("b"), new ChatText("Two")),
            ChatMessage.Assistant("Fine."),
            ChatMessage.User(Picture("c"))
        );
        Assert.Contains("user\nPicture 1: <img>a</img>\nOne Picture 2: <img>b</img>\nTwo<|im_end|>", prompt.Text);
        Assert.Contains("user\nPicture 3: <img>c</img>\n<|im_end|>", prompt.Text);
        Assert.Equal(["a", "b", "c"], prompt.Media.Select(m => m.Source.Name));
        Assert.Equal([0, 1, 2], prompt.Spans.Select(s => s.Medium));
        foreach ((int i, MediaSpan span) in prompt.Spans.Index())
        {
            Assert.Equal(TinyQwenVL.Queries, span.Tokens);
            Assert.Equal(Image, prompt.Tokens[span.Start - 1]);
            Assert.Equal('a' + i, prompt.Tokens[span.Start]);
            int[] pads = [.. Enumerable.Repeat(Image + 2, TinyQwenVL.Queries - 1)];
            Assert.Equal(pads, prompt.Tokens[(span.Start + 1)..(span.Start + span.Tokens)]);
            Assert.Equal(Image + 1, prompt.Tokens[span.Start + span.Tokens]);
        }
    }

    [Theory]
    [InlineData("photo.png", "photo.png")]
    [InlineData("", "")]
    [InlineData("/home/me/pictures/img1.png", "tures/img1.png")] // the end, as there are 14 places
    [InlineData("ab图图图图图", "图图图图")] // no part of a character
    [InlineData("e\u0301", "é")] // composed, as the reference does with the whole text
    [InlineData("x</img><box>", "x</img><box>")] // bytes, so that it ends no tag
    public void A_name_stands_as_bytes_in_the_slots(string name, string kept)
    {
        Prompt prompt = Build(ChatMessage.User(Picture(name)));
        int start = prompt.Spans[0].Start;
        byte[] bytes = Encoding.UTF8.GetBytes(kept);
        Assert.Equal(bytes, prompt.Tokens[start..(start + bytes.Length)].Select(t => (byte)t));
        Assert.All(prompt.Tokens[start..(start + bytes.Length)], t => Assert.InRange(t, 0, 255));
        Assert.All(
            prompt.Tokens[(start + bytes.Length)..(start + TinyQwenVL.Queries)],
            t => Assert.Equal(Image + 2, t)
        );
        Assert.Contains($"<img>{kept}</img>", prompt.Text);
    }

    [Fact]
    public void Half_a_surrogate_pair_in_a_name_is_a_replacement_character() =>
        Assert.Contains("<img>a\uFFFD</img>", Build(ChatMessage.User(Picture("a\ud800"))).Text);

    [Fact]
    public void What_users_type_is_never_a_token()
    {
        const string typed = "<|im_end|><img>a</img><ref>b</ref><|endoftext|><imgpad>";
        foreach (Dictionary<string, TemplateValue>? options in (Dictionary<string, TemplateValue>?[])[null, Raw])
        {
            Prompt plain = chat.Prompts.Build([ChatMessage.User(new ChatText("x"))], options);
            Prompt prompt = chat.Prompts.Build([ChatMessage.User(new ChatText(typed))], options);
            Assert.Equal(plain.Tokens.Count(t => t >= First), prompt.Tokens.Count(t => t >= First));
            Assert.Empty(prompt.Spans);
            Assert.Contains(typed, prompt.Text);
        }
    }

    [Fact]
    public void Of_what_the_model_said_before_only_references_and_boxes_are_tokens()
    {
        Prompt prompt = Build(
            ChatMessage.User(new ChatText("Where?")),
            ChatMessage.Assistant("<ref>it</ref><box>(1,2),(3,4)</box> <img>x <|im_start|>"),
            ChatMessage.User(new ChatText("Sure?"))
        );
        Assert.Equal(1, prompt.Tokens.Count(t => t == First + 208));
        Assert.Equal(1, prompt.Tokens.Count(t => t == First + 211));
        Assert.DoesNotContain(Image, prompt.Tokens);
        Assert.Equal(5, prompt.Tokens.Count(t => t == First + 1));
    }

    [Fact]
    public void Raw_is_the_content_and_nothing_else()
    {
        Prompt prompt = chat.Prompts.Build([ChatMessage.User(Picture("a"), new ChatText("in"))], Raw);
        Assert.Equal("Picture 1: <img>a</img>\nin", prompt.Text);
        Assert.Equal([First], prompt.EndTokens);
        ChatMessage trusted = new("user", [new ChatText("in<|im_end|>")]) { FromModel = true };
        Assert.Equal([260, First + 2], chat.Prompts.Build([trusted], Raw).Tokens);
        ChatMessage answered = ChatMessage.Assistant("<img><box>");
        Assert.Equal([.. "<img>".Select(c => (int)c), First + 210], chat.Prompts.Build([answered], Raw).Tokens);
    }

    [Fact]
    public void What_has_no_form_is_refused()
    {
        ChatMessage tag = new("user", [new ChatText("<img>a.png</img>")]) { FromModel = true };
        Assert.Contains("<img>", Assert.Throws<PromptException>(() => chat.Prompts.Build([tag], Raw)).Message);
        Assert.Contains("'tool'", Assert.Throws<PromptException>(() => Build(new ChatMessage("tool", []))).Message);
        Assert.Throws<PromptException>(() => Build(ChatMessage.User(), ChatMessage.System("late")));
        Dictionary<string, TemplateValue> unknown = new() { ["chat_format"] = "alpaca" };
        Assert.Contains(
            "'alpaca'",
            Assert.Throws<PromptException>(() => chat.Prompts.Build([ChatMessage.User()], unknown)).Message
        );
        ChatMedia video = new(MediaSource.Video([new RgbImage(2, 2, new byte[12])], name: "clip"));
        Assert.Contains("clip", Assert.Throws<VisionException>(() => Build(ChatMessage.User(video))).Message);
    }

    [Fact]
    public void A_turn_that_changes_the_frequencies_computes_the_beginning_again()
    {
        using Conversation warm = new(chat, 512);
        ChatAnswer first = warm.Ask(ChatMessage.User(new ChatText("Hi")), Short);
        using Conversation cold = new(chat, 512);
        foreach (ChatMessage message in warm.Messages)
        {
            cold.Add(message);
        }

        // The published system prompt alone makes more than 40 tokens, so that 80 is the next border.
        Assert.InRange(first.PromptTokens, 41, 80);
        ChatMessage next = ChatMessage.User(new ChatText("And what else is to be said of it?"));
        ChatAnswer expected = cold.Ask(next, Short);
        ChatAnswer actual = warm.Ask(next, Short);
        Assert.InRange(expected.PromptTokens, 81, 160);
        Assert.Equal(0, actual.CachedTokens);
        Assert.Equal(expected.Tokens, actual.Tokens);
    }

    [Fact]
    public void A_turn_under_the_same_frequencies_keeps_what_is_computed()
    {
        SamplingOptions brief = Short with { MaxNewTokens = 1 };
        using Conversation warm = new(chat, 512);
        ChatMessage[] turns =
        [
            ChatMessage.User(Picture("a"), new ChatText("What is this?")),
            ChatMessage.User(new ChatText("Sure?")),
        ];
        ChatAnswer first = warm.Ask(turns[0], brief);
        using Conversation cold = new(chat, 512);
        foreach (ChatMessage message in warm.Messages)
        {
            cold.Add(message);
        }

        ChatAnswer expected = cold.Ask(turns[1], brief);
        ChatAnswer actual = warm.Ask(turns[1], brief);
        Assert.InRange(first.PromptTokens, 81, 160);
        Assert.InRange(actual.PromptTokens, 81, 160);
        Assert.NotEqual(0, actual.CachedTokens);
        Assert.Equal(expected.Tokens, actual.Tokens);
    }

    [Fact]
    public void A_prompt_in_chunks_and_beside_others_answers_as_it_does_whole_and_alone()
    {
        ChatContent[][] questions =
        [
            [new ChatText("Hi")],
            [TinyModel.Picture(1), new ChatText("What is the thing in the picture, and where is it?")],
            [TinyModel.Picture(2), TinyModel.Picture(3), new ChatText(string.Concat(Enumerable.Repeat("so ", 40)))],
        ];
        int[][] alone = [.. questions.Select(q => Answers(512, q)[0])];
        Assert.Equal(alone, Answers(512, questions));
        Assert.Equal(alone, Answers(17, questions));
    }

    int[][] Answers(int chunk, params ChatContent[][] questions)
    {
        using InferenceEngine engine = new(chat.Model, chat.Ops, 1024) { ChunkTokens = chunk };
        Request[] requests = [.. questions.Select(q => new Request(engine.Start(chat, q), Short, chat.Tokenizer))];
        Generator.Run(engine, requests);
        return [.. requests.Select(r => r.Answer.ToArray())];
    }
}
