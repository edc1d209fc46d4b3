using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using VlmSharp.Formats;

namespace VlmSharp.Adapters;

/// <summary>What <c>adapter_config.json</c> says: which layers of a model have low-rank products beside them, and of what size.</summary>
/// <remarks>
/// Source: <c>LoraConfig</c> and <c>tuners_utils.py</c> of PEFT 0.21. Names of modules are those of the model in Python, such as
/// <c>model.language_model.layers.0.self_attn.q_proj</c>.
/// </remarks>
public sealed record AdapterConfig
{
    const int MostNames = 65536;

    // They say where the adapter comes from, or how its training began.
    static readonly string[] Informative =
    [
        "auto_mapping",
        "base_model_name_or_path",
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "inference_mode",
        "loftq_config",
        "lora_ga_config",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "task_type",
    ];

    static readonly string[] Understood =
    [
        "alpha_pattern",
        "bias",
        "exclude_modules",
        "fan_in_fan_out",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "lora_dropout",
        "modules_to_save",
        "peft_type",
        "r",
        "rank_pattern",
        "target_modules",
        "use_dora",
        "use_rslora",
    ];

    // These begin with other weights than those of the checkpoint.
    static readonly string[] ChangesBase = ["pissa", "olora", "loftq", "corda", "lora_ga"];

    /// <summary>Rank of a module that <see cref="RankPattern"/> does not name.</summary>
    public required int Rank { get; init; }

    /// <summary>Alpha of a module that <see cref="AlphaPattern"/> does not name: the product is multiplied by alpha / rank.</summary>
    public required double Alpha { get; init; }

    /// <summary>Whether the factor is alpha / sqrt(rank).</summary>
    public bool RankStabilised { get; init; }

    /// <summary>Whether each output has a magnitude of its own (DoRA, arXiv 2402.09353).</summary>
    public bool Magnitudes { get; init; }

    /// <summary>Regular expressions of modules, or of ends of their names behind a dot, with their rank. The first that matches counts.</summary>
    public IReadOnlyList<(string Pattern, int Rank)> RankPattern { get; init; } = [];

    /// <summary>As <see cref="RankPattern"/>, with alphas.</summary>
    public IReadOnlyList<(string Pattern, double Alpha)> AlphaPattern { get; init; } = [];

    /// <summary>The modules: names or their ends behind a dot. Empty where <see cref="TargetPattern"/> says it.</summary>
    public IReadOnlyList<string> Targets { get; init; } = [];

    /// <summary>A regular expression that the whole name of a module matches, or <c>all-linear</c>; null where <see cref="Targets"/> says it.</summary>
    public string? TargetPattern { get; init; }

    /// <summary>Of the modules that <see cref="Targets"/> names only those with these numbers in their names; empty for all.</summary>
    public IReadOnlyList<int> Layers { get; init; } = [];

    /// <summary>What stands before that number; empty for anything.</summary>
    public IReadOnlyList<string> LayersPattern { get; init; } = [];

    /// <summary>Modules that are left out, as <see cref="Targets"/> names them.</summary>
    public IReadOnlyList<string> Excluded { get; init; } = [];

    /// <summary>As <see cref="TargetPattern"/>, of modules that are left out.</summary>
    public string? ExcludedPattern { get; init; }

    /// <summary>Ends of the names of modules that are trained and stored in full.</summary>
    public IReadOnlyList<string> Saved { get; init; } = [];

    /// <summary>Which biases are trained beside: none, all or lora_only.</summary>
    public string Bias { get; init; } = "none";

    /// <summary>Share of the inputs of the low-rank products that training sets to zero.</summary>
    public double Dropout { get; init; }

    /// <summary>The model it was trained on, for people.</summary>
    public string BaseModel { get; init; } = "";

