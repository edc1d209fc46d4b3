using System.CommandLine;
using VlmSharp.Chat;
using VlmSharp.Generation;
using VlmSharp.Media.Images;
using VlmSharp.Models;
using VlmSharp.Text.Templates;

namespace VlmSharp.Cli.Commands;

/// <summary>Arguments and options that several commands share.</summary>
sealed class CommonOptions
{
    public Argument<DirectoryInfo> Model { get; } =
        new("MODEL") { Description = "A checkpoint directory in Hugging Face layout." };

    public Option<int?> Threads { get; } =
        new("--threads")
        {
            Description = "Threads to compute on.",
            HelpName = "N",
            DefaultValueFactory = _ => null,
        };

    public Option<string?> System { get; } = new("--system") { Description = "A system prompt.", HelpName = "TEXT" };

    public Option<int?> MaxTokens { get; } =
        new("--max-tokens")
        {
            Description = "Longest answer in tokens (default: the checkpoint's, or 1024).",
            HelpName = "N",
        };

    public Option<double?> Temperature { get; } =
        new("--temperature")
        {
            Description = "0 always takes the likeliest token (default: the checkpoint's).",
            HelpName = "T",
        };

    public Option<int?> TopK { get; } =
        new("--top-k") { Description = "Choose among the k likeliest tokens; 0 is off.", HelpName = "K" };

    public Option<double?> TopP { get; } =
        new("--top-p")
        {
            Description = "Choose among the likeliest tokens that sum up to this probability.",
            HelpName = "P",
        };

    public Option<double?> MinP { get; } =
        new("--min-p")
        {
            Description = "Drop tokens below this share of the likeliest one's probability.",
            HelpName = "P",
        };

    public Option<double?> RepetitionPenalty { get; } =
        new("--repetition-penalty")
        {
            Description = "Above 1: tokens of prompt and answer become less likely.",
            HelpName = "X",
        };

    public Option<double?> PresencePenalty { get; } =
        new("--presence-penalty")
        {
            Description = "Subtracted once from the logits of tokens in the answer.",
            HelpName = "X",
        };

    public Option<double?> FrequencyPenalty { get; } =
        new("--frequency-penalty")
        {
            Description = "Subtracted for each time a token stands in the answer.",
            HelpName = "X",
        };

    public Option<ulong?> Seed { get; } =
        new("--seed") { Description = "Makes random choices repeatable.", HelpName = "N" };

    public Option<string[]> Stop { get; } =
        new("--stop") { Description = "Ends the answer before this text; may be repeated.", HelpName = "TEXT" };

    public Option<long?> MinPixels { get; } =
        new("--min-pixels") { Description = "Enlarge smaller pictures to this many pixels.", HelpName = "N" };

    public Option<long?> MaxPixels { get; } =
        new("--max-pixels")
        {
            Description = "Shrink larger pictures to this many pixels (a token is 28x28).",
            HelpName = "N",
        };

    public Option<int?> Context { get; } =
        new("--context") { Description = "Tokens of the whole conversation at most.", HelpName = "N" };

    public void AddModelTo(Command command)
    {
        command.Arguments.Add(Model);
        command.Options.Add(Threads);
    }

    public void AddGenerationTo(Command command)
    {
        foreach (
            Option option in (Option[])
                [
                    System,
                    MaxTokens,
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
        return min <= 0 || max <= 0
            ? throw new UsageException("--min-pixels and --max-pixels must be positive.")
            : new PixelLimits(min, max);
    }

    /// <summary>The checkpoint's sampling with what the command line changes of it.</summary>
    public SamplingOptions Sampling(ParseResult parsed, ChatModel chat, int? logProbs = null)
    {
        SamplingOptions defaults = chat.DefaultSampling;
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
                StopStrings = parsed.GetValue(Stop) ?? [],
                MaxNewTokens = parsed.GetValue(MaxTokens) ?? defaults.MaxNewTokens ?? 1024,
                LogProbs = logProbs,
            };
        }
        catch (ArgumentException e)
        {
            throw new UsageException(e.Message);
        }
    }

    /// <summary>Loads a model, with a line of progress.</summary>
    public ChatModel Load(ParseResult parsed, ProgressLine progress)
    {
        int? threads = parsed.GetValue(Threads);
        if (threads is < 1 or > 1024)
        {
            throw new UsageException($"--threads is {threads}, expected 1 .. 1024.");
        }

        DirectoryInfo directory = parsed.GetRequiredValue(Model);
        ChatModel chat = ChatModel.Load(
            directory.FullName,
            threads,
            new Progress(share => progress.Report($"Loading {directory.Name}", $"{share:P0}"))
        );
        progress.Clear();
        return chat;
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

    public static ChatMedia Picture(string path, PixelLimits limits) =>
        new(MediaSource.Image(ImageDecoder.DecodeFile(path), path), limits);

    /// <summary>A directory of frames or an animated file.</summary>
    public static ChatMedia Video(string path, PixelLimits limits)
    {
        if (Directory.Exists(path))
        {
            return new ChatMedia(MediaSource.Video(ImageDecoder.DecodeFrameDirectory(path), name: path), limits);
        }

        AnimatedImage animation = ImageDecoder.DecodeFrames(File.ReadAllBytes(path), path);
        double seconds = animation.Delays.Sum(d => d.TotalSeconds);
        double? rate = seconds > 0 ? animation.Frames.Count / seconds : null;
        return new ChatMedia(MediaSource.Video(animation.Frames, rate, path), limits);
    }

    sealed class Progress(Action<double> report) : IProgress<double>
    {
        public void Report(double value) => report(value);
    }
}
