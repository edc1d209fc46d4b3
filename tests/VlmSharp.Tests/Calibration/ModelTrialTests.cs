using VlmSharp.Calibration;
using VlmSharp.Chat;
using VlmSharp.Conversion;
using VlmSharp.Datasets;
using VlmSharp.Engine;
using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Calibration;

public sealed class ModelTrialTests
{
    static readonly string Reader = Goldens.Local("reader-ref/checkpoint");

    static readonly CalibrationSample Question = ReaderSamples.Picture("t028.png", "Read the text.", "457");
    static readonly CalibrationSample Open = ReaderSamples.Picture("t000.png", "Read the text.");
    static readonly CalibrationSample Words = new("words") { Text = "Read the text. How many circles are red?" };

    [Fact]
    public void Numbers_are_those_of_one_forward_pass_after_the_other()
    {
        using ChatModel chat = ChatModel.Load(Reader, threads: 2, exact: true);
        ModelTrial trial = ModelTrial.Run(chat, [Question, Open, Words], 16);
        (SampleTrial question, SampleTrial open, SampleTrial words) = (
            trial.Samples[0],
            trial.Samples[1],
            trial.Samples[2]
        );
        Assert.Equal("457<|im_end|>", chat.Tokenizer.Decode(question.Scored));
        Assert.Equal("450<|im_end|>", chat.Tokenizer.Decode(question.Answer));
        // Where there is no answer, the model's own one is predicted.
        Assert.Equal("3282<|im_end|>", chat.Tokenizer.Decode(open.Answer));
        Assert.Equal(open.Answer, open.Scored);
        Assert.Equal(open.Answer, open.Best);
        Assert.Empty(words.Answer);

        ChatMessage[] asked = [.. Question.Open(chat)[..^1]];
        Compare(chat, chat.Prompts.Build(asked), question);
        Compare(chat, chat.Prompts.Build(Open.Open(chat)), open);
        List<int> ids = [];
        chat.Tokenizer.Encode(Words.Text, ids);
        Assert.Equal(ids[1..], words.Scored);
        Compare(chat, new Prompt("", [ids[0]], [], []), words);

        double[] all = [.. trial.Samples.SelectMany(sample => sample.LogProbs)];
        Assert.Equal(Math.Exp(-all.Sum() / all.Length), trial.Perplexity, 1e-9);
        Assert.Equal((all.Length, 2), (trial.Tokens, trial.Answers));
        Assert.Equal((1.0, 0.0, 2), (trial.Agreement(trial), trial.Deviation(trial), trial.EqualAnswers(trial)));
    }

    // Each token on its own, behind the prompt and those before it.
    static void Compare(ChatModel chat, Prompt prompt, SampleTrial trial)
    {
        using InferenceEngine engine = new(chat.Model, chat.Ops, 1024);
        MediaFeatures[] features =
        [
            .. prompt.Media.Select(m =>
            {
                using PreparedMedia prepared = chat.Model.Info.Processor.Prepare(m.Source, m.Limits, chat.Pool);
                return engine.Encode(prepared);
            }),
        ];
        for (int i = 0; i < trial.Scored.Length; i++)
        {
            using Sequence sequence = engine.CreateSequence();
            sequence.SetPrompt([.. prompt.Tokens, .. trial.Scored[..i]], prompt.Spans, features);
            while (sequence.Pending > 0)
            {
                engine.Run([sequence]);
            }

            float[] logits = engine.Logits(sequence).ToArray();
            double largest = logits.Max();
            double sum = logits.Sum(logit => Math.Exp(logit - largest));
            Assert.Equal(logits[trial.Scored[i]] - largest - Math.Log(sum), trial.LogProbs[i], 1e-7);
            Assert.Equal(Array.IndexOf(logits, logits.Max()), trial.Best[i]);
        }

        Array.ForEach(features, feature => feature.Dispose());
    }

    [Fact]
    public void Earlier_answers_are_predicted_too_and_long_texts_in_pieces()
    {
        using ChatModel chat = ChatModel.Load(Reader, threads: 2, exact: true);
        CalibrationSample talk = Question with
        {
            Turns =
            [
                .. Question.Turns,
                new("user", [new TextPart("And now?")]),
                new("assistant", [new TextPart("12")]),
            ],
        };
        CalibrationSample text = new("long") { Text = string.Concat(Enumerable.Repeat(Words.Text, 60)) };
        ModelTrial trial = ModelTrial.Run(chat, [talk, text], 0);
        Assert.Equal("457<|im_end|>12<|im_end|>", chat.Tokenizer.Decode(trial.Samples[0].Scored));
        List<int> ids = [];
        chat.Tokenizer.Encode(text.Text, ids);
        Assert.True(ids.Count > 512);
        Assert.Equal(ids.Chunk(512).SelectMany(piece => piece[1..]), trial.Samples[1].Scored);
        Assert.Equal(0, trial.Answers);
    }