    /// <summary>Reads a config.</summary>
    /// <exception cref="CheckpointException">A field is missing, wrong, or asks for something that is not implemented.</exception>
    public static AdapterConfig Read(JsonObjectReader json)
    {
        ArgumentNullException.ThrowIfNull(json);
        json.Require("peft_type", "LORA");
        foreach (string name in json.Names)
        {
            if (!Understood.Contains(name) && !Informative.Contains(name) && json.Has(name) && !IsOff(json.Raw(name)))
            {
                throw json.Error(name, "is set, which is not implemented; expected null or false");
            }
        }

        JsonElement? start = json.Has("init_lora_weights") ? json.Raw("init_lora_weights") : null;
        if (
            start is { ValueKind: JsonValueKind.String } named
            && ChangesBase.Any(prefix => named.GetString()!.StartsWith(prefix, StringComparison.Ordinal))
        )
        {
            throw json.Error(
                "init_lora_weights",
                $"is '{named.GetString()}': it belongs to other weights than the checkpoint's; convert it to an ordinary adapter with PEFT"
            );
        }

        (IReadOnlyList<string> targets, string? pattern) = NamesOrPattern(json, "target_modules");
        (IReadOnlyList<string> excluded, string? excludedPattern) = NamesOrPattern(json, "exclude_modules");
        int[] layers = json.Has("layers_to_transform") ? json.IntOrInts("layers_to_transform", 65536, 0) : [];
        if (layers.Length > 0 && pattern is not null)
        {
            throw json.Error("layers_to_transform", "stands beside a regular expression in 'target_modules'");
        }

        string bias = json.Text("bias", "none");
        AdapterConfig config = new()
        {
            Rank = json.Int("r", 1, 65536, 8),
            Alpha = json.Number("lora_alpha", 0, 1e9, 8),
            RankStabilised = json.Bool("use_rslora", false),
            Magnitudes = json.Bool("use_dora", false),
            RankPattern = [.. Patterns(json, "rank_pattern", (o, key) => o.Int(key, 1, 65536))],
            AlphaPattern = [.. Patterns(json, "alpha_pattern", (o, key) => o.Number(key, 0, 1e9))],
            Targets = targets,
            TargetPattern = pattern,
            Layers = layers,
            LayersPattern = NamesOrPattern(json, "layers_pattern") switch
            {
                (_, { } one) => [one],
                (var names, _) => names,
            },
            Excluded = excluded,
            ExcludedPattern = excludedPattern,
            Saved = json.Has("modules_to_save") ? json.Texts("modules_to_save", MostNames) : [],
            Bias = bias is "none" or "all" or "lora_only"
                ? bias
                : throw json.Error("bias", $"is '{bias}', expected none, all or lora_only"),
            Dropout = json.Number("lora_dropout", 0, 0.999, 0),
            BaseModel = json.Text("base_model_name_or_path", ""),
        };
        try
        {
            config.Check();
        }
        catch (ArgumentException e)
        {
            throw new CheckpointException(json.File, $"has a regular expression that cannot be read: {e.Message}", e);
        }

        return config;
    }

    static bool IsOff(JsonElement value) =>
        value.ValueKind switch
        {
            JsonValueKind.False => true,
            JsonValueKind.Array => value.GetArrayLength() == 0,
            JsonValueKind.Object => value.GetPropertyCount() == 0,
            _ => false,
        };

    static (IReadOnlyList<string> Names, string? Pattern) NamesOrPattern(JsonObjectReader json, string name) =>
        !json.Has(name) ? ([], null)
        : json.Raw(name).ValueKind == JsonValueKind.String ? ([], json.Text(name))
        : (json.Texts(name, MostNames), null);

    static IEnumerable<(string, T)> Patterns<T>(
        JsonObjectReader json,
        string name,
        Func<JsonObjectReader, string, T> read
    ) => json.OptionalObject(name) is { } patterns ? patterns.Names.Select(key => (key, read(patterns, key))) : [];

    /// <summary>Reads all regular expressions, so that they do not throw while modules are looked for.</summary>
    /// <exception cref="ArgumentException">One cannot be read.</exception>
    public void Check()
    {
        Expression[] all =
        [
            .. RankPattern.Select(p => Expression.End(p.Pattern)),
            .. AlphaPattern.Select(p => Expression.End(p.Pattern)),
            .. LayersPattern.Select(Expression.Layer),
            .. ((string?[])[TargetPattern, ExcludedPattern]).OfType<string>().Select(Expression.Whole),
        ];
        Array.ForEach(all, expression => expression.Match(""));
    }

    /// <summary>The rank of a module.</summary>
    /// <exception cref="CheckpointException">A regular expression takes too long.</exception>
    public int RankOf(string module) =>
        RankPattern
            .Where(p => Expression.End(p.Pattern).Match(module).Success)
            .Select(p => p.Rank)
            .FirstOrDefault(Rank);

    /// <summary>The factor of the product of a module.</summary>
    /// <exception cref="CheckpointException">A regular expression takes too long.</exception>
    public double ScaleOf(string module)
    {
        double alpha = AlphaPattern
            .Where(p => Expression.End(p.Pattern).Match(module).Success)
            .Select(p => p.Alpha)
            .FirstOrDefault(Alpha);
        int rank = RankOf(module);
        return alpha / (RankStabilised ? Math.Sqrt(rank) : rank);
    }

    /// <summary>Whether a linear layer of this name has an adapter beside it.</summary>
    /// <exception cref="CheckpointException">A regular expression takes too long.</exception>
    public bool Adapts(string module)
    {
        if (Ends(Excluded, module) || (ExcludedPattern is { } not && Expression.Whole(not).Match(module).Success))
        {
            return false;
        }

        return TargetPattern switch
        {
            "all-linear" => !Ends(["lm_head"], module),
            { } pattern => Expression.Whole(pattern).Match(module).Success,
            null => Ends(Targets, module)
                && (Layers.Count == 0 || (Layer(module) is { } layer && Layers.Contains(layer))),
        };
    }

