using System.Text.Json;
using System.Text.Json.Nodes;
using VlmSharp.Adapters;
using VlmSharp.Formats;
using VlmSharp.Models;

namespace VlmSharp.Training.Recipes;

/// <summary>Reads recipe files: JSON with comments, in which a field of an unknown name is an error.</summary>
/// <remarks>
/// <c>model</c>, <c>output</c>: directories. <c>data</c>: a list of <c>{"source", "weight", "replay"}</c>. <c>curriculum</c>:
/// <c>{"levels": [{"name", "data", "below", "steps"}], "earlier", "smoothing"}</c>. <c>evaluation</c>: <c>{"source", "every",
/// "examples"}</c>. <c>tokensPerUpdate</c> or <c>examplesPerUpdate</c>; <c>microBatchTokens</c>; <c>maxTokens</c>; <c>minPixels</c>,
/// <c>maxPixels</c>; one of
/// <c>steps</c>, <c>examples</c>, <c>epochs</c>. <c>schedule</c>: <c>{"kind", "warmup", "total", ...}</c> with the arguments of the
/// functions of <see cref="Training.Schedule"/>. <c>rates</c>: <c>{"vision", "merger", "language"}</c>. <c>freeze</c>: a list of
/// <c>vision</c>, <c>merger</c>, <c>language</c>, or layers, <c>language.0-11</c>. <c>optimizer</c>: <c>{"beta1", "beta2",
/// "epsilon", "decay", "clip"}</c>. <c>recompute</c>: <c>{"vision", "text"}</c>. <c>balance</c>, <c>precision</c> (bf16, f32),
/// <c>weights</c> (bf16, f32), <c>lora</c>: <c>{"targets", "rank", "alpha", "dropout", "rslora", "dora", "vision"}</c> in place of
/// <c>freeze</c>; <c>seed</c>, <c>threads</c>, <c>checkpointEvery</c>, <c>readAhead</c>, <c>broken</c> (skip, stop).
/// </remarks>
public static class RecipeReader
{
    const int MaxSources = 256;
    const int MaxLevels = 64;
    const int MaxSteps = 1_000_000_000;

    // Queries and values of the decoder, and what brings pictures to it, under the names of all architectures.
    const string DefaultTargets =
        @".*\.self_attn\.[qv]_proj|transformer\.h\.\d+\.attn\.c_attn|.*\.(merger|deepstack_merger_list\.\d+)\.(mlp\.[02]|linear_fc[12])";
    const string VisionTargets = @"|.*visual\.(blocks\.\d+\.attn\.qkv|transformer\.resblocks\.\d+\.attn\.out_proj)";
    const string Tower = @".*visual\.(blocks|transformer)\..*";
    const double LoraRate = 2e-4;

    /// <summary>Reads a recipe.</summary>
    /// <param name="path">The file.</param>
    /// <param name="changes">Values that replace those of the file: the names of fields with dots between them (<c>rates.vision</c>,
    /// <c>data.0.weight</c>), and JSON; what is no JSON is a string.</param>
    /// <exception cref="CheckpointException">It cannot be read, or a field is missing, wrong or unknown.</exception>
    public static TrainingRecipe Open(string path, params IReadOnlyList<(string Field, string Value)> changes)
    {
        JsonObjectReader json = JsonObjectReader.Open(path, comments: true);
        if (changes.Count > 0)
        {
            JsonNode root = JsonNode.Parse(
                File.ReadAllBytes(path),
                documentOptions: new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip }
            )!;
            foreach ((string field, string value) in changes)
            {
                Change(json, root, field, value);
            }

            json = JsonObjectReader.Parse(json.File, JsonSerializer.SerializeToUtf8Bytes(root));
        }

