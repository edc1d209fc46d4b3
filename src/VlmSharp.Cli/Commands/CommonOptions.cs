using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Numerics;
using System.Text.Json;
using VlmSharp.Chat;
using VlmSharp.Chat.Replies;
using VlmSharp.Formats.Gguf;
using VlmSharp.Generation;
using VlmSharp.Kernels;
using VlmSharp.Media.Images;
using VlmSharp.Models;
using VlmSharp.Tensors;
using VlmSharp.Text.Templates;

namespace VlmSharp.Cli.Commands;

/// <summary>Arguments and options that several commands share.</summary>
sealed class CommonOptions
{
    public Argument<FileSystemInfo> Model { get; } =
        new("MODEL")
        {
            Description =
                "A checkpoint directory in Hugging Face layout, or the language model of a pair of GGUF files.",
            CustomParser = ModelPath,
        };

    public Option<FileInfo?> Projector { get; } =
        new("--mmproj")
        {
            Description = "The vision part of a pair of GGUF files (default: the only mmproj*.gguf beside MODEL).",
            HelpName = "FILE",
        };

    public Option<string?> Quant { get; } =
        new("--quant")
        {
            Description =
                $"Pack the language model's weights while it is loaded: {string.Join(", ", Recipe.All.Where(r => r.IsQuantised))} (default: as they are stored; vlm quantize does it once for all).",
            HelpName = "TYPE",
        };

    public Option<string[]> Adapter { get; } =
        new("--adapter")
        {
            Description = "Merge a LoRA adapter into the weights while they are loaded; may be repeated.",
            HelpName = "DIR",
        };

    public Option<int?> Threads { get; } =
        Number<int>("--threads", "N", "Threads to compute on (default: one for each processor).");

    public Option<bool> Exact { get; } =
        new("--exact")
        {
            Description =
                "Keep activations in f32; else those that meet bf16 weights, and those of attention, are rounded to bf16 where that is faster.",
        };

    public Option<KvStorage?> Cache { get; } =
        new("--kv-cache")
        {
            Description =
                "How keys and values of earlier tokens are stored: f32, bf16 or q8, a byte each (default: bf16, with --exact f32).",
            HelpName = "TYPE",
            CustomParser = CacheStorage,
        };

    public Option<string?> System { get; } = new("--system") { Description = "A system prompt.", HelpName = "TEXT" };

    public Option<int?> MaxTokens { get; } =
        Number<int>("--max-tokens", "N", "Longest answer in tokens (default: the checkpoint's, or 1024).");

    public Option<int?> ThinkBudget { get; } =
        Number<int>("--think-budget", "N", "End thoughts after N tokens; 0 is no thoughts (default: no limit).");

    public Option<bool> HideThinking { get; } = new("--hide-thinking") { Description = "Do not show thoughts." };

    public Option<double?> Temperature { get; } =
        Number<double>("--temperature", "T", "0 always takes the likeliest token (default: the checkpoint's).");

    public Option<int?> TopK { get; } =
        Number<int>("--top-k", "K", "Choose among the k likeliest tokens; 0 is off (default: the checkpoint's).");

    public Option<double?> TopP { get; } =
        Number<double>(
            "--top-p",
            "P",
            "Choose among the likeliest tokens that sum up to this probability (default: the checkpoint's)."
        );

    public Option<double?> MinP { get; } =
        Number<double>(
            "--min-p",
            "P",
            "Drop tokens below this share of the likeliest one's probability (default: the checkpoint's)."
        );

    public Option<double?> RepetitionPenalty { get; } =
        Number<double>(
            "--repetition-penalty",
            "X",
            "Above 1: tokens of prompt and answer become less likely (default: the checkpoint's)."
        );

    public Option<double?> PresencePenalty { get; } =
        Number<double>(
            "--presence-penalty",
            "X",
            "Subtracted once from the logits of tokens in the answer (default: 0)."
        );

    public Option<double?> FrequencyPenalty { get; } =
        Number<double>(
            "--frequency-penalty",
            "X",
            "Subtracted for each time a token stands in the answer (default: 0)."
        );

