using System.Text;
using System.Text.Json.Nodes;

namespace VlmSharp.Testing;

/// <summary>Every way of damaging a checkpoint directory that its loader has to notice, enumerated with readable names.</summary>
/// <remarks>
/// Systematic, not random: the same directory always gives the same list. Only damage that contradicts the formats or the model is in it;
/// changed weights are valid and are not. JSON values are written as they appear in the file, so that <c>1e999</c> stays itself.
/// </remarks>
public static partial class CheckpointMutations
{
    const string Index = "model.safetensors.index.json";
    const string Processor = "preprocessor_config.json";
    const string Generation = "generation_config.json";
    const string TokenizerConfig = "tokenizer_config.json";

    /// <summary>All mutations of a checkpoint directory of the Qwen-VL line, from the second generation on.</summary>
    public static IReadOnlyList<CheckpointMutation> Of(string directory)
    {
        List<CheckpointMutation> all = [];
        bool sharded = File.Exists(Path.Combine(directory, Index));
        foreach (
            string file in (string[])
                [
                    "config.json",
                    Generation,
                    Processor,
                    "chat_template.json",
                    .. sharded ? [Index] : Array.Empty<string>(),
                ]
        )
        {
            all.AddRange(BrokenJson(file, LoadStage.Files));
        }

        // The template stands here when the two files that come before it are absent.
        all.AddRange(
            BrokenJson(TokenizerConfig, LoadStage.Files)
                .Select(mutation =>
                    mutation with
                    {
                        Apply = Before(mutation.Apply, copy => copy.Delete("chat_template.json")),
                    }
                )
        );
        all.AddRange(Configs(directory));
        all.AddRange(Templates());
        all.AddRange(Tokenizers());
        string weights = sharded ? "model-00002-of-00003.safetensors" : "model.safetensors";
        all.AddRange(Weights(directory, weights));
        if (sharded)
        {
            all.AddRange(Shards(directory, weights));
        }

        return File.Exists(Path.Combine(directory, "chat_template.jinja")) ? [.. all.Select(InOlderPlaces)] : all;
    }

    // A template in a file of its own hides the older places, so mutations of those begin with moving it there.
    static CheckpointMutation InOlderPlaces(CheckpointMutation mutation) =>
        mutation.File is "chat_template.json" or TokenizerConfig
            ? mutation with
            {
                Apply = Before(
                    mutation.Apply,
                    copy =>
                    {
                        string template = Encoding.UTF8.GetString(copy.Read("chat_template.jinja"));
                        copy.Write(
                            "chat_template.json",
                            new JsonObject { ["chat_template"] = template }.ToJsonString()
                        );
                        copy.Delete("chat_template.jinja");
                    }
                ),
            }
            : mutation;

    /// <summary>Damage that any JSON file can have.</summary>
    static IEnumerable<CheckpointMutation> BrokenJson(string file, LoadStage stage)
    {
        yield return Bytes("empty", _ => []);
        yield return Bytes("cut in the middle", bytes => bytes[..(bytes.Length / 2)]);
        yield return Bytes("last brace cut off", bytes => bytes[..bytes.AsSpan().LastIndexOf((byte)'}')]);
        yield return Bytes("zeros behind the text", bytes => [.. bytes, 0, 0]);
        yield return Bytes("UTF-16", bytes => Encoding.Unicode.GetBytes(Encoding.UTF8.GetString(bytes)));
        yield return Bytes("byte order mark", bytes => [0xEF, 0xBB, 0xBF, .. bytes]);
        yield return Bytes("random bytes", bytes => Noise(bytes.Length));
        yield return Text("prose instead of JSON", _ => "Entry not found");
        yield return Text("a list", text => $"[{text}]");
        yield return Text("a number", _ => "1");
        yield return Text("null", _ => "null");
        yield return Text("a string", _ => "\"{}\"");
        yield return Text("second object behind the first", text => text + "{}");
        yield return Text("trailing comma", text => text[..text.LastIndexOf('}')] + ",}");
        yield return Text("comment", text => "// a comment\n" + text);
        yield return Text("single quotes", text => text.Replace('"', '\''));
        yield return Text("NaN", text => WithField(text, "NaN"));
        yield return Text("Infinity", text => WithField(text, "-Infinity"));
        yield return Text("number with a leading zero", text => WithField(text, "012"));
        yield return Text("string with a line break", text => WithField(text, "\"a\nb\""));
        yield return Text("escape that is no character", text => WithField(text, "\"\\ud800\""));
        yield return Text("name that is no character", text => "{\"\\udc00\": 1, " + text[(text.IndexOf('{') + 1)..]);
        yield return Text("field twice", text => WithField(WithField(text, "1"), "1"));
        yield return Text("nested 1000 deep", text => WithField(text, new string('[', 1000) + new string(']', 1000)));
        yield return Text("nested 1000 deep and not closed", text => WithField(text, new string('[', 1000)));
        yield return Bytes(
            "byte that is not UTF-8",
            bytes =>
                [
                    .. Encoding.ASCII.GetBytes("{\"a\": \""),
                    0xFF,
                    .. Encoding.ASCII.GetBytes("\", "),
                    .. bytes.AsSpan(bytes.AsSpan().IndexOf((byte)'{') + 1),
                ]
        );
        yield return new($"{file}: larger than any such file", file, stage, copy => copy.WriteSparse(file, 1L << 32));
        yield return new($"{file}: a directory", file, stage, copy => copy.MakeDirectory(file));
        yield return new($"{file}: a link to nothing", file, stage, copy => copy.MakeDanglingLink(file));

        CheckpointMutation Bytes(string what, Func<byte[], byte[]> change) =>
            new($"{file}: {what}", file, stage, copy => copy.Write(file, change(copy.Read(file))));

        CheckpointMutation Text(string what, Func<string, string> change) =>
            new($"{file}: {what}", file, stage, copy => copy.Text(file, change));
    }

    // The text of an object with one more field, whose value may be anything.
    static string WithField(string text, string value)
    {
        int brace = text.IndexOf('{');
        return $"{text[..(brace + 1)]}\"mutation\": {value}, {text[(brace + 1)..]}";
    }

    /// <summary>A mutation that sets one field, given as a dotted path, to a JSON value, or removes it where that is null.</summary>
    static CheckpointMutation Field(
        string file,
        LoadStage stage,
        string path,
        string? value,
        Action<CheckpointCopy>? before = null
    )
    {
        string name = value is null
            ? $"{file}: {path} is missing"
            : $"{file}: {path} is {(value.Length > 50 ? value[..50] + "..." : value)}";
        Action<CheckpointCopy> apply = copy => copy.Json(file, root => Set(root, path, value));
        return new(name, file, stage, before is null ? apply : Before(apply, before));
    }

    static void Set(JsonObject root, string path, string? value)
    {
        string[] names = path.Split('.');
        JsonObject at = root;
        foreach (string name in names[..^1])
        {
            at = at[name]!.AsObject();
        }

        at.Remove(names[^1]);
        if (value is not null)
        {
            at[names[^1]] = JsonNode.Parse(value);
        }
    }

    static Action<CheckpointCopy> Before(Action<CheckpointCopy> apply, Action<CheckpointCopy> first) =>
        copy =>
        {
            first(copy);
            apply(copy);
        };

    // xorshift with a fixed seed: the same bytes on every machine and runtime.
    static byte[] Noise(int length)
    {
        uint state = 2463534242;
        byte[] bytes = new byte[length];
        for (int i = 0; i < length; i++)
        {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            bytes[i] = (byte)state;
        }

        return bytes;
    }
}
