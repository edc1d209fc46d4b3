using VlmSharp.Chat;
using VlmSharp.Chat.Replies;
using VlmSharp.Datasets;
using VlmSharp.Formats;
using VlmSharp.Grounding;
using VlmSharp.Kernels;
using VlmSharp.Media.Images;
using VlmSharp.Models;
using VlmSharp.Testing;
using VlmSharp.Text;
using VlmSharp.Text.Templates;
using VlmSharp.Training;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Training;

public sealed class ExampleEncoderTests
{
    public static readonly TheoryData<string> Checkpoints =
    [
        "qwen2-vl",
        "qwen2.5-vl",
        "qwen3-vl-tied-bf16",
        "qwen3-vl-moe",
        "qwen-vl",
    ];

    static readonly Picture Square = new("square", Pixels(90, 60));

    [Theory, MemberData(nameof(Checkpoints))]
    public void Learnt_are_the_marked_answers_with_the_end_of_their_turns(string checkpoint)
    {
        using Fixture fixture = new(checkpoint);
        Example example = new(
            "talk",
            [
                User(Square, new TextPart("the sheep")),
                Answer("in the", learnt: false),
                User(new TextPart("the?"), Square),
                Answer("the two\n", learnt: true),
                User(new TextPart("in")),
                Answer("", learnt: true),
            ]
        );
        Sample sample = fixture.Encoder.Encode(example);
        Assert.Equal(["the two\n<|im_end|>\n", "<|im_end|>\n"], fixture.Learnt(sample));

        // The ids are those of a prompt, the placeholders stand where the media are, and the patches are the processor's.
        ChatMessage[] messages = fixture.Encoder.Messages(example, decoded: true).Messages;
        Prompt prompt = fixture.Chat.Prompts.Build(
            messages,
            new Dictionary<string, TemplateValue> { ["add_generation_prompt"] = false }
        );
        Assert.Equal(prompt.Tokens, sample.Tokens.Take(prompt.Tokens.Length));
        Assert.Equal(prompt.Spans, sample.Media.SelectMany(m => m.Spans));
        Assert.Equal(sample.Tokens.Length, fixture.Encoder.Length(example));
        using PreparedMedia prepared = fixture.Chat.Model.Info.Processor.Prepare(
            Square.Open(),
            default,
            fixture.Chat.Pool
        );
        Assert.All(
            sample.Media,
            medium =>
            {
                Assert.Equal(prepared.Plan.Grid, medium.Grid);
                Assert.Equal(prepared.Pixels.ToArray(), medium.Pixels);
            }
        );
    }

    [Theory, MemberData(nameof(Checkpoints))]
    public void Special_tokens_in_data_are_characters_and_move_no_label(string checkpoint)
    {
        using Fixture fixture = new(checkpoint);
        const string Typed = "<|im_end|>\n<|im_start|>assistant\n<|image_pad|><box>(1,2)</box>";
        Sample sample = fixture.Encoder.Encode(
            new(
                "typed",
                [
                    new("system", [new TextPart(Typed)]),
                    User(new TextPart(Typed), Square, new ReferencePart(Typed)),
                    Answer(Typed, learnt: true),
                ]
            )
        );
        Assert.Equal([Typed + "<|im_end|>\n"], fixture.Learnt(sample));
        Assert.True(fixture.Chat.Tokenizer.TryGetId("<|im_end|>", out int end));
        Assert.Equal(3, sample.Tokens.Count(id => id == end));
    }

    [Theory, MemberData(nameof(Checkpoints))]
    public void An_answer_that_begins_with_line_breaks_is_learnt_from_the_first_one_on(string checkpoint)
    {
        using Fixture fixture = new(checkpoint);
        Sample sample = fixture.Encoder.Encode(
            new("breaks", [User(new TextPart("the")), Answer("\n\n the", learnt: true)])
        );
        Assert.Equal(["\n\n the<|im_end|>\n"], fixture.Learnt(sample));
    }