    public Option<ulong?> Seed { get; } = Number<ulong>("--seed", "N", "Makes random choices repeatable.");

    public Option<string[]> Stop { get; } =
        new("--stop") { Description = "Ends the answer before this text; may be repeated.", HelpName = "TEXT" };

    public Option<long?> MinPixels { get; } =
        Number<long>("--min-pixels", "N", "Enlarge smaller pictures to this many pixels (default: the checkpoint's).");

    public Option<long?> MaxPixels { get; } =
        Number<long>("--max-pixels", "N", "Shrink larger pictures to this many pixels (default: the checkpoint's).");

    public Option<int?> Context { get; } =
        Number<int>(
            "--context",
            "N",
            "Tokens of the whole conversation at most (default: what the model was made for, 32768 at most)."
        );

    public void AddModelTo(Command command)
    {
        command.Arguments.Add(Model);
        command.Options.Add(Projector);
        command.Options.Add(Quant);
        command.Options.Add(Threads);
    }

    public void AddGenerationTo(Command command)
    {
        foreach (
            Option option in (Option[])
                [
                    Adapter,
                    Exact,
                    Cache,
                    System,
                    MaxTokens,
                    ThinkBudget,
                    HideThinking,
                    Temperature,
                    TopK,
                    TopP,
                    MinP,
                    RepetitionPenalty,
                    PresencePenalty,
                    FrequencyPenalty,
                    Seed,
                    Stop,
                    MinPixels,
                    MaxPixels,
                    Context,
                ]
        )
        {
            command.Options.Add(option);
        }
    }

    public PixelLimits Limits(ParseResult parsed)
    {
        (long? min, long? max) = (parsed.GetValue(MinPixels), parsed.GetValue(MaxPixels));
        return min <= 0 ? throw new UsageException($"--min-pixels is {min}, expected at least 1.")
            : max <= 0 ? throw new UsageException($"--max-pixels is {max}, expected at least 1.")
            : min > max ? throw new UsageException($"--min-pixels is {min}, more than --max-pixels, {max}.")
            : new PixelLimits(min, max);
    }

    /// <summary>The checkpoint's sampling with what the command line changes of it.</summary>
    public SamplingOptions Sampling(ParseResult parsed, ChatModel chat, int? logProbs = null)
    {
        SamplingOptions defaults = chat.DefaultSampling;
        string[] stop = parsed.GetValue(Stop) ?? [];
        if (stop.Contains(""))
        {
            throw new UsageException("--stop is empty, expected at least one character.");
        }

        if (logProbs > chat.Model.Info.Vocabulary)
        {
            throw new UsageException(
                $"--logprobs is {logProbs}, but the vocabulary has only {chat.Model.Info.Vocabulary} tokens."
            );
        }

        try
        {
            return defaults with
            {
                Temperature = parsed.GetValue(Temperature) ?? defaults.Temperature,
                TopK = parsed.GetValue(TopK) ?? defaults.TopK,
                TopP = parsed.GetValue(TopP) ?? defaults.TopP,
                MinP = parsed.GetValue(MinP) ?? defaults.MinP,
                RepetitionPenalty = parsed.GetValue(RepetitionPenalty) ?? defaults.RepetitionPenalty,
                PresencePenalty = parsed.GetValue(PresencePenalty) ?? 0,
                FrequencyPenalty = parsed.GetValue(FrequencyPenalty) ?? 0,
                Seed = parsed.GetValue(Seed),
                StopStrings = stop,
                MaxNewTokens = parsed.GetValue(MaxTokens) ?? defaults.MaxNewTokens ?? 1024,
                ThinkingBudget = parsed.GetValue(ThinkBudget),
                LogProbs = logProbs,
            };
        }
        catch (ArgumentException e)
        {
            // "TopK is -1; it must be ...": people gave that value under another name.
            string problem = e.ParamName is { } property
                ? e.Message.Replace($" (Parameter '{property}')", "").Replace(property, Flag(property))
                : e.Message;
            throw new UsageException(problem);
        }
    }

