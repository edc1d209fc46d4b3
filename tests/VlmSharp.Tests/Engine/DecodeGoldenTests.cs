using System.Text.Json;
using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Generation;
using VlmSharp.Models;
using VlmSharp.Testing;
using VlmSharp.Tests.Generation;
using VlmSharp.Verification;
using Xunit;

namespace VlmSharp.Tests.Engine;

/// <summary>Whole answers of the tiny model with penalties and bans, and their log-probabilities, as transformers gives them.</summary>
public sealed class DecodeGoldenTests
{
    const double LogProbTolerance = 1e-4; // of logits within 1e-4 of the largest

    [Fact]
    public void Greedy_answers_with_processors_equal_the_reference()
    {
        using Setup setup = new();
        List<string> wrong = [];
        foreach (JsonElement row in setup.Rows("greedy"))
        {
            JsonElement json = row.GetProperty("options");
            SamplingOptions options = SamplingGoldens.Options(json, vllm: false) with
            {
                Temperature = 0,
                Repetition = null,
            };
            int[] expected = Ids(row.GetProperty("answer_ids"));
            int[] actual = setup.Answer(row.GetProperty("request").GetString()!, options).Answer.ToArray();
            if (!actual.SequenceEqual(expected))
            {
                wrong.Add(
                    $"{row.GetProperty("request")} {json}: {string.Join(' ', actual)}, expected {string.Join(' ', expected)}"
                );
            }
        }

        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
    }

    [Fact]
    public void Answers_a_draft_would_have_to_keep_are_the_greedy_ones()
    {
        using Setup setup = new();
        foreach (JsonElement row in setup.Rows("assisted"))
        {
            int[] expected = Ids(row.GetProperty("answer_ids"));
            SamplingOptions options = new() { MaxNewTokens = expected.Length, Repetition = null };
            Assert.Equal(expected, setup.Answer(row.GetProperty("request").GetString()!, options).Answer.ToArray());
        }
    }

    [Fact]
    public void Log_probabilities_equal_the_reference()
    {
        using Setup setup = new();
        foreach (JsonElement row in setup.Rows("logprobs"))
        {
            JsonElement[] steps = [.. row.GetProperty("steps").EnumerateArray()];
            SamplingOptions options = new()
            {
                MaxNewTokens = steps.Length,
                LogProbs = 5,
                Repetition = null,
            };
            Request answer = setup.Answer(row.GetProperty("request").GetString()!, options);
            Assert.Equal(steps.Length, answer.LogProbs.Count);
            for (int i = 0; i < steps.Length; i++)
            {
                AnswerLogProbs ours = answer.LogProbs[i];
                Assert.Equal(steps[i].GetProperty("id").GetInt32(), ours.Chosen.Token);
                Assert.Equal(steps[i].GetProperty("rank").GetInt32(), ours.Rank);
                Assert.Equal(steps[i].GetProperty("logprob").GetDouble(), ours.Chosen.LogProb, LogProbTolerance);
                byte[] bytes = [.. Ids(steps[i].GetProperty("bytes")).Select(b => (byte)b)];
                Assert.Equal(bytes, setup.Chat.Tokenizer.Bytes(ours.Chosen.Token).ToArray());
                foreach (
                    (JsonElement theirs, TokenLogProb top) in steps[i].GetProperty("top").EnumerateArray().Zip(ours.Top)
                )
                {
                    Assert.Equal(theirs[1].GetDouble(), top.LogProb, LogProbTolerance);
                }
            }
        }
    }

    static int[] Ids(JsonElement json) => [.. json.EnumerateArray().Select(e => e.GetInt32())];

    sealed class Setup : IDisposable
    {
        readonly JsonElement decode = JsonDocument
            .Parse(File.ReadAllBytes(Goldens.Shared("golden/sampling/decode.json")))
            .RootElement;
        readonly GoldenCase golden = GoldenCase.Open(Goldens.Shared("golden/qwen2-vl"));
        readonly Dictionary<string, (Prompt Prompt, MediaFeatures[] Features)> prompts = [];
        readonly InferenceEngine engine;

        public Setup()
        {
            Chat = TinyModel.Load(exact: true);
            engine = new InferenceEngine(Chat.Model, Chat.Ops, 1024);
        }

        public ChatModel Chat { get; }

        public JsonElement[] Rows(string name) => [.. decode.GetProperty(name).EnumerateArray()];

        public Request Answer(string id, SamplingOptions options)
        {
            if (!prompts.TryGetValue(id, out var known))
            {
                GoldenCase.Request request = golden.Requests.Single(r => r.Id == id);
                Prompt prompt = Chat.Prompts.Build(request.Messages, request.TemplateOptions);
                known = prompts[id] = (prompt, [.. prompt.Media.Select(m => engine.Look(Chat, m))]);
            }

            using Sequence sequence = engine.CreateSequence();
            sequence.SetPrompt(known.Prompt.Tokens, known.Prompt.Spans, known.Features);
            Request answer = new(sequence, options, Chat.Tokenizer);
            Generator.Run(engine, [answer]);
            return answer;
        }

        public void Dispose()
        {
            engine.Dispose();
            Chat.Dispose();
        }
    }
}