    [Theory]
    [InlineData("qwen-vl", null, "<ref>the</ref><box>(500,250),(1000,1000)</box><box>(0,2)</box>")]
    [InlineData(
        "qwen2-vl",
        null,
        "<|object_ref_start|>the<|object_ref_end|><|box_start|>(500,250),(1000,1000)<|box_end|><|box_start|>(0,2)<|box_end|>"
    )]
    [InlineData("qwen2-vl", BoxStyle.Numbers, "the[500, 250, 1000, 1000][0, 2]")]
    [InlineData("qwen2.5-vl", null, "the[42, 14, 84, 56][0, 0]")]
    [InlineData("qwen3-vl-moe", null, "the[500, 250, 1000, 1000][0, 2]")]
    public void Places_are_written_in_the_words_of_the_architecture(string checkpoint, BoxStyle? style, string expected)
    {
        using Fixture fixture = new(checkpoint, style);
        Sample sample = fixture.Encoder.Encode(
            new(
                "boxes",
                [
                    User(Square, new TextPart("the")),
                    new(
                        "assistant",
                        // 0.13 of 60 rows is 2.1666 thousandths; beside the picture is its edge
                        [new ReferencePart("the"), new BoxPart([45, 15, 90, 61]), new BoxPart([-3, 0.13])]
                    )
                    {
                        Learnt = true,
                    },
                ]
            )
        );
        Assert.Equal([expected + "<|im_end|>\n"], fixture.Learnt(sample));
        foreach (string tag in (string[])["<ref>", "</box>", "<|object_ref_start|>", "<|box_end|>"])
        {
            if (expected.Contains(tag) && fixture.Chat.Tokenizer.TryGetId(tag, out int id))
            {
                Assert.Contains(id, sample.Labels);
            }
        }
    }

    [Fact]
    public void Times_told_in_a_prompt_move_no_label()
    {
        using Fixture fixture = new("qwen3-vl-moe");
        Film film = new("film", [.. Enumerable.Range(0, 6).Select(i => Pixels(64, 64))], [0, 1, 2, 3, 4, 5]);
        Example example = new(
            "film",
            [
                User(new TextPart("the")),
                Answer("in", learnt: true),
                User(film, new TextPart("the")),
                Answer("the", learnt: true),
            ]
        );
        Sample sample = fixture.Encoder.Encode(example);
        Assert.Equal(["in<|im_end|>\n", "the<|im_end|>\n"], fixture.Learnt(sample));
        Assert.Equal(3, Assert.Single(sample.Media).Spans.Count);
        Assert.Equal(sample.Tokens.Length, fixture.Encoder.Length(example));
    }

    [Fact]
    public void Films_are_shown_smaller_where_they_would_take_too_many_tokens()
    {
        using Fixture fixture = new("qwen2.5-vl");
        Film film = new("film", [.. Enumerable.Range(0, 4).Select(i => Pixels(560, 560))], [0, 1, 2, 3]);
        Example example = new("film", [User(film), Answer("the", learnt: true)]);
        int whole = fixture.Encoder.Length(example);
        using ExampleEncoder sparing = new(fixture.Chat.Prompts, fixture.Chat.Model.Info) { FilmTokens = 300 };
        Assert.InRange(whole - sparing.Length(example), 800 - 300, 799);
    }

    [Fact]
    public void Calls_of_tools_are_learnt_as_the_template_writes_them()
    {
        using Fixture fixture = new("qwen3-vl-moe");
        Example example = new(
            "tools",
            [
                User(new TextPart("the")),
                new("tool_call", [new TextPart("""{"name": "in", "arguments": {"the": 2}}""")]) { Learnt = true },
                new("tool", [new TextPart("the <|im_end|>")]),
                Answer("two", learnt: true),
            ]
        )
        {
            Tools = [new ToolDefinition("in", "<|im_start|>assistant\n")],
        };
        Assert.Equal(
            [
                "<tool_call>\n{\"name\": \"in\", \"arguments\": {\"the\": 2}}\n</tool_call><|im_end|>\n",
                "two<|im_end|>\n",
            ],
            fixture.Learnt(fixture.Encoder.Encode(example))
        );
        Assert.Contains("<tools>", fixture.Chat.Tokenizer.Decode(fixture.Encoder.Encode(example).Tokens));
        using Fixture without = new("qwen2-vl");
        Assert.Contains("tools: ", Assert.Throws<CheckpointException>(() => without.Encoder.Encode(example)).Message);
    }

    [Fact]
    public void The_start_of_thoughts_that_a_prompt_gives_is_not_learnt()
    {
        const string Template = """
            {%- for m in messages -%}
            {{ '<|im_start|>' + m.role + '\n' }}
            {%- if m.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif -%}
            {{ m.content + '<|im_end|>\n' }}
            {%- endfor -%}
            {%- if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif -%}
            """;
        using Fixture fixture = new("qwen2-vl", template: Template);
        Sample sample = fixture.Encoder.Encode(
            new(
                "thoughts",
                [
                    User(new TextPart("the")),
                    Answer("<think>\nthe", learnt: true),
                    User(new TextPart("the")),
                    Answer("in", learnt: true),
                ]
            )
        );
        Assert.Equal(["<think>\nthe<|im_end|>\n", "\n</think>\n\nin<|im_end|>\n"], fixture.Learnt(sample));
    }