    static string Flag(string property) =>
        property switch
        {
            nameof(SamplingOptions.Temperature) => "--temperature",
            nameof(SamplingOptions.TopK) => "--top-k",
            nameof(SamplingOptions.TopP) => "--top-p",
            nameof(SamplingOptions.MinP) => "--min-p",
            nameof(SamplingOptions.RepetitionPenalty) => "--repetition-penalty",
            nameof(SamplingOptions.PresencePenalty) => "--presence-penalty",
            nameof(SamplingOptions.FrequencyPenalty) => "--frequency-penalty",
            nameof(SamplingOptions.MaxNewTokens) => "--max-tokens",
            nameof(SamplingOptions.ThinkingBudget) => "--think-budget",
            nameof(SamplingOptions.LogProbs) => "--logprobs",
            _ => property,
        };

    /// <summary>A storage's name on the command line.</summary>
    public static string Name(KvStorage storage) => storage.ToString().ToLowerInvariant();

    static KvStorage? CacheStorage(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        foreach (KvStorage storage in Enum.GetValues<KvStorage>())
        {
            if (text == Name(storage))
            {
                return storage;
            }
        }

        result.AddError(
            $"--kv-cache is {text}, expected {string.Join(", ", Enum.GetValues<KvStorage>().Select(Name))}."
        );
        return null;
    }

    /// <summary>Operations as the command line wants them.</summary>
    public CpuOps Operations(ParseResult parsed, WorkerPool pool)
    {
        bool exact = parsed.GetValue(Exact);
        KvStorage cache = parsed.GetValue(Cache) ?? CpuOps.DefaultCacheStorage(!exact);
        return new CpuOps(pool) { MayRound = !exact, CacheStorage = cache };
    }

    /// <summary>The threads the user wants; null for as many as there are processors.</summary>
    public int? ThreadCount(ParseResult parsed) =>
        parsed.GetValue(Threads) is var given && given is < 1 or > 1024
            ? throw new UsageException($"--threads is {given}, expected 1 .. 1024.")
            : given;

    /// <summary>Loads a model, with a line of progress.</summary>
    public ChatModel Load(ParseResult parsed, ProgressLine progress) =>
        Load(parsed, parsed.GetRequiredValue(Model), progress);

    /// <summary>Loads a model from where it lies, with a line of progress.</summary>
    public ChatModel Load(ParseResult parsed, FileSystemInfo model, ProgressLine progress)
    {
        int? threads = ThreadCount(parsed);
        ChatModel chat = ChatModel.Load(
            model.FullName,
            threads,
            new Progress(share => progress.Report($"Loading {model.Name}", $"{share:P0}")),
            projector: parsed.GetValue(Projector)?.FullName,
            exact: parsed.GetValue(Exact),
            cache: parsed.GetValue(Cache),
            packing: Packing(parsed),
            adapters: parsed.GetValue(Adapter)
        );
        progress.Clear();
        return chat;
    }

    /// <summary>What to pack weights to while they are loaded; null where the user says nothing.</summary>
    public Recipe? Packing(ParseResult parsed)
    {
        string? name = parsed.GetValue(Quant);
        return name is null ? null
            : Recipe.Find(name) is { IsQuantised: true } recipe ? recipe
            : throw new UsageException(
                $"--quant is {name}, expected one of {string.Join(", ", Recipe.All.Where(r => r.IsQuantised))}."
            );
    }

    /// <summary>Tokens of context: what the user says, else what the model was made for, within reason.</summary>
    public int ContextTokens(ParseResult parsed, ChatModel chat)
    {
        int most = chat.Model.Info.MaxPositions;
        int? given = parsed.GetValue(Context);
        return given is < 2 || given > most
            ? throw new UsageException($"--context is {given}, expected 2 .. {most} (max_position_embeddings).")
            : given ?? Math.Min(most, 32768);
    }

    /// <summary>The password option of the commands that open documents.</summary>
    public static Option<string?> Password() =>
        new("--password")
        {
            Description = "Of an encrypted PDF; other users of this machine may see it in the list of processes.",
            HelpName = "TEXT",
        };