        return Read(json);
    }

    static void Change(JsonObjectReader json, JsonNode root, string field, string value)
    {
        JsonNode? content;
        try
        {
            content = JsonNode.Parse(value);
        }
        catch (JsonException)
        {
            content = JsonValue.Create(value);
        }

        string[] names = field.Split('.');
        JsonNode node = root;
        for (int i = 0; i < names.Length; i++)
        {
            bool last = i == names.Length - 1;
            if (node is JsonObject @object)
            {
                if (last)
                {
                    @object[names[i]] = content;
                    return;
                }

                node = @object[names[i]] ??= new JsonObject();
            }
            else if (
                node is JsonArray array
                && int.TryParse(names[i], out int index)
                && index >= 0
                && index < array.Count
            )
            {
                if (last)
                {
                    array[index] = content;
                    return;
                }

                node = array[index] ??= new JsonObject();
            }
            else
            {
                throw json.Error(field, $"cannot be set: there is nothing called '{names[i]}'");
            }
        }
    }

    /// <summary>Reads a recipe.</summary>
    /// <exception cref="CheckpointException">A field is missing, wrong or unknown.</exception>
    public static TrainingRecipe Read(JsonObjectReader json)
    {
        ArgumentNullException.ThrowIfNull(json);
        json.AllowOnly(
            "model",
            "output",
            "data",
            "curriculum",
            "evaluation",
            "tokensPerUpdate",
            "examplesPerUpdate",
            "microBatchTokens",
            "maxTokens",
            "minPixels",
            "maxPixels",
            "steps",
            "examples",
            "epochs",
            "schedule",
            "rates",
            "freeze",
            "lora",
            "optimizer",
            "recompute",
            "balance",
            "precision",
            "weights",
            "seed",
            "threads",
            "checkpointEvery",
            "readAhead",
            "broken"
        );
        CurriculumPlan? curriculum = Curriculum(json.OptionalObject("curriculum"));
        IReadOnlyList<MixtureEntry> data = json.Has("data") || curriculum is null ? Mixture(json, "data") : [];
        double replayed = data.Sum(entry => entry.Replay);
        if (
            curriculum is null
                ? !(replayed < 1) || data.All(e => e.Replay > 0)
                : data.Any(e => e.Replay == 0) || replayed >= 1
        )
        {
            throw json.Error(
                "data",
                curriculum is null
                    ? "replays everything, expected a source with a weight, and shares of 'replay' below 1 together"
                    : "stands beside 'curriculum': its sources need 'replay', below 1 together"
            );
        }

        bool byExamples = OneOf(json, "tokensPerUpdate", "examplesPerUpdate") == "examplesPerUpdate";
        int tokens = byExamples ? 0 : json.Int("tokensPerUpdate", 1, int.MaxValue);
        string length = OneOf(json, "steps", "examples", "epochs");
        (Func<int, Func<int, double>> schedule, bool needsTotal) = Schedule(json);
        if (needsTotal && length != "steps" && !byExamples)
        {
            throw json.Error(
                "schedule.total",
                $"is missing: with 'tokensPerUpdate' and '{length}' nobody knows the number of updates before they are done"
            );
        }

        JsonObjectReader recompute = Section(json, "recompute", "vision", "text");
        return new TrainingRecipe
        {
            Model = NotEmpty(json, "model"),
            Output = NotEmpty(json, "output"),
            Data = data,
            Curriculum = curriculum,
            Evaluation = Evaluation(json.OptionalObject("evaluation")),
            TokensPerUpdate = tokens,
            ExamplesPerUpdate = byExamples ? json.Int("examplesPerUpdate", 1, int.MaxValue) : 0,
            MicroBatchTokens = json.Int(
                "microBatchTokens",
                1,
                int.MaxValue,
                byExamples ? 8192 : Math.Min(tokens, 8192)
            ),
            MaxTokens = json.Has("maxTokens") ? json.Int("maxTokens", 2, int.MaxValue) : null,
            Pixels = new PixelLimits(Pixels(json, "minPixels"), Pixels(json, "maxPixels")),
            Steps = length == "steps" ? json.Int("steps", 1, MaxSteps) : null,
            Examples = length == "examples" ? json.Long("examples", 1, long.MaxValue) : null,
            Epochs = length == "epochs" ? json.Number("epochs", 1e-6, 1e6) : null,
            Schedule = schedule,
            Rates = Rates(json),
            Lora = Lora(json),
            Freeze = [.. json.Has("freeze") ? json.Texts("freeze", MaxSources).Select(text => Frozen(json, text)) : []],
            Optimizer = Optimizer(json),
            RecomputeVision = recompute.Bool("vision", false),
            RecomputeText = recompute.Bool("text", false),
            BalanceFactor = json.Number("balance", 0, 1e3, 0),
            Precision = json.Has("precision")
                ? Choice(json, "precision") == "bf16"
                    ? TrainingPrecision.BF16
                    : TrainingPrecision.F32
                : null,
            Weights =
                json.Has("weights") && Choice(json, "weights") == "f32" ? SafetensorsType.F32 : SafetensorsType.BF16,
            Seed = (ulong)json.Long("seed", 0, long.MaxValue, 0),
            Threads = json.Has("threads") ? json.Int("threads", 1, 1024) : null,
            CheckpointEvery = json.Int("checkpointEvery", 1, MaxSteps, 500),
            ReadAhead = json.Int("readAhead", 1, 4096, 32),
            StopAtBroken = json.Text("broken", "skip") switch
            {
                "skip" => false,
                "stop" => true,
                string other => throw json.Error("broken", $"is '{other}', expected skip or stop"),
            },
        };
    }

    static long? Pixels(JsonObjectReader json, string name) =>
        json.Has(name) ? json.Long(name, 1, long.MaxValue) : null;

    static string NotEmpty(JsonObjectReader json, string name) =>
        json.Text(name) is { Length: > 0 } text ? text : throw json.Error(name, "is empty, expected a directory");

    static string OneOf(JsonObjectReader json, params string[] names)
    {
        string[] there = [.. names.Where(json.Has)];
        return there.Length == 1
            ? there[0]
            : throw json.Error(
                there.Length == 0 ? names[0] : there[1],
                there.Length == 0
                    ? $"is missing, expected {string.Join(" or ", names)}"
                    : $"stands beside '{there[0]}', expected only one of {string.Join(", ", names)}"
            );
    }

    static string Choice(JsonObjectReader json, string name) =>
        json.Text(name) is "bf16" or "f32"
            ? json.Text(name)
            : throw json.Error(name, $"is '{json.Text(name)}', expected bf16 or f32");

    // An object that may be absent, and then is empty.
    static JsonObjectReader Section(JsonObjectReader json, string name, params ReadOnlySpan<string> known)
    {
        JsonObjectReader section = json.OptionalObject(name) ?? JsonObjectReader.Parse(json.File, "{}"u8);
        section.AllowOnly(known);
        return section;
    }

    static FrozenPart Frozen(JsonObjectReader json, string text) =>
        FrozenPart.Parse(text)
        ?? throw json.Error(
            "freeze",
            $"has '{text}', expected vision, merger or language, or layers of the first or the last: language.0-11"
        );

    static MixtureEntry[] Mixture(JsonObjectReader json, string name)
    {
        JsonObjectReader[] objects = json.Objects(name, MaxSources);
        if (objects.Length == 0)
        {
            throw json.Error(name, "is empty, expected a source");
        }

        return
        [
            .. objects.Select(entry =>
            {
                entry.AllowOnly("source", "weight", "replay");
                bool replay = entry.Has("replay");
                if (replay && entry.Has("weight"))
                {
                    throw entry.Error("weight", "stands beside 'replay', expected one of the two");
                }

                return new MixtureEntry(
                    entry.Text("source"),
                    replay ? 0 : entry.Number("weight", 1e-9, 1e9, 1),
                    replay ? entry.Number("replay", 1e-9, 0.999) : 0
                );
            }),
        ];
    }

    static CurriculumPlan? Curriculum(JsonObjectReader? json)
    {
        if (json is null)
        {
            return null;
        }

        json.AllowOnly("levels", "earlier", "smoothing");
        JsonObjectReader[] levels = json.Objects("levels", MaxLevels);
        if (levels.Length == 0)
        {
            throw json.Error("levels", "is empty, expected a level");
        }

        return new CurriculumPlan(
            [.. levels.Select((level, i) => Level(level, i, last: i == levels.Length - 1))],
            json.Number("earlier", 0, 0.99, 0.2),
            json.Number("smoothing", 0, 0.9999, 0.95)
        );
    }

    static CurriculumLevel Level(JsonObjectReader json, int index, bool last)
    {
        json.AllowOnly("name", "data", "below", "steps");
        MixtureEntry[] data = Mixture(json, "data");
        if (data.Any(entry => entry.Replay > 0))
        {
            throw json.Error("data", "has 'replay', which belongs to the list beside 'curriculum'");
        }

        double? below = json.Has("below") ? json.Number("below", 0, 1e6) : null;
        int? steps = json.Has("steps") ? json.Int("steps", 1, MaxSteps) : null;
        return last || below is not null || steps is not null
            ? new CurriculumLevel(json.Text("name", $"level {index + 1}"), data, below, steps)
            : throw json.Error("below", "is missing: without 'below' or 'steps' this level is never left");
    }

    static EvaluationPlan? Evaluation(JsonObjectReader? json)
    {
        json?.AllowOnly("source", "every", "examples");
        return json is null
            ? null
            : new EvaluationPlan(
                json.Text("source"),
                json.Int("every", 1, MaxSteps, 500),
                json.Int("examples", 1, 1_000_000, 256)
            );
    }

    static AdapterConfig? Lora(JsonObjectReader json)
    {
        if (json.OptionalObject("lora") is not { } lora)
        {
            return null;
        }

        foreach (string beside in ((string[])["freeze", "weights"]).Where(json.Has))
        {
            throw json.Error(beside, "stands beside 'lora', with which the model's weights stay as they are");
        }

        lora.AllowOnly("targets", "rank", "alpha", "dropout", "rslora", "dora", "vision");
        bool vision = lora.Bool("vision", false);
        int rank = lora.Int("rank", 1, 4096, 16);
        bool named = lora.Has("targets");
        bool pattern = named && lora.Raw("targets").ValueKind == JsonValueKind.String;
        string[] targets = named && !pattern ? lora.Texts("targets", 1024) : [];
        if (named && !pattern && targets.Length == 0)
        {
            throw lora.Error("targets", "is empty, expected names of linear layers");
        }

        AdapterConfig config = new()
        {
            Rank = rank,
            Alpha = lora.Number("alpha", 1e-6, 1e6, 2 * rank),
            Dropout = lora.Number("dropout", 0, 0.99, 0),
            RankStabilised = lora.Bool("rslora", false),
            Magnitudes = lora.Bool("dora", false),
            Targets = targets,
            TargetPattern =
                pattern ? lora.Text("targets")
                : named ? null
                : DefaultTargets + (vision ? VisionTargets : ""),
            ExcludedPattern = named && !vision ? Tower : null,
            BaseModel = NotEmpty(json, "model"),
        };
        try
        {
            config.Check();
        }
        catch (ArgumentException e)
        {
            throw lora.Error("targets", $"is no regular expression: {e.Message}");
        }

        return config;
    }

    static Dictionary<ModelPart, double> Rates(JsonObjectReader json)
    {
        if (json.Has("lora") && !json.Has("rates"))
        {
            return Enum.GetValues<ModelPart>().ToDictionary(part => part, _ => LoraRate);
        }

        JsonObjectReader rates = json.Object("rates");
        rates.AllowOnly("vision", "merger", "language");
        return Enum.GetValues<ModelPart>()
            .Select(part => (Part: part, Name: part.ToString().ToLowerInvariant()))
            .Where(part => rates.Has(part.Name))
            .ToDictionary(part => part.Part, part => rates.Number(part.Name, 0, 10));
    }

    static OptimizerSettings Optimizer(JsonObjectReader json)
    {
        JsonObjectReader section = Section(json, "optimizer", "beta1", "beta2", "epsilon", "decay", "clip");
        OptimizerSettings defaults = new();
        return new OptimizerSettings
        {
            Beta1 = section.Number("beta1", 0, 0.999999, defaults.Beta1),
            Beta2 = section.Number("beta2", 0, 0.999999, defaults.Beta2),
            Epsilon = section.Number("epsilon", 1e-30, 1, defaults.Epsilon),
            Decay = section.Number("decay", 0, 10, json.Has("lora") ? 0 : defaults.Decay),
            MaxNorm = section.Number("clip", 1e-9, 1e9, defaults.MaxNorm),
        };
    }

    static (Func<int, Func<int, double>> Make, bool NeedsTotal) Schedule(JsonObjectReader json)
    {
        JsonObjectReader s = Section(
            json,
            "schedule",
            "kind",
            "warmup",
            "total",
            "cycles",
            "floor",
            "end",
            "power",
            "scale",
            "stable",
            "decay"
        );
        string kind = s.Text("kind", "cosine");
        string[] own = kind switch
        {
            "constant" => [],
            "linear" => ["total"],
            "cosine" => ["total", "cycles", "floor"],
            "cosine_with_restarts" => ["total", "cycles"],
            "polynomial" => ["total", "end", "power"],
            "inverse_sqrt" => ["scale"],
            "warmup_stable_decay" => ["stable", "decay", "floor"],
            _ => throw json.Error(
                "schedule.kind",
                $"is '{kind}', expected constant, linear, cosine, cosine_with_restarts, polynomial, inverse_sqrt or warmup_stable_decay"
            ),
        };
        foreach (string name in s.Names.Where(name => name is not ("kind" or "warmup") && !own.Contains(name)))
        {
            throw s.Error(name, $"means nothing to {kind}");
        }

        int warmup = s.Int("warmup", 0, MaxSteps, 0);
        int? total = s.Has("total") ? s.Int("total", 1, MaxSteps) : null;
        int restarts = kind == "cosine_with_restarts" ? s.Int("cycles", 1, 1000, 1) : 0;
        double cycles = s.Number("cycles", 0.01, 1000, 0.5);
        double floor = s.Number("floor", 0, 1, 0);
        double end = s.Number("end", 0, 1, 0);
        double power = s.Number("power", 0.01, 100, 1);
        int? scale = s.Has("scale") ? s.Int("scale", 1, MaxSteps) : null;
        int stable = kind == "warmup_stable_decay" ? s.Int("stable", 0, MaxSteps) : 0;
        int decay = kind == "warmup_stable_decay" ? s.Int("decay", 1, MaxSteps) : 0;
        return (
            known =>
            {
                int steps = total ?? known;
                return kind switch
                {
                    "constant" => Training.Schedule.Constant(warmup),
                    "linear" => Training.Schedule.Linear(warmup, steps),
                    "cosine" => Training.Schedule.Cosine(warmup, steps, cycles, floor),
                    "cosine_with_restarts" => Training.Schedule.CosineWithRestarts(warmup, steps, restarts),
                    "polynomial" => Training.Schedule.Polynomial(warmup, steps, end, power),
                    "inverse_sqrt" => Training.Schedule.InverseSquareRoot(warmup, scale),
                    _ => Training.Schedule.WarmupStableDecay(warmup, stable, decay, floor),
                };
            },
            own.Contains("total") && total is null
        );
    }
}
