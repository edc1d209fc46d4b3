using System.Runtime.InteropServices;
using System.Text.Json;
using VlmSharp.Chat;
using VlmSharp.Datasets;
using VlmSharp.Formats;
using VlmSharp.Grounding;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Tensors;
using VlmSharp.Testing;
using VlmSharp.Text;
using VlmSharp.Text.Templates;
using VlmSharp.Training;
using VlmSharp.Vision;
using Xunit;

namespace VlmSharp.Tests.Datasets;

/// <summary>The golden cases of fine-tuning formats: what each file means, what is wrong with it, and what models are shown of it.</summary>
public sealed class DataGoldenTests
{
    static readonly string Root = Goldens.Local("data");

    static readonly JsonElement Expected = JsonElement
        .Parse(File.ReadAllBytes(Path.Combine(Root, "expected.json")))
        .GetProperty("files");

    public static readonly TheoryData<string> Files =
    [
        .. Expected.EnumerateObject().Select(file => file.Name).Where(name => Path.HasExtension(name)),
    ];

    [Theory, MemberData(nameof(Files))]
    public void Every_sample_becomes_what_its_format_means_or_is_refused_for_the_stated_reason(string name)
    {
        using ExampleFile file = Open(name);
        Queue<JsonElement> entries = new(Samples(name));
        for (int i = 0; i < file.Samples; i++)
        {
            Example? example = file.TryRead(i, out ExampleFault? wrong);
            int line = entries.TryPeek(out JsonElement next) ? next.GetProperty("line").GetInt32() : -1;
            if (line != (wrong?.Line ?? file.Line(i)))
            {
                Assert.NotNull(example); // among broken samples there are fine ones that are not listed
                continue;
            }

            entries.Dequeue();
            if (next.TryGetProperty("reason", out JsonElement reason))
            {
                Assert.Null(example);
                Assert.Equal((reason.GetString(), line), (wrong!.Reason, wrong.Line));
                string message = Assert.Throws<CheckpointException>(() => file.Read(i)).Message;
                Assert.StartsWith($"{file.Name}:{line}: ", message);
                continue;
            }

            Assert.True(wrong is null, wrong?.Message);
            Assert.Equal($"{file.Name}:{line}", example!.Name);
            Assert.Equal(Shown(next.GetProperty("messages")), Shown(example));
        }

        Assert.Empty(entries);
    }

    [Theory]
    [InlineData("ms-swift/valid.jsonl")]
    [InlineData("ms-swift/broken.jsonl")]
    [InlineData("llava/valid.json")]
    [InlineData("llava/broken.json")]
    [InlineData("qwen/valid.json")]
    [InlineData("qwen/broken.json")]
    [InlineData("qwen/packed.json")]
    [InlineData("openai/valid.jsonl")]
    [InlineData("sharegpt/valid.jsonl")]
    [InlineData("sharegpt/broken.jsonl")]
    public void The_format_is_told_from_the_samples(string name)
    {
        using ExampleFile file = ExampleFile.Open(Path.Combine(Root, name));
        Assert.Equal(Format(name), file.Format);
    }

    [Fact]
    public void Packs_are_kept_apart()
    {
        using ExampleFile file = Open("qwen/packed.json");
        Assert.Equal([0, 0, 1], Enumerable.Range(0, file.Samples).Select(i => file.Pack(i)));
    }

    [Theory]
    [InlineData("qwen-vl", GroundingDialect.QwenVL, BoxStyle.Tags)]
    [InlineData("qwen2-vl legacy", GroundingDialect.Qwen2VL, BoxStyle.Tags)]
    [InlineData("qwen2-vl new", GroundingDialect.Qwen2VL, BoxStyle.Numbers)]
    [InlineData("qwen2.5-vl legacy", GroundingDialect.Qwen25VL, BoxStyle.Tags)]
    [InlineData("qwen2.5-vl new", GroundingDialect.Qwen25VL, BoxStyle.Numbers)]
    [InlineData("qwen3-vl legacy", GroundingDialect.Qwen3VL, BoxStyle.Tags)]
    [InlineData("qwen3-vl new", GroundingDialect.Qwen3VL, BoxStyle.Numbers)]
    public void Boxes_and_references_are_rendered_as_ms_swift_does(string key, GroundingDialect dialect, BoxStyle style)
    {
        using Published model = new(maxPixels: 1003520);
        ExampleChat chat = new(model.Prompts, dialect) { Boxes = style };
        using ExampleFile file = Open("ms-swift/valid.jsonl");
        int compared = 0;
        foreach ((int i, JsonElement entry) in Samples("ms-swift/valid.jsonl").Index())
        {
            if (!entry.TryGetProperty("rendered", out JsonElement rendered))
            {
                continue;
            }

            ChatMessage[] messages = chat.Write(file.Read(i).Messages, medium => new ChatMedia(medium.Open())).Messages;
            Assert.Equal(
                rendered.GetProperty(key).EnumerateArray().Select(text => text.GetString()),
                messages.Select(message =>
                    string.Concat(
                        message.Content.Select(part =>
                            part switch
                            {
                                ChatText text => text.Text,
                                ChatMarkup markup => markup.Text,
                                _ => "<image>",
                            }
                        )
                    )
                )
            );
            compared++;
        }

        Assert.Equal(5, compared);
    }