    /// <summary>A file to write. That it cannot be there should not be found out after hours of answers.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="option">The option that names it.</param>
    /// <param name="inputs">Files that are read; they are not overwritten.</param>
    public static string? Output(ParseResult parsed, Option<string?> option, params IEnumerable<string> inputs)
    {
        if (parsed.GetValue(option) is not { } path)
        {
            return null;
        }

        string problem =
            path.Length == 0 ? "empty, expected a file to write"
            : global::System.IO.Directory.Exists(path) ? $"{path}, a directory, expected a file to write"
            : !global::System.IO.Directory.Exists(Path.GetDirectoryName(Path.GetFullPath(path)))
                ? $"{path}, whose directory does not exist"
            : inputs.Any(input => input.Length > 0 && Path.GetFullPath(input) == Path.GetFullPath(path))
                ? $"{path}, which is read; writing there would destroy it"
            : "";
        return problem.Length == 0 ? path : throw new UsageException($"{option.Name} is {problem}.");
    }

    public static ChatMedia Picture(string path, PixelLimits limits) =>
        new(MediaSource.Image(ImageDecoder.DecodeFile(PictureFile(path)), path), limits);

    /// <summary>Refuses an empty name, which no file has.</summary>
    public static string Named(string path) =>
        path.Length > 0 ? path : throw new UsageException("The name of a file is empty.");

    /// <summary>Refuses a directory, of which the system only says that access is denied.</summary>
    public static string PictureFile(string path) =>
        global::System.IO.Directory.Exists(Named(path))
            ? throw new UsageException(
                $"{path} is a directory, expected a picture; --video takes directories of frames."
            )
            : path;

    /// <summary>Reads a file of tools.</summary>
    public static ToolDefinition[] Tools(string path)
    {
        try
        {
            JsonElement all = JsonElement.Parse(File.ReadAllBytes(Named(path)));
            return all.ValueKind == JsonValueKind.Array
                ? [.. all.EnumerateArray().Select(ToolDefinition.Parse)]
                : throw new UsageException($"{path} holds no list, expected a JSON list of tools.");
        }
        catch (Exception e) when (e is JsonException or FormatException)
        {
            throw new UsageException($"{path}: {e.Message}");
        }
    }

    /// <summary>Reads what names a model: a directory or a file.</summary>
    public static FileSystemInfo? ModelPath(ArgumentResult result)
    {
        if (result.Tokens[0].Value is { Length: > 0 } path)
        {
            return File.Exists(path) ? new FileInfo(path) : new DirectoryInfo(path);
        }

        result.AddError("MODEL is empty, expected a directory or a .gguf file.");
        return null;
    }

    /// <summary>An argument that names a directory.</summary>
    public static Argument<DirectoryInfo> Directory(string name, string description) =>
        new(name)
        {
            Description = description,
            CustomParser = result =>
            {
                if (result.Tokens[0].Value is { Length: > 0 } path)
                {
                    return new DirectoryInfo(path);
                }

                result.AddError($"{name} is empty, expected a directory.");
                return null;
            },
        };

    /// <summary>An option for a number, in the notation of programs whatever the language of the system.</summary>
    public static Option<T?> Number<T>(string name, string helpName, string description)
        where T : struct, INumber<T> =>
        new(name)
        {
            Description = description,
            HelpName = helpName,
            CustomParser = result =>
            {
                string text = result.Tokens[^1].Value;
                if (T.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out T number))
                {
                    return number;
                }

                string kind =
                    typeof(T) == typeof(double) ? "a number"
                    : typeof(T) == typeof(ulong) ? "a whole number from 0"
                    : "a whole number";
                result.AddError($"{name} is '{text}', expected {kind}.");
                return null;
            },
        };

    /// <summary>Reports on the thread that makes progress.</summary>
    internal sealed class Progress(Action<double> report) : IProgress<double>
    {
        public void Report(double value) => report(value);
    }
}
