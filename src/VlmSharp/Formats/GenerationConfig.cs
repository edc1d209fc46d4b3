namespace VlmSharp.Formats;

/// <summary>How the publisher wants answers generated: <c>generation_config.json</c>. What the file does not say is null.</summary>
/// <remarks>
/// The field names and meanings are those of transformers' GenerationConfig. The readers of this record supply defaults; transformers' own are
/// temperature 1, top_k 50, top_p 1, repetition_penalty 1.
/// </remarks>
/// <param name="StopIds">Tokens that end an answer (<c>eos_token_id</c>, one or several), in the file's order; empty when no file names one.</param>
/// <param name="DoSample">Whether to sample; otherwise the most likely token is taken.</param>
/// <param name="Temperature">Divides the logits; 0 or more.</param>
/// <param name="TopK">How many of the most likely tokens stay; 0 is all of them.</param>
/// <param name="TopP">The probability mass that stays, 0 .. 1.</param>
/// <param name="MinP">Least probability relative to the most likely token's, 0 .. 1.</param>
/// <param name="RepetitionPenalty">Divides the positive and multiplies the negative logits of tokens seen before; more than 0.</param>
/// <param name="MaxNewTokens">The longest answer in tokens.</param>
public sealed record GenerationConfig(
    IReadOnlyList<int> StopIds,
    bool DoSample,
    double? Temperature,
    int? TopK,
    double? TopP,
    double? MinP,
    double? RepetitionPenalty,
    int? MaxNewTokens
)
{
    const int MaxStopIds = 256;

    /// <summary>How the first Qwen-VL wants conversations written (<c>chat_format</c>: raw or chatml); null where the file does not say.</summary>
    public string? ChatFormat { get; init; }

    /// <summary>Reads the generation settings.</summary>
    /// <param name="json"><c>generation_config.json</c>, or null where a checkpoint has none.</param>
    /// <param name="model"><c>config.json</c>, whose <c>eos_token_id</c> (or its <c>text_config</c>'s) stands in for an absent one.</param>
    /// <exception cref="CheckpointException">A field has the wrong type or is out of range, or a stop id is outside the model's vocabulary.</exception>
    public static GenerationConfig Read(JsonObjectReader? json, JsonObjectReader model)
    {
        JsonObjectReader? text = model.OptionalObject("text_config");
        JsonObjectReader? stops = new[] { json, model, text }.FirstOrDefault(from => from?.Has("eos_token_id") == true);
        JsonObjectReader? sized = new[] { text, model }.FirstOrDefault(from => from?.Has("vocab_size") == true);
        int vocabulary = sized?.Int("vocab_size", 1, int.MaxValue) ?? int.MaxValue;
        int[] stopIds = stops?.IntOrInts("eos_token_id", MaxStopIds, 0) ?? [];
        foreach (int id in stopIds)
        {
            if (id >= vocabulary)
            {
                throw stops!.Error("eos_token_id", $"has the token {id}, the model's vocab_size is {vocabulary}");
            }
        }

        return new GenerationConfig(
            stopIds,
            json?.Bool("do_sample", false) ?? false,
            Number("temperature", 0, 1e6),
            Int("top_k", 0),
            Number("top_p", 0, 1),
            Number("min_p", 0, 1),
            Number("repetition_penalty", 1e-6, 1e6),
            Int("max_new_tokens", 1)
        )
        {
            ChatFormat = json?.Has("chat_format") == true ? json.Text("chat_format") : null,
        };

        double? Number(string name, double min, double max) =>
            json?.Has(name) == true ? json.Number(name, min, max) : null;
        int? Int(string name, int min) => json?.Has(name) == true ? json.Int(name, min, int.MaxValue) : null;
    }
}