    static bool Ends(IReadOnlyList<string> names, string module) =>
        names.Any(name => module == name || module.EndsWith($".{name}", StringComparison.Ordinal));

    int? Layer(string module)
    {
        IReadOnlyList<string> before = LayersPattern.Count > 0 ? LayersPattern : ["[^.]*"];
        return before
            .Select(pattern => Expression.Layer(pattern).Match(module))
            .Where(match => match.Success && int.TryParse(match.Groups["layer"].Value, out _))
            .Select(match => (int?)int.Parse(match.Groups["layer"].Value, CultureInfo.InvariantCulture))
            .FirstOrDefault();
    }

    /// <summary>Whether a tensor belongs to a module that is stored in full, or is a bias that is.</summary>
    /// <param name="tensor">Name of a module with <c>.weight</c> or the like behind it.</param>
    public bool Saves(string tensor)
    {
        if (Bias != "none" && tensor.EndsWith(".bias", StringComparison.Ordinal))
        {
            return Bias == "all" || Adapts(tensor[..^".bias".Length]);
        }

        for (int dot = tensor.IndexOf('.'); dot >= 0; dot = tensor.IndexOf('.', dot + 1))
        {
            string module = tensor[..dot];
            if (Saved.Any(name => module.EndsWith(name, StringComparison.Ordinal)))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Writes it as <see cref="Read"/> and PEFT read it.</summary>
    public string ToJson()
    {
        JsonObject json = new()
        {
            ["peft_type"] = "LORA",
            ["task_type"] = "CAUSAL_LM",
            ["base_model_name_or_path"] = BaseModel,
            ["r"] = Rank,
            ["lora_alpha"] = Number(Alpha),
            ["lora_dropout"] = Number(Dropout),
            ["use_rslora"] = RankStabilised,
            ["use_dora"] = Magnitudes,
            ["rank_pattern"] = Patterns(RankPattern.Select(p => (p.Pattern, (JsonNode)p.Rank))),
            ["alpha_pattern"] = Patterns(AlphaPattern.Select(p => (p.Pattern, Number(p.Alpha)))),
            ["target_modules"] = Names(Targets, TargetPattern),
            ["exclude_modules"] = Names(Excluded, ExcludedPattern),
            ["layers_to_transform"] = Layers.Count == 0 ? null : new JsonArray([.. Layers.Select(l => (JsonNode)l)]),
            ["layers_pattern"] = Names(LayersPattern, null),
            ["modules_to_save"] = Names(Saved, null),
            ["bias"] = Bias,
            ["fan_in_fan_out"] = false,
            ["inference_mode"] = true,
            ["init_lora_weights"] = true,
        };
        return json.ToJsonString(new JsonSerializerOptions { WriteIndented = true }) + "\n";
    }

    // Whole numbers as Python writes integers.
    static JsonNode Number(double value) =>
        value == Math.Floor(value) && Math.Abs(value) < 1e9 ? (int)value : (JsonNode)value;

    static JsonNode? Names(IReadOnlyList<string> names, string? pattern) =>
        pattern is not null ? pattern
        : names.Count == 0 ? null
        : new JsonArray([.. names.Select(name => (JsonNode)name)]);

    static JsonObject Patterns(IEnumerable<(string Key, JsonNode Value)> patterns) =>
        new(patterns.Select(p => KeyValuePair.Create(p.Key, (JsonNode?)p.Value)));

    /// <summary>A regular expression of a file: nobody knows how long it takes, so it has a limit.</summary>
    sealed class Expression(string pattern)
    {
        static readonly TimeSpan Limit = TimeSpan.FromSeconds(1);

        readonly Regex regex = new(pattern, RegexOptions.CultureInvariant, Limit);

        /// <summary>Of a whole name.</summary>
        public static Expression Whole(string pattern) => new($@"\A(?:{pattern})\z");

        /// <summary>Of a name or its end behind a dot.</summary>
        public static Expression End(string pattern) => new($@"\A(?:.*\.)?(?:{pattern})\z");

        /// <summary>Of the number behind the last module of such a name.</summary>
        public static Expression Layer(string pattern) => new($@"\A.*\.(?:{pattern})\.(?<layer>\d+)\.");

        public Match Match(string module)
        {
            try
            {
                return regex.Match(module);
            }
            catch (RegexMatchTimeoutException e)
            {
                throw new CheckpointException(
                    Adapter.ConfigFile,
                    $"has a regular expression that takes more than a second for a name: {regex}",
                    e
                );
            }
        }
    }
}