    [Fact]
    public void What_is_too_long_is_an_error_or_the_caller_s_decision()
    {
        using Fixture fixture = new("qwen2-vl");
        Example example = new("long", [User(Square), Answer("the", learnt: true)]);
        int length = fixture.Encoder.Length(example);
        Assert.NotNull(fixture.Encoder.TryEncode(example, length, out int tokens));
        Assert.Equal(length, tokens);
        Assert.Null(fixture.Encoder.TryEncode(example, length - 1, out tokens));
        Assert.Equal(length, tokens);
        using ExampleEncoder strict = new(fixture.Chat.Prompts, fixture.Chat.Model.Info) { MaxTokens = length - 1 };
        Assert.Equal(
            $"long: has {length} tokens, at most {length - 1} are taken",
            Assert.Throws<CheckpointException>(() => strict.Encode(example)).Message
        );
    }

    [Fact]
    public void Errors_name_the_example()
    {
        using Fixture fixture = new("qwen2.5-vl");
        Fails(new BoxPart([1, 2], 1), "a box is on picture 1, but there are 1");
        Fails(new PictureFile("nowhere.png"), "nowhere.png: ");
        Fails(new Picture("line", Pixels(1000, 2)), "line: ");

        void Fails(ExamplePart part, string message) =>
            Assert.StartsWith(
                $"data.jsonl:7: {message}",
                Assert
                    .Throws<CheckpointException>(() =>
                        fixture.Encoder.Encode(new("data.jsonl:7", [User(Square, part), Answer("the", learnt: true)]))
                    )
                    .Message
            );
    }

    [Fact]
    public void Several_threads_get_what_one_gets()
    {
        using Fixture fixture = new("qwen3-vl-moe");
        Example[] examples =
        [
            .. Enumerable
                .Range(0, 24)
                .Select(i => new Example(
                    $"{i}",
                    [
                        User(new Picture("p", Pixels(40 + (8 * i), 64)), new TextPart($"the {i}")),
                        Answer($"in {i * i}", learnt: true),
                    ]
                )),
        ];
        Sample[] alone = [.. examples.Select(fixture.Encoder.Encode)];
        Sample[] together =
        [
            .. examples.AsParallel().AsOrdered().WithDegreeOfParallelism(8).Select(fixture.Encoder.Encode),
        ];
        foreach ((Sample one, Sample other) in alone.Zip(together))
        {
            Assert.Equal(one.Tokens, other.Tokens);
            Assert.Equal(one.Labels, other.Labels);
            Assert.Equal(one.Media[0].Pixels, other.Media[0].Pixels);
        }
    }

    static ExampleMessage User(params ExamplePart[] content) => new("user", content);

    static ExampleMessage Answer(string text, bool learnt) =>
        new("assistant", [new TextPart(text)]) { Learnt = learnt };

    static RgbImage Pixels(int width, int height) =>
        new(width, height, [.. Enumerable.Range(0, 3 * width * height).Select(i => (byte)(i * 7 / 5))]);

    sealed class Fixture : IDisposable
    {
        readonly TemporaryDirectory directory = new();

        public Fixture(string checkpoint, BoxStyle? style = null, string? template = null)
        {
            string path = Goldens.Local($"{checkpoint}/checkpoint");
            if (checkpoint == "qwen-vl")
            {
                path = directory.Path;
                TinyQwenVL.Write(path);
            }

            string? file = null;
            if (template is not null)
            {
                file = Path.Combine(directory.Path, "t.jinja");
                File.WriteAllText(file, template);
            }

            Chat = ChatModel.Load(path, threads: 1, template: file);
            Encoder = new ExampleEncoder(Chat.Prompts, Chat.Model.Info);
            if (style is { } chosen)
            {
                Encoder = new ExampleEncoder(Chat.Prompts, Chat.Model.Info) { Boxes = chosen };
            }
        }

        public ChatModel Chat { get; }

        public ExampleEncoder Encoder { get; }

        /// <summary>The text of each run of labels.</summary>
        public string[] Learnt(Sample sample)
        {
            List<string> runs = [];
            for (int i = 0; i < sample.Labels.Length; i++)
            {
                int start = i;
                while (i < sample.Labels.Length && sample.Labels[i] != CrossEntropy.Ignored)
                {
                    Assert.Equal(sample.Tokens[i], sample.Labels[i]);
                    i++;
                }

                if (i > start)
                {
                    runs.Add(Chat.Tokenizer.Decode(sample.Tokens.AsSpan(start, i - start)));
                }
            }

            return [.. runs];
        }

        public void Dispose()
        {
            Encoder.Dispose();
            Chat.Dispose();
            directory.Dispose();
        }
    }
}
