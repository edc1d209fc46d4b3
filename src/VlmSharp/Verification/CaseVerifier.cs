using VlmSharp.Chat;
using VlmSharp.Engine;
using VlmSharp.Formats;
using VlmSharp.Generation;
using VlmSharp.Kernels;
using VlmSharp.Models;
using VlmSharp.Tensors;
using VlmSharp.Vision;

namespace VlmSharp.Verification;

/// <summary>Runs a golden case: stage by stage on the reference's inputs, then the whole pipeline on its own.</summary>
public sealed class CaseVerifier : IDisposable
{
    /// <summary>Preprocessed pixels are the same 8-bit levels under the same map, so only rounding of that map is allowed.</summary>
    const double PixelTolerance = 1e-6;

    readonly GoldenCase golden;
    readonly ChatModel chat;
    readonly VerifyingOps ops;
    readonly List<Check> checks = [];
    readonly Dictionary<string, Prompt> prompts = [];
    readonly Dictionary<ChatMedia, MediaFeatures> features = new(ReferenceEqualityComparer.Instance);

    CaseVerifier(GoldenCase golden, ChatModel chat)
    {
        this.golden = golden;
        this.chat = chat;
        ops = new VerifyingOps(chat.Pool);
    }

    /// <summary>Runs a case.</summary>
    /// <param name="directory">Holds <c>case.json</c>.</param>
    /// <param name="threads">Threads for kernels; all processors where not given.</param>
    /// <param name="onRequest">Told each request before it is run.</param>
    /// <exception cref="CheckpointException">The case or its checkpoint cannot be read, or is of a kind or architecture this build does not support.</exception>
    public static CaseReport Run(string directory, int? threads = null, Action<string>? onRequest = null)
    {
        GoldenCase opened = GoldenCase.Open(directory);
        using ChatModel loaded = ChatModel.Load(opened.Checkpoint, threads, template: opened.ChatTemplate, exact: true);
        using CaseVerifier verifier = new(opened, loaded);
        foreach (GoldenCase.Request request in opened.Requests)
        {
            onRequest?.Invoke(request.Id);
            verifier.Verify(request);
        }

        foreach (string[] batch in opened.Batches)
        {
            onRequest?.Invoke(string.Join(" + ", batch));
            verifier.VerifyBatch(batch);
        }

        return new CaseReport(directory, opened.Tolerance, verifier.checks);
    }

    void Verify(GoldenCase.Request request)
    {
        if (request.AnswerIds.Any(id => id >= chat.Model.Info.Vocabulary))
        {
            throw new CheckpointException(
                Path.Combine(golden.Directory, "case.json"),
                $"field 'answer_ids' of '{request.Id}' has {request.AnswerIds.Max()}, the model's vocabulary ends at {chat.Model.Info.Vocabulary - 1}"
            );
        }

        Prompt prompt = chat.Prompts.Build(request.Messages, request.TemplateOptions);
        prompts[request.Id] = prompt;
        Text(request.Id, "prompt", prompt.Text, request.Prompt);

        PreparedMedia[] media =
        [
            .. prompt.Media.Select(m => chat.Model.Info.Processor.Prepare(m.Source, m.Limits, chat.Pool)),
        ];
        if (request.Expected is not null)
        {
            using SafetensorsFile expected = SafetensorsFile.Open(request.Expected);
            VerifyStages(request, prompt, media, expected);
            HashSet<string> compared = [.. checks.Where(c => c.Request == request.Id).Select(c => c.Name)];
            foreach (TensorInfo left in expected.Tensors.Where(t => !compared.Contains(t.Name)))
            {
                Add(
                    request.Id,
                    left.Name,
                    false,
                    double.NaN,
                    double.NaN,
                    "was not compared: no stage got as far, or none has it"
                );
            }
        }

        ops.Expect(null);
        using InferenceEngine engine = new(chat.Model, ops, prompt.Tokens.Length + request.MaxNewTokens);
        for (int i = 0; i < media.Length; i++)
        {
            features[prompt.Media[i]] = engine.Encode(media[i]);
            media[i].Dispose();
        }

        if (request.MaxNewTokens > 0)
        {
            Answer(engine, [request], "answer");
        }
    }

