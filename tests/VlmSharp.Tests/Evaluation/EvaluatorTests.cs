using System.Text.Json.Nodes;
using VlmSharp.Chat;
using VlmSharp.Datasets;
using VlmSharp.Evaluation;
using VlmSharp.Formats;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Evaluation;

/// <summary>The answers of the small reader that the reference implementation gave.</summary>
public sealed class EvaluatorTests
{
    static readonly string Reader = Goldens.Local("reader-ref");

    [Fact]
    public void Answers_are_those_of_the_reference_whatever_is_asked_together()
    {
        (Example Example, string Answer)[] asked = [.. Requests().Take(40)];
        using ChatModel chat = ChatModel.Load(Path.Combine(Reader, "checkpoint"), threads: 2, exact: true);
        foreach (int together in (int[])[7, 40])
        {
            EvaluationOptions options = new() { Together = together, AnswerTokens = 64 };
            Judgement[] found = [.. new Evaluator(chat, options).Run(asked.Select(a => a.Example))];
            Assert.Equal(asked.Select(a => a.Example.Name), found.Select(j => j.Name));
            Assert.Equal(asked.Select(a => a.Answer), found.Select(j => j.Answer));
        }
    }

    [Fact]
    public void An_example_without_an_answer_is_refused_by_name()
    {
        using ChatModel chat = ChatModel.Load(Path.Combine(Reader, "checkpoint"), threads: 1);
        Example question = new("data.jsonl:7", [new("user", [new TextPart("?")])]);
        CheckpointException e = Assert.Throws<CheckpointException>(() =>
            new Evaluator(chat, new EvaluationOptions()).Run([question]).ToList()
        );
        Assert.Contains("data.jsonl:7", e.Message);
    }

    // Questions with one picture whose answers are clear.
    static IEnumerable<(Example, string)> Requests()
    {
        JsonNode json = JsonNode.Parse(File.ReadAllBytes(Path.Combine(Reader, "case.json")))!;
        foreach (JsonNode? request in json["requests"]!.AsArray())
        {
            JsonArray content = request!["messages"]![0]!["content"]!.AsArray();
            string picture = content
                .Select(part => part!["image"]?.GetValue<string>())
                .First(image => image is not null)!;
            string question = content
                .Select(part => part!["text"]?.GetValue<string>())
                .First(text => text is not null)!;
            Example example = new(
                request["id"]!.GetValue<string>(),
                [
                    new("user", [new PictureFile(Path.Combine(Reader, picture)), new TextPart(question)]),
                    new("assistant", [new TextPart(request["truth"]!.ToString())]),
                ]
            );
            yield return (example, request["answer"]!.GetValue<string>());
        }
    }
}