    [Fact]
    public void What_cannot_be_predicted_or_does_not_fit_is_refused_by_name()
    {
        using ChatModel chat = ChatModel.Load(Reader, threads: 2, exact: true);
        Assert.Contains("t000.png: and the other samples have no answers", Message([Open], 0));
        Assert.Contains("one: has no two tokens", Message([new CalibrationSample("one") { Text = "a" }], 0));
        Assert.Contains("the model was made for 4096", Message([Open], 5000));
        ModelTrial other = ModelTrial.Run(chat, [Question], 0);
        CheckpointException e = Assert.Throws<CheckpointException>(() => ModelTrial.Run(chat, [Words], 0, other));
        Assert.Contains("becomes other tokens", e.Message);

        string Message(CalibrationSample[] samples, int answers) =>
            Assert.Throws<CheckpointException>(() => ModelTrial.Run(chat, samples, answers)).Message;
    }

    [Fact]
    public void A_calibrated_model_is_written_measured_and_can_be_written_again_from_the_importance()
    {
        using TemporaryDirectory directory = new();
        string[] lines =
        [
            ReaderSamples.Line("t028.png", "Read the text.", "450"),
            ReaderSamples.Line("t000.png", "Read the text.", "43648"),
            """{"text": "How many circles are red?"}""",
        ];
        string data = directory.Write("data.jsonl", string.Join('\n', lines));
        GgufExportOptions types = new(Recipe.Find("q4_0")!);
        CalibrationOptions options = new(types, 16, directory["importance.gguf"], Measured: null);
        HashSet<string> steps = [];
        CalibrationReport report = CalibratedExport.Write(
            Reader,
            null,
            directory["model.gguf"],
            data,
            options,
            threads: 2,
            (step, _) => steps.Add(step)
        );
        Assert.Contains("Calibrating", steps);
        Assert.Equal(
            ["data.jsonl", "importance.gguf", "mmproj-model.gguf", "model.gguf"],
            Directory.GetFileSystemEntries(directory.Path).Select(Path.GetFileName).Order(StringComparer.Ordinal)
        );

        using (Checkpoint checkpoint = Checkpoint.Open(Reader))
        using (WorkerPool pool = new(2))
        {
            Importance importance = Importance.Open(directory["importance.gguf"]);
            GgufExport.Write(checkpoint, directory["again.gguf"], types with { Importance = importance }, pool);
            GgufExport.Write(checkpoint, directory["plain.gguf"], types, pool);
        }

        byte[] written = File.ReadAllBytes(directory["model.gguf"]);
        Assert.Equal(written.Length, File.ReadAllBytes(directory["again.gguf"]).Length);
        IReadOnlyList<CalibrationSample> samples = CalibrationData.Read(data);
        ModelTrial original = Run(Reader, null);
        ModelTrial plain = Run(directory["plain.gguf"], original);
        ModelTrial calibrated = Run(directory["again.gguf"], original);
        Assert.Equal((3, original.Tokens, 2), (report.Samples, report.Tokens, report.Answers));
        Assert.Equal(3, report.Models.Count);
        Expect(report.Models[0], "unquantised", false, original);
        Expect(report.Models[1], "q4_0", false, plain);
        Expect(report.Models[2], "q4_0", true, calibrated);
        Assert.NotEqual(plain.Perplexity, calibrated.Perplexity);
        Assert.True(report.Models[0].Bytes > 3 * report.Models[2].Bytes);

        ModelTrial Run(string path, ModelTrial? reference)
        {
            string? projector = reference is null ? null : GgufExport.ProjectorOf(path);
            using ChatModel chat = ChatModel.Load(path, threads: 1, exact: true, projector: projector);
            return ModelTrial.Run(chat, samples, 16, reference);
        }

        void Expect(ModelQuality quality, string weights, bool calibrated, ModelTrial trial)
        {
            Assert.Equal((weights, calibrated), (quality.Weights, quality.Calibrated));
            Assert.Equal(trial.Perplexity, quality.Perplexity);
            double[] ours = [.. original.Samples.SelectMany(sample => sample.LogProbs)];
            double[] theirs = [.. trial.Samples.SelectMany(sample => sample.LogProbs)];
            double mean = ours.Zip(theirs, (a, b) => (a - b) * (a - b)).Sum() / ours.Length;
            Assert.Equal(Math.Sqrt(mean), quality.Deviation, 1e-12);
            int[] best = [.. original.Samples.SelectMany(sample => sample.Best)];
            int same = best.Zip(trial.Samples.SelectMany(sample => sample.Best))
                .Count(pair => pair.First == pair.Second);
            Assert.Equal((double)same / best.Length, quality.Agreement);
            int answers = samples
                .Index()
                .Count(s =>
                    s.Item.HasAnswer && original.Samples[s.Index].Answer.SequenceEqual(trial.Samples[s.Index].Answer)
                );
            Assert.Equal(answers, quality.EqualAnswers);
        }
    }

    [Fact]
    public void What_cannot_be_written_is_refused_before_the_model_runs()
    {
        using TemporaryDirectory directory = new();
        string data = directory.Write("data.jsonl", """{"text": "How many?"}""");
        File.WriteAllText(directory["there.gguf"], "");
        IOException e = Assert.Throws<IOException>(() =>
            CalibratedExport.Write(
                Reader,
                null,
                directory["there.gguf"],
                data,
                new(new(Recipe.Find("q8_0")!)),
                1,
                (step, _) => Assert.Fail(step)
            )
        );
        Assert.Contains("is there already", e.Message);
    }
}
