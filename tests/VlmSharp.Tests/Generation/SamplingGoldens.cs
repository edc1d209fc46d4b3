using System.Text.Json;
using VlmSharp.Formats;
using VlmSharp.Generation;

namespace VlmSharp.Tests.Generation;

/// <summary>The rows of a directory with <c>processors.json</c> and <c>processors.safetensors</c>.</summary>
sealed class SamplingGoldens(string directory) : IDisposable
{
    readonly SafetensorsFile tensors = SafetensorsFile.Open(Path.Combine(directory, "processors.safetensors"));

    public void Dispose() => tensors.Dispose();

    public IEnumerable<Row> Rows()
    {
        using var json = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(directory, "processors.json")));
        foreach (string group in new[] { "transformers", "others" })
        {
            foreach (JsonElement row in json.RootElement.GetProperty(group).EnumerateArray())
            {
                string id = row.GetProperty("id").GetString()!;
                bool vllm = row.TryGetProperty("source", out JsonElement source) && source.GetString() == "vllm";
                bool noProbabilities = Flag(row, "no_probabilities");
                int[] prompt = Ints(row.GetProperty("prompt"));
                JsonElement options = row.GetProperty("options");
                yield return new Row(
                    id,
                    tensors.Floats("logits/" + row.GetProperty("logits").GetString()),
                    prompt,
                    Ints(row.GetProperty("generated")),
                    Options(options, vllm),
                    options.TryGetProperty("num_beams", out _) ? Ends(options).Length + 1 : 1,
                    tensors.Floats("scores/" + id),
                    noProbabilities ? null : tensors.Floats("probs/" + id),
                    row.GetProperty("kept").GetInt32(),
                    Flag(row, "ties_decide")
                );
            }
        }
    }

    /// <summary>The options of a row, named as in the reference; also of the requests in <c>decode.json</c>.</summary>
    public static SamplingOptions Options(JsonElement json, bool vllm)
    {
        SamplingOptions options = new()
        {
            Temperature = 1,
            Order = vllm ? SamplingOrder.Vllm : SamplingOrder.Transformers,
            EndTokens = Ends(json),
        };
        foreach (JsonProperty property in json.EnumerateObject())
        {
            JsonElement v = property.Value;
            options = property.Name switch
            {
                "temperature" => options with { Temperature = v.GetDouble() },
                "top_k" => options with { TopK = v.GetInt32() },
                "top_p" => options with { TopP = v.GetDouble() },
                "min_p" => options with { MinP = v.GetDouble() },
                "typical_p" => options with { TypicalP = v.GetDouble() },
                "epsilon_cutoff" => options with { EpsilonCutoff = v.GetDouble() },
                "eta_cutoff" => options with { EtaCutoff = v.GetDouble() },
                "top_h" => options with { TopH = v.GetDouble() },
                "top_a" => options with { TopA = v.GetDouble() },
                "tfs" => options with { TailFree = v.GetDouble() },
                "top_nsigma" => options with { TopNSigma = v.GetDouble() },
                "smoothing_factor" => options with { SmoothingFactor = v.GetDouble() },
                "smoothing_curve" => options with { SmoothingCurve = v.GetDouble() },
                "xtc_threshold" => options with { XtcThreshold = v.GetDouble() },
                "xtc_probability" => options with { XtcProbability = v.GetDouble() },
                "dry_multiplier" => options with { DryMultiplier = v.GetDouble() },
                "dry_base" => options with { DryBase = v.GetDouble() },
                "dry_allowed_length" => options with { DryAllowedLength = v.GetInt32() },
                "dry_range" => options with { DryRange = v.GetInt32() },
                "dry_sequence_breaker_ids" => options with { DrySequenceBreakers = Ints(v) },
                "repetition_penalty" => options with { RepetitionPenalty = v.GetDouble() },
                "encoder_repetition_penalty" => options with { EncoderRepetitionPenalty = v.GetDouble() },
                "presence_penalty" => options with { PresencePenalty = v.GetDouble() },
                "frequency_penalty" => options with { FrequencyPenalty = v.GetDouble() },
                "no_repeat_ngram_size" => options with { NoRepeatNGramSize = v.GetInt32() },
                "encoder_no_repeat_ngram_size" => options with { EncoderNoRepeatNGramSize = v.GetInt32() },
                "min_new_tokens" => options with { MinNewTokens = v.GetInt32() },
                "min_length" => options with { MinLength = v.GetInt32() },
                "max_new_tokens" => options with { MaxNewTokens = v.GetInt32() },
                "max_length" => options with { MaxLength = v.GetInt32() },
                "forced_eos_token_id" => options with { ForcedEndToken = v.GetInt32() },
                "bad_words_ids" => options with { BadWords = [.. v.EnumerateArray().Select(Ints)] },
                "suppress_tokens" => options with { SuppressTokens = Ints(v) },
                "begin_suppress_tokens" => options with { BeginSuppressTokens = Ints(v) },
                "exponential_decay_length_penalty" => options with
                {
                    ExponentialDecay = new ExponentialDecay(v[0].GetInt32(), v[1].GetDouble()),
                },
                "sequence_bias" => options with
                {
                    SequenceBias =
                    [
                        .. v.EnumerateArray().Select(entry => new SequenceBias(Ints(entry[0]), entry[1].GetDouble())),
                    ],
                },
                "logit_bias" => options with
                {
                    LogitBias = v.EnumerateArray()
                        .ToDictionary(entry => entry[0].GetInt32(), entry => entry[1].GetDouble()),
                },
                "renormalize_logits" => options with { RenormalizeLogits = v.GetBoolean() },
                "eos_token_id" or "num_beams" or "do_sample" => options,
                _ => throw new NotSupportedException($"the golden has an option {property.Name}"),
            };
        }

        bool sample = !json.TryGetProperty("do_sample", out JsonElement doSample) || doSample.GetBoolean();
        return sample ? options : options with { Temperature = 0 };
    }

    static int[] Ends(JsonElement options) =>
        !options.TryGetProperty("eos_token_id", out JsonElement ends) ? []
        : ends.ValueKind == JsonValueKind.Array ? Ints(ends)
        : [ends.GetInt32()];

    static int[] Ints(JsonElement array) => [.. array.EnumerateArray().Select(element => element.GetInt32())];

    static bool Flag(JsonElement row, string name) =>
        row.TryGetProperty(name, out JsonElement flag) && flag.GetBoolean();

    public sealed record Row(
        string Id,
        float[] Logits,
        int[] Prompt,
        int[] Generated,
        SamplingOptions Options,
        int MinimumKept,
        float[] Scores,
        float[]? Probabilities,
        int Kept,
        bool TiesDecide
    )
    {
        public History History()
        {
            History history = new(Prompt);
            foreach (int token in Generated)
            {
                history.Append(token);
            }

            return history;
        }

        internal LogitsPipeline Pipeline() =>
            new(Options, Prompt.Length, Logits.Length, new SamplerRandom(1), minimumKept: MinimumKept);
    }
}
