using System.CommandLine;
using Spectre.Console;
using VlmSharp.Datasets;
using VlmSharp.Engine;
using VlmSharp.Text;
using VlmSharp.Training.Scratch;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm new</c>: a model that nobody has trained yet.</summary>
sealed class NewCommand
{
    const int DefaultExamples = 20_000;
    const int DefaultVocabulary = 1024;

    // Answers that come again and again are words of the language; the others are read from pictures, and spelled.
    const int OftenAnswered = 5;

    readonly Argument<DirectoryInfo> target = new("DIR") { Description = "A directory that does not exist yet." };

    readonly Option<string?> shape = new("--shape")
    {
        Description = $"The sizes: {string.Join(", ", ModelShape.All.Select(s => s.Name))}.",
        HelpName = "NAME",
        Required = true,
    };

    readonly Option<string[]> data = new("--data")
    {
        Description =
            $"What the vocabulary is learnt from, its questions and the answers that are given often: {ExampleSources.Help}; may be repeated.",
        HelpName = "SOURCE",
        Required = true,
    };

    readonly Option<int?> examples = CommonOptions.Number<int>(
        "--examples",
        "N",
        $"Read at most N examples of each source (default: {DefaultExamples})."
    );

    readonly Option<int?> vocabulary = CommonOptions.Number<int>(
        "--vocabulary",
        "N",
        $"Tokens of the vocabulary without special ones, at least the 256 bytes (default: {DefaultVocabulary})."
    );

    readonly Option<int?> minPixels = CommonOptions.Number<int>(
        "--min-pixels",
        "N",
        "Smaller pictures are enlarged (default: 784, one token)."
    );

    readonly Option<int?> maxPixels = CommonOptions.Number<int>(
        "--max-pixels",
        "N",
        "Larger pictures are reduced (default: 200704, 256 tokens)."
    );

    readonly Option<int?> seed = CommonOptions.Number<int>("--seed", "S", "Of the weights (default: 1).");

    public static Command Create() => new NewCommand().Build();

    Command Build()
    {
        Command command = new(
            "new",
            "Write a model that nobody has trained yet: sizes, a vocabulary learnt from data, initial weights."
        );
        command.Arguments.Add(target);
        foreach (Option option in (Option[])[shape, data, examples, vocabulary, minPixels, maxPixels, seed])
        {
            command.Options.Add(option);
        }

        command.SetAction(parsed => Terminal.Guard(() => Run(parsed)));
        return command;
    }

    int Run(ParseResult parsed)
    {
        string name = parsed.GetRequiredValue(shape)!;
        ModelShape sizes =
            ModelShape.All.FirstOrDefault(s => s.Name == name)
            ?? throw new UsageException(
                $"--shape is {name}, expected one of {string.Join(", ", ModelShape.All.Select(s => s.Name))}."
            );
        int tokens = InRange(parsed, vocabulary, 256, 1 << 20, DefaultVocabulary);
        int most = InRange(parsed, examples, 1, 1 << 24, DefaultExamples);
        int least = InRange(parsed, minPixels, 28 * 28, 1 << 24, 28 * 28);
        int largest = InRange(parsed, maxPixels, least, 1 << 24, 256 * 28 * 28);
        string directory = parsed.GetRequiredValue(target).FullName;
        if (Path.Exists(directory))
        {
            throw new UsageException($"{directory} is there already; name a directory that does not exist.");
        }

        using ProgressLine progress = new();
        using ExampleSources sources = new();
        List<string> texts = [];
        foreach (string given in parsed.GetRequiredValue(data))
        {
            IExampleSource source = sources.Open(given);
            long count = Math.Min(most, source.Count ?? most);
            texts.AddRange(
                Texts(source, count, done => progress.Report("Reading", $"{source.Name} {done} of {count}"))
            );
        }

        progress.Report("Learning the vocabulary");
        BytePairs pairs = BytePairTrainer.Train(texts, tokens);
        Directory.CreateDirectory(directory);
        NewCheckpoint.Write(directory, sizes, pairs, (least, largest), parsed.GetValue(seed) ?? 1);
        progress.Clear();
        long weights = sizes
            .WithVocabulary(pairs.Tokens.Count)
            .Tensors()
            .Sum(t => t.Shape.Aggregate(1L, (a, b) => a * b));
        Terminal.Out.WriteLine(
            $"{directory} holds {weights:n0} untrained weights, {pairs.Tokens.Count} tokens, in {MemoryPlan.Size(4 * weights)}"
        );
        return 0;
    }

    static int InRange(ParseResult parsed, Option<int?> option, int min, int max, int otherwise) =>
        parsed.GetValue(option) is not { } value ? otherwise
        : value >= min && value <= max ? value
        : throw new UsageException($"{option.Name} is {value}, expected {min} .. {max}.");

    static IEnumerable<string> Texts(IExampleSource source, long count, Action<long> progress)
    {
        Dictionary<string, int> answers = new(StringComparer.Ordinal);
        for (long i = 0; i < count; i++)
        {
            foreach (ExampleMessage message in source.Read(i).Messages)
            {
                foreach (string text in message.Content.Select(Text).Where(text => text.Length > 0))
                {
                    int times = message.Role == "assistant" ? answers[text] = answers.GetValueOrDefault(text) + 1 : 0;
                    if (times is 0 or > OftenAnswered)
                    {
                        yield return text;
                    }
                }
            }

            if (i % 100 == 0)
            {
                progress(i);
            }
        }
    }

    static string Text(ExamplePart part) =>
        part switch
        {
            TextPart text => text.Text,
            ReferencePart reference => reference.Text,
            _ => "",
        };
}