    /// <summary>Each stage on the reference's output of the stage before it.</summary>
    void VerifyStages(GoldenCase.Request request, Prompt prompt, PreparedMedia[] media, SafetensorsFile expected)
    {
        Integers(request.Id, "input_ids", prompt.Tokens, expected);

        int[] positions = new int[3 * prompt.Tokens.Length];
        int delta = chat.Model.Positions(prompt.Spans, positions);
        Integers(request.Id, "position_ids", positions, expected);
        Integers(request.Id, "rope_delta", [delta], expected);

        // The reference runs the tower once over all pictures and once over all videos.
        bool mixed = media.Any(m => m.Kind == MediaKind.Image) && media.Any(m => m.Kind == MediaKind.Video);
        Dictionary<PreparedMedia, Tensor> merged = [];
        foreach (MediaKind kind in Enum.GetValues<MediaKind>())
        {
            PreparedMedia[] ofKind = [.. media.Where(m => m.Kind == kind)];
            if (ofKind.Length == 0)
            {
                continue;
            }

            bool video = kind == MediaKind.Video;
            Integers(
                request.Id,
                video ? "video_grid_thw" : "image_grid_thw",
                [.. ofKind.SelectMany(m => new[] { m.Plan.Grid.T, m.Plan.Grid.H, m.Plan.Grid.W })],
                expected
            );
            if (video && expected.Contains("second_per_grid_ts"))
            {
                float[] seconds = [.. ofKind.Select(m => m.Plan.SecondsPerPatch)];
                Floats(request.Id, "second_per_grid_ts", seconds, expected.Floats("second_per_grid_ts"), 0);
            }

            string pixels = video ? "pixel_values_videos" : "pixel_values";
            float[] theirs = ReferencePatches(expected, pixels, ofKind[0]);
            Pixels(request, pixels, [.. ofKind.SelectMany(m => m.Pixels.ToArray())], theirs);
            if (theirs.Length != ofKind.Sum(m => m.Plan.Grid.Patches) * chat.Model.Info.PatchWidth)
            {
                return; // of another size: no later stage can be fed with them, and this one has failed
            }

            VerifyTower(request, ofKind, expected, theirs, video, mixed, merged);
        }

        VerifyDecoder(request, prompt, [.. media.Select(m => merged[m])], expected);
    }

    void VerifyTower(
        GoldenCase.Request request,
        PreparedMedia[] media,
        SafetensorsFile expected,
        float[] pixels,
        bool video,
        bool mixed,
        Dictionary<PreparedMedia, Tensor> merged
    )
    {
        ops.Expect(
            expected,
            name =>
                !video ? name
                : name.StartsWith("window_", StringComparison.Ordinal) ? name + "_videos"
                : mixed ? name.Replace("vision.", "vision.video.", StringComparison.Ordinal)
                : name,
            (name, ours, theirs) => Floats(request.Id, name, ours, theirs, golden.Tolerance),
            (name, ours, theirs) => Tokens(request.Id, name, ours, theirs)
        );
        Tensor input = Copy(pixels, media.Sum(m => m.Plan.Grid.Patches));
        ops.Reset();
        Tensor output = chat.Model.Encode(ops, input, [.. media.Select(m => m.Plan.Grid)]);
        int row = 0;
        foreach (PreparedMedia medium in media)
        {
            merged[medium] = new MediaFeatures(output.Slice(row, medium.Plan.Tokens)).Rows;
            row += medium.Plan.Tokens;
        }
    }

    /// <summary>The decoder over the whole prompt, then over the reference's answer, token by token.</summary>
    void VerifyDecoder(GoldenCase.Request request, Prompt prompt, Tensor[] merged, SafetensorsFile expected)
    {
        int[] positions = new int[3 * prompt.Tokens.Length];
        int delta = chat.Model.Positions(prompt.Spans, positions);
        int length = prompt.Tokens.Length + request.AnswerIds.Length;
        ModelInfo info = chat.Model.Info;
        int[] pages = [.. Enumerable.Range(0, KvLayout.PagesFor(length))];
        using KvCache cache = new(info.Layers, info.Attention.Layout(KvStorage.F32), pages.Length);

        Step step = new();
        for (int i = 0; i < prompt.Tokens.Length; i++)
        {
            int row = step.AddRow(
                prompt.Tokens[i],
                positions[i],
                positions[prompt.Tokens.Length + i],
                positions[(2 * prompt.Tokens.Length) + i]
            );
            step.WantLogits(row);
        }

        foreach (MediaSpan span in prompt.Spans)
        {
            step.AddMedia(span.Start, merged[span.Medium].Slice(span.FirstFeature, span.Tokens));
        }

        step.AddSequence(pages, prompt.Tokens.Length, prompt.Tokens.Length, prompt.Tokens.Length);
        ops.Expect(expected, null, (name, ours, theirs) => Floats(request.Id, name, ours, theirs, golden.Tolerance));
        ops.Reset();
        Tensor logits = chat.Model.Forward(ops, step, cache);
        ops.Expect(null);

        List<float> steps = [.. logits.Row(logits.Rows - 1)];
        for (int i = 0; i + 1 < request.AnswerIds.Length; i++)
        {
            int index = prompt.Tokens.Length + i;
            step.Clear();
            step.WantLogits(step.AddRow(request.AnswerIds[i], index + delta, index + delta, index + delta));
            step.AddSequence(pages, 1, index + 1, prompt.Tokens.Length);
            ops.Reset();
            steps.AddRange(chat.Model.Forward(ops, step, cache).Row(0));
        }

        if (expected.Contains("step_logits"))
        {
            Floats(request.Id, "step_logits", [.. steps], expected.Floats("step_logits"), golden.Tolerance);
        }
    }

