using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Kernels;
using VlmSharp.Media.Images;
using VlmSharp.Models;
using VlmSharp.Testing;

namespace VlmSharp.Tests.Engine;

/// <summary>The tiny models of the goldens, and pictures to show them.</summary>
static class TinyModel
{
    /// <summary>One of each architecture; "qwen-vl", the first, is made where it is needed.</summary>
    public static readonly string[] Names =
    [
        "qwen-vl",
        "qwen2-vl",
        "qwen2-vl-tied-bf16",
        "qwen2.5-vl",
        "qwen3-vl-tied-bf16",
        "qwen3-vl-moe",
    ];

    public static ChatModel Load(int threads = 2, string name = "qwen2-vl", bool exact = false, KvStorage? cache = null)
    {
        if (name != "qwen-vl")
        {
            return ChatModel.Load(Goldens.Local($"{name}/checkpoint"), threads, exact: exact, cache: cache);
        }

        using TemporaryDirectory directory = new();
        TinyQwenVL.Write(directory.Path);
        return ChatModel.Load(directory.Path, threads, exact: exact, cache: cache);
    }

    /// <summary>A video of noise; a picture for the architecture that takes no videos.</summary>
    public static ChatMedia Shown(ChatModel chat, int seed, int frames, int width = 64, int height = 64) =>
        chat.Model.Info.VideoToken < 0 ? Picture(seed, width, height) : Video(seed, frames, width, height);

    /// <summary>A picture of noise, the same for the same seed.</summary>
    public static ChatMedia Picture(int seed, int width = 84, int height = 56)
    {
        byte[] pixels = new byte[width * height * 3];
        new Random(seed).NextBytes(pixels);
        return new ChatMedia(MediaSource.Image(new RgbImage(width, height, pixels), $"noise {seed}"));
    }

    /// <summary>Frames of noise, two a second.</summary>
    public static ChatMedia Video(int seed, int frames, int width = 64, int height = 64)
    {
        Random random = new(seed);
        RgbImage[] images = new RgbImage[frames];
        for (int i = 0; i < frames; i++)
        {
            byte[] pixels = new byte[width * height * 3];
            random.NextBytes(pixels);
            images[i] = new RgbImage(width, height, pixels);
        }

        return new ChatMedia(MediaSource.Video(images, 2, $"noise {seed}"));
    }

    /// <summary>A sequence that holds a prompt; its media are encoded first.</summary>
    public static Sequence Start(this InferenceEngine engine, ChatModel chat, params ChatContent[] content)
    {
        Prompt prompt = chat.Prompts.Build([ChatMessage.User(content)]);
        Sequence sequence = engine.CreateSequence();
        sequence.SetPrompt(prompt.Tokens, prompt.Spans, [.. prompt.Media.Select(m => engine.Look(chat, m))]);
        return sequence;
    }

    public static MediaFeatures Look(this InferenceEngine engine, ChatModel chat, ChatMedia media)
    {
        using PreparedMedia prepared = chat.Model.Info.Processor.Prepare(media.Source, media.Limits, chat.Pool);
        return engine.Encode(prepared);
    }

    /// <summary>Runs steps until the sequence has logits, and returns them.</summary>
    public static float[] Compute(this InferenceEngine engine, params Sequence[] sequences)
    {
        do
        {
            engine.Run(sequences);
        } while (sequences.Any(s => s.Pending > 0));

        return engine.Logits(sequences[0]).ToArray();
    }

    /// <summary>Greedy tokens.</summary>
    public static List<int> Decode(this InferenceEngine engine, Sequence sequence, int count)
    {
        List<int> tokens = [];
        for (int i = 0; i < count; i++)
        {
            float[] logits = engine.Compute(sequence);
            tokens.Add(Array.IndexOf(logits, logits.Max()));
            sequence.Append(tokens[^1]);
        }

        return tokens;
    }
}
