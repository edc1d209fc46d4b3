using System.CommandLine;
using System.Diagnostics;
using System.Text.Encodings.Web;
using System.Text.Json;
using Spectre.Console;
using VlmSharp.Chat;
using VlmSharp.Datasets;
using VlmSharp.Evaluation;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm eval</c>: how many questions of a set a model answers as expected.</summary>
sealed class EvalCommand
{
    const int DefaultExamples = 1000;

    static readonly JsonWriterOptions Readable = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    readonly CommonOptions common = new();

    readonly Argument<string> source = new("DATA")
    {
        Description = $"Questions and the answers that are expected, the last turns: {ExampleSources.Help}.",
    };

    readonly Option<int?> examples = CommonOptions.Number<int>(
        "--examples",
        "N",
        $"Ask at most N questions (default: {DefaultExamples})."
    );

    readonly Option<int?> answerTokens = CommonOptions.Number<int>(
        "--max-tokens",
        "N",
        "The most tokens of an answer (default: 256)."
    );

    readonly Option<string?> answers = new("--answers")
    {
        Description = "Write every question's expected and given answer to this file, one JSON object a line.",
        HelpName = "FILE",
    };

    readonly Option<bool> json = new("--json") { Description = "Print the table as JSON." };

    public static Command Create() => new EvalCommand().Build();

    Command Build()
    {
        Command command = new(
            "eval",
            "Ask a model the questions of a set, greedily, and count by task the answers that equal those expected; boxes are found from an overlap of 0.5 on."
        );
        command.Arguments.Add(common.Model);
        command.Arguments.Add(source);
        foreach (
            Option option in (Option[])
                [
                    examples,
                    answerTokens,
                    answers,
                    json,
                    common.Projector,
                    common.Quant,
                    common.Adapter,
                    common.Threads,
                    common.Exact,
                    common.Cache,
                ]
        )
        {
            command.Options.Add(option);
        }

        command.SetAction(parsed => Terminal.Guard(() => Run(parsed)));
        return command;
    }

    int Run(ParseResult parsed)
    {
        EvaluationOptions options = new() { AnswerTokens = parsed.GetValue(answerTokens) ?? 256 };
        if (options.AnswerTokens < 1)
        {
            throw new UsageException($"--max-tokens is {options.AnswerTokens}, expected at least 1.");
        }

        int most = parsed.GetValue(examples) ?? DefaultExamples;
        if (most < 1)
        {
            throw new UsageException($"--examples is {most}, expected at least 1.");
        }

        string? file = CommonOptions.Output(parsed, answers);
        using ExampleSources sources = new();
        IExampleSource asked = sources.Open(parsed.GetRequiredValue(source));
        int count = (int)Math.Min(most, asked.Count ?? most);
        using ProgressLine progress = new();
        using ChatModel chat = common.Load(parsed, progress);
        Stopwatch watch = Stopwatch.StartNew();
        List<Judgement> judgements = [];
        using (FileStream? lines = file is null ? null : File.Create(file))
        {
            IEnumerable<Example> all = Enumerable.Range(0, count).Select(i => asked.Read(i));
            foreach (Judgement judgement in new Evaluator(chat, options).Run(all))
            {
                judgements.Add(judgement);
                progress.Report("Asking", $"{judgements.Count} of {count}, {judgements.Count(j => j.Right)} right");
                if (lines is not null)
                {
                    Write(lines, judgement);
                }
            }
        }

        progress.Clear();
        IReadOnlyList<TaskScore> table = TaskScore.Table(judgements);
        if (parsed.GetValue(json))
        {
            WriteJson(asked.Name, table, watch.Elapsed);
            return 0;
        }

        WriteTable(table);
        Terminal.WriteNote($"{asked.Name}: {count} questions in {watch.Elapsed.TotalSeconds:f1} s");
        return 0;
    }

    static TaskScore All(IReadOnlyList<TaskScore> table) =>
        new(
            "all",
            table.Sum(t => t.Examples),
            table.Sum(t => t.Right),
            table.Sum(t => t.Score * t.Examples) / table.Sum(t => t.Examples)
        );

    static void WriteTable(IReadOnlyList<TaskScore> tasks)
    {
        Table table = new() { Border = TableBorder.None };
        table.AddColumn("task");
        foreach (string column in (string[])["asked", "right", "share", "score"])
        {
            table.AddColumn(new TableColumn(column).RightAligned());
        }

        foreach (TaskScore task in tasks.Append(All(tasks)))
        {
            table.AddRow(
                Markup.Escape(task.Task.Length > 0 ? task.Task : "(none)"),
                $"{task.Examples}",
                $"{task.Right}",
                $"{task.Accuracy:P1}",
                $"{task.Score:f3}"
            );
        }

        Terminal.Out.Write(table);
    }

    static void WriteJson(string name, IReadOnlyList<TaskScore> tasks, TimeSpan elapsed)
    {
        using Stream output = Console.OpenStandardOutput();
        using (Utf8JsonWriter writer = new(output, Readable))
        {
            writer.WriteStartObject();
            writer.WriteString("data", name);
            writer.WriteNumber("seconds", Math.Round(elapsed.TotalSeconds, 2));
            writer.WriteStartArray("tasks");
            foreach (TaskScore task in tasks.Append(All(tasks)))
            {
                writer.WriteStartObject();
                writer.WriteString("task", task.Task);
                writer.WriteNumber("examples", task.Examples);
                writer.WriteNumber("right", task.Right);
                writer.WriteNumber("accuracy", Math.Round(task.Accuracy, 4));
                writer.WriteNumber("score", Math.Round(task.Score, 4));
                writer.WriteEndObject();
            }

            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        output.WriteByte((byte)'\n');
    }

    static void Write(Stream lines, Judgement judgement)
    {
        using (Utf8JsonWriter writer = new(lines, Readable))
        {
            writer.WriteStartObject();
            writer.WriteString("example", judgement.Name);
            writer.WriteString("task", judgement.Task);
            writer.WriteString("expected", judgement.Expected);
            writer.WriteString("answer", judgement.Answer);
            writer.WriteBoolean("right", judgement.Right);
            writer.WriteNumber("score", Math.Round(judgement.Score, 4));
            writer.WriteEndObject();
        }

        lines.WriteByte((byte)'\n');
    }
}