    void VerifyBatch(string[] ids)
    {
        GoldenCase.Request[] requests =
        [
            .. ids.Select(id =>
                golden.Requests.FirstOrDefault(r => r.Id == id)
                ?? throw new CheckpointException(
                    Path.Combine(golden.Directory, "case.json"),
                    $"field 'batches' names '{id}', which is not a request"
                )
            ),
        ];
        int tokens = requests.Sum(r => prompts[r.Id].Tokens.Length + r.MaxNewTokens + KvLayout.PageTokens);
        using InferenceEngine engine = new(chat.Model, ops, tokens);
        Answer(engine, [.. requests.Where(r => r.MaxNewTokens > 0)], "batch");
    }

    /// <summary>The whole pipeline: our pixels, our features, greedy tokens.</summary>
    void Answer(InferenceEngine engine, GoldenCase.Request[] requests, string label)
    {
        SamplingOptions greedy = new() { Repetition = null };
        Request[] running =
        [
            .. requests.Select(r =>
            {
                Prompt prompt = prompts[r.Id];
                Sequence sequence = engine.CreateSequence();
                sequence.SetPrompt(prompt.Tokens, prompt.Spans, [.. prompt.Media.Select(m => features[m])]);
                SamplingOptions options = greedy with
                {
                    MaxNewTokens = r.MaxNewTokens,
                    EndTokens = [.. chat.Defaults.StopIds.Union(prompt.EndTokens)],
                };
                return new Request(sequence, options, chat.Tokenizer);
            }),
        ];
        Generator.Run(engine, running);
        for (int i = 0; i < requests.Length; i++)
        {
            string id = requests[i].Id;
            Tokens(id, $"{label}.ids", running[i].Answer.ToArray(), requests[i].AnswerIds);
            Text(id, $"{label}.text", Shown(running[i], requests[i].Answer), requests[i].Answer);
            running[i].Sequence.Dispose();
        }
    }

    /// <summary>The pixels the reference gave its tower, in rows of patches.</summary>
    /// <remarks>
    /// Processors that bring all pictures to one size store <c>[pictures, channels, height, width]</c>, from which the reference's
    /// convolution takes the patches; here they are rows, picture by picture, in reading order, each as (channel, row, column).
    /// What the patches leave over at the right and at the bottom no convolution sees.
    /// </remarks>
    float[] ReferencePatches(SafetensorsFile expected, string name, PreparedMedia media)
    {
        float[] pixels = expected.Floats(name);
        int[] shape = expected.Tensors.Single(t => t.Name == name).Shape;
        (int rows, int columns) = (media.Plan.Grid.H, media.Plan.Grid.W);
        int side = (int)Math.Sqrt(chat.Model.Info.PatchWidth / 3);
        if (shape is not [int pictures, 3, int height, int width] || height < rows * side || width < columns * side)
        {
            return pixels;
        }

        float[] patches = new float[pictures * rows * columns * 3 * side * side];
        int at = 0;
        for (int patch = 0; patch < pictures * rows * columns; patch++)
        {
            (int picture, int inside) = Math.DivRem(patch, rows * columns);
            (int top, int left) = (inside / columns * side, inside % columns * side);
            for (int line = 0; line < 3 * side; line++, at += side)
            {
                int from = (((((picture * 3) + (line / side)) * height) + top + (line % side)) * width) + left;
                pixels.AsSpan(from, side).CopyTo(patches.AsSpan(at));
            }
        }

        return patches;
    }