    [Fact]
    public void Boxes_are_rescaled_as_in_the_notebook_of_qwen()
    {
        foreach (JsonElement row in Expected.GetProperty("qwen/rescale").EnumerateArray())
        {
            int[] resized = Ints(row, "resized");
            PictureFrame frame = new(
                row.GetProperty("width").GetInt32(),
                row.GetProperty("height").GetInt32(),
                resized[0],
                resized[1]
            );
            double[] box = [.. Ints(row, "box").Select(x => (double)x)];
            Assert.Equal(Ints(row, "qwen2-vl"), GroundingWriter.Coordinates(box, GroundingDialect.Qwen2VL, frame));
            Assert.Equal(Ints(row, "qwen2.5-vl"), GroundingWriter.Coordinates(box, GroundingDialect.Qwen25VL, frame));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Learnt_is_what_the_published_fine_tuning_code_should_learn(bool published)
    {
        // With the published tokenizer the places of tokens are compared too; the small one that is always there has the same template.
        using Published model = new(maxPixels: 12544, published);
        using ExampleEncoder encoder = new(model.Prompts, model.Info);
        using ExampleFile file = Open("qwen/valid.json");
        int compared = 0;
        foreach ((int i, JsonElement entry) in Samples("qwen/valid.json").Index())
        {
            if (!entry.TryGetProperty("label_text", out JsonElement learnt))
            {
                continue;
            }

            Sample sample = encoder.Encode(file.Read(i));
            List<(int Start, int End)> runs = Runs(sample);
            Assert.Equal(
                learnt.EnumerateArray().Select(text => text.GetString()),
                runs.Select(run => model.Tokenizer.Decode(sample.Tokens.AsSpan(run.Start, run.End - run.Start)))
            );
            List<int> shown = [];
            foreach ((int at, int token) in sample.Tokens.Index())
            {
                if (token != model.Info.ImageToken || sample.Tokens[at - 1] != token)
                {
                    shown.Add(token);
                }
            }

            Assert.Equal(
                entry.GetProperty("rendered").GetString(),
                model.Tokenizer.Decode(CollectionsMarshal.AsSpan(shown))
            );
            if (published)
            {
                Assert.Equal(entry.GetProperty("token_count").GetInt32(), sample.Tokens.Length);
                (int, int)[] spans =
                [
                    .. entry
                        .GetProperty("official_label_spans")
                        .EnumerateArray()
                        .Select(span => (span[0].GetInt32(), span[1].GetInt32())),
                ];
                Assert.Equal(entry.TryGetProperty("official_label_text", out _) ? spans[1..] : spans, runs);
            }

            compared++;
        }

        Assert.Equal(5, compared);
    }

    static List<(int Start, int End)> Runs(Sample sample)
    {
        List<(int Start, int End)> runs = [];
        for (int i = 0; i < sample.Labels.Length; i++)
        {
            if (sample.Labels[i] == CrossEntropy.Ignored)
            {
                continue;
            }

            Assert.Equal(sample.Tokens[i], sample.Labels[i]);
            if (runs.Count > 0 && runs[^1].End == i)
            {
                runs[^1] = (runs[^1].Start, i + 1);
            }
            else
            {
                runs.Add((i, i + 1));
            }
        }

        return runs;
    }

    static int[] Ints(JsonElement json, string name) =>
        [.. json.GetProperty(name).EnumerateArray().Select(x => x.GetInt32())];

    static ExampleFormat Format(string name) => ExampleFormats.Find(name.Split('/')[0])!.Value;

    static ExampleFile Open(string name) =>
        ExampleFile.Open(Path.Combine(Root, name), new ExampleFileOptions { Format = Format(name), MediaRoot = Root });

    // Samples of packs one by one.
    static IEnumerable<JsonElement> Samples(string name) =>
        Expected
            .GetProperty(name)
            .EnumerateArray()
            .SelectMany(entry =>
                entry.TryGetProperty("pack", out JsonElement pack)
                    ? pack.EnumerateArray()
                        .Select(sample =>
                            JsonElement.Parse(
                                $$"""{"line": {{entry.GetProperty("line")}}, "messages": {{sample.GetProperty("messages")}}}"""
                            )
                        )
                    : [entry]
            );

    static string Shown(JsonElement messages) =>
        string.Join(
            '\n',
            messages
                .EnumerateArray()
                .Select(message =>
                    $"{message.GetProperty("role")} {message.GetProperty("train").GetBoolean()}: "
                    + string.Join(
                        '|',
                        message
                            .GetProperty("content")
                            .EnumerateArray()
                            .Select(part =>
                            {
                                string type = part.GetProperty("type").GetString()!;
                                return type == "box"
                                    ? $"box {string.Join(' ', part.GetProperty("box").EnumerateArray().Select(x => x.GetDouble()))} on {part.GetProperty("image")}"
                                    : $"{type} {part.GetProperty(type).GetString()}";
                            })
                    )
                )
        );

    static string Shown(Example example) =>
        string.Join(
            '\n',
            example.Messages.Select(message =>
                $"{message.Role} {message.Learnt}: "
                + string.Join(
                    '|',
                    message.Content.Select(part =>
                        part switch
                        {
                            TextPart text => $"text {text.Text}",
                            PictureFile picture => $"image {Path.GetRelativePath(Root, picture.Path)}",
                            FilmFile film => $"video {Path.GetRelativePath(Root, film.Path)}",
                            ReferencePart reference => $"ref {reference.Text}",
                            BoxPart box => $"box {string.Join(' ', box.Coordinates)} on {box.Image}",
                            _ => part.ToString(),
                        }
                    )
                )
            )
        );

    /// <summary>Prompts of Qwen2.5-VL with the published tokenizer or a small one; no weights.</summary>
    sealed class Published : IDisposable
    {
        readonly Checkpoint checkpoint;
        readonly Shell model;

        public Published(long maxPixels, bool published = false)
        {
            checkpoint = Checkpoint.Open(Goldens.Local("qwen2.5-vl/checkpoint"));
            ModelInfo tiny = ModelRegistry.Describe(checkpoint);
            Tokenizer = published ? Tokenizer.Load(Goldens.Shared("reference/qwen2.5-vl")) : Tokenizer.Load(checkpoint);
            Info = tiny with
            {
                ImageToken = Id("<|image_pad|>"),
                VideoToken = Id("<|video_pad|>"),
                Processor = new Limited(tiny.Processor, new PixelLimits(3136, maxPixels)),
            };
            model = new Shell(Info);
            string template = published
                ? Goldens.Shared("reference/qwen2.5-vl/chat_template.json")
                : checkpoint.ChatTemplateFile!;
            string source = published
                ? JsonElement.Parse(File.ReadAllBytes(template)).GetProperty("chat_template").GetString()!
                : checkpoint.ChatTemplate!;
            Prompts = new PromptBuilder(ChatTemplate.Parse(source, template), Tokenizer, model);
        }

        public Tokenizer Tokenizer { get; }

        public ModelInfo Info { get; }

        public PromptBuilder Prompts { get; }

        int Id(string token) => Tokenizer.TryGetId(token, out int id) ? id : -1;

        public void Dispose()
        {
            model.Dispose();
            checkpoint.Dispose();
        }
    }

    sealed class Limited(IMediaProcessor processor, PixelLimits own) : IMediaProcessor
    {
        public double SmallestStd => processor.SmallestStd;

        public MediaPlan Plan(MediaShape shape, PixelLimits limits) => processor.Plan(shape, Or(limits));

        public PreparedMedia Prepare(MediaSource source, PixelLimits limits, WorkerPool pool) =>
            processor.Prepare(source, Or(limits), pool);

        public VideoSampling Sampling(int tokens) => processor.Sampling(tokens);

        public PixelLimits VideoLimits(int frames, int tokens) => processor.VideoLimits(frames, tokens);

        PixelLimits Or(PixelLimits limits) => new(limits.MinPixels ?? own.MinPixels, limits.MaxPixels ?? own.MaxPixels);
    }

    sealed class Shell(ModelInfo info) : IVisionLanguageModel
    {
        public ModelInfo Info => info;

        public Tensor Encode(Ops ops, Tensor pixels, ReadOnlySpan<GridThw> grids) => throw new NotSupportedException();

        public int Positions(ReadOnlySpan<MediaSpan> media, Span<int> positions) => throw new NotSupportedException();

        public Tensor Forward(Ops ops, Step step, KvCache cache) => throw new NotSupportedException();

        public void Dispose() { }
    }
}