    /// <summary>The answer's text with its special tokens (boxes), or without them where the case was decoded so.</summary>
    string Shown(Request request, string expected)
    {
        bool marks = request
            .Answer.ToArray()
            .Any(id => chat.Tokenizer.IsSpecial(id) && !chat.Defaults.StopIds.Contains(id));
        string bare = marks ? chat.Tokenizer.Decode(request.Answer, skipSpecial: true) : request.Text;
        return bare == expected ? bare : request.Text;
    }

    static Tensor Copy(float[] values, int rows)
    {
        AlignedBuffer buffer = new((long)values.Length * sizeof(float));
        values.CopyTo(buffer.Span<float>(0, values.Length));
        int width = rows == 0 ? 0 : values.Length / rows;
        return new Tensor(buffer, 0, rows, width, width);
    }

    void Integers(string request, string name, int[] ours, SafetensorsFile expected)
    {
        if (expected.Contains(name))
        {
            Tokens(request, name, ours, [.. expected.Integers(name).Select(int.CreateSaturating)]);
        }
    }

    void Pixels(GoldenCase.Request request, string name, float[] ours, float[] theirs)
    {
        // One 8-bit level of the channel with the smallest deviation is the largest step a normalised value can make.
        double level = 1.0 / 255 / chat.Model.Info.Processor.SmallestStd;
        double allowed = PixelTolerance + (request.PixelLevels * level * 1.001);
        (double absolute, double relative) = Error(ours, theirs);
        string detail =
            ours.Length != theirs.Length ? $"{ours.Length} numbers, expected {theirs.Length}"
            : request.PixelLevels == 0 ? ""
            : $"{request.PixelLevels} level(s) allowed: {allowed:g3}";
        Add(request.Id, name, ours.Length == theirs.Length && absolute <= allowed, absolute, relative, detail);
    }

    void Floats(string request, string name, float[] ours, float[] theirs, double tolerance)
    {
        (double absolute, double relative) = Error(ours, theirs);
        bool same = ours.Length == theirs.Length;
        Add(
            request,
            name,
            same && relative <= tolerance,
            absolute,
            relative,
            same ? "" : $"{ours.Length} numbers, expected {theirs.Length}"
        );
    }

    /// <summary>max |a - b| and that divided by max |b|; a NaN anywhere makes both NaN, which is within no tolerance.</summary>
    static (double Absolute, double Relative) Error(float[] ours, float[] theirs)
    {
        double worst = 0;
        double largest = 0;
        for (int i = 0; i < Math.Min(ours.Length, theirs.Length); i++)
        {
            double difference = Math.Abs((double)ours[i] - theirs[i]);
            worst = difference > worst || double.IsNaN(difference) ? difference : worst;
            largest = Math.Max(largest, Math.Abs((double)theirs[i]));
            if (double.IsNaN(worst))
            {
                return (double.NaN, double.NaN);
            }
        }

        return (worst, largest > 0 ? worst / largest : worst);
    }

    void Tokens(string request, string name, int[] ours, int[] theirs)
    {
        int common = ours.AsSpan().CommonPrefixLength(theirs);
        bool same = common == ours.Length && common == theirs.Length;
        string detail =
            same ? $"{ours.Length} equal"
            : common < Math.Min(ours.Length, theirs.Length)
                ? $"number {common} is {ours[common]}, expected {theirs[common]}"
            : $"{ours.Length} numbers, expected {theirs.Length}";
        Add(request, name, same, double.NaN, double.NaN, detail);
    }

    void Text(string request, string name, string ours, string theirs)
    {
        int common = ours.AsSpan().CommonPrefixLength(theirs);
        bool same = common == ours.Length && common == theirs.Length;
        string detail = same
            ? "equal"
            : $"differs at character {common}: '{Excerpt(ours, common)}', expected '{Excerpt(theirs, common)}'";
        Add(request, name, same, double.NaN, double.NaN, detail);
    }

    static string Excerpt(string text, int start) => text[start..Math.Min(text.Length, start + 24)];

    void Add(string request, string name, bool passed, double absolute, double relative, string detail) =>
        checks.Add(new Check(request, name, passed, absolute, relative, detail));

    /// <summary>Frees what the run held.</summary>
    public void Dispose()
    {
        ops.Dispose();
        foreach (MediaFeatures feature in features.Values)
        {
            feature.Dispose();
        }
    }
}
