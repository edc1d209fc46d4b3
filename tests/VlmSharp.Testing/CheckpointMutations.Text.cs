namespace VlmSharp.Testing;

public static partial class CheckpointMutations
{
    static IEnumerable<CheckpointMutation> Templates()
    {
        foreach (
            string? value in (string?[])
                [null, "null", "1", "true", "\"\"", "[]", "[1]", "[\"{{ messages }}\"]", "{}", "{\"tool_use\": \"x\"}"]
        )
        {
            yield return Field("chat_template.json", LoadStage.Files, "chat_template", value);
        }

        foreach (
            string value in (string[])
                [
                    "1",
                    "\"\"",
                    "[]",
                    "[null]",
                    """[{"name": "tool_use", "template": "x"}]""",
                    """[{"template": "x"}]""",
                    """[{"name": "default"}]""",
                    """[{"name": "default", "template": 1}]""",
                    """[{"name": 1, "template": "x"}]""",
                    """{"default": 1}""",
                    """{"tool_use": "x"}""",
                ]
        )
        {
            yield return Field(
                TokenizerConfig,
                LoadStage.Files,
                "chat_template",
                value,
                copy => copy.Delete("chat_template.json")
            );
        }

        const string Jinja = "chat_template.jinja";
        yield return new($"{Jinja}: empty", Jinja, LoadStage.Files, copy => copy.Write(Jinja, ""));
        yield return new(
            $"{Jinja}: not UTF-8",
            Jinja,
            LoadStage.Files,
            copy => copy.Write(Jinja, [(byte)'{', (byte)'{', 0xC3, 0x28])
        );
        yield return new(
            $"{Jinja}: UTF-16",
            Jinja,
            LoadStage.Files,
            copy => copy.Write(Jinja, [0xFF, 0xFE, 0x7B, 0x00])
        );
        yield return new($"{Jinja}: a directory", Jinja, LoadStage.Files, copy => copy.MakeDirectory(Jinja));
        yield return new($"{Jinja}: a link to nothing", Jinja, LoadStage.Files, copy => copy.MakeDanglingLink(Jinja));
        yield return new(
            $"{Jinja}: larger than any template",
            Jinja,
            LoadStage.Files,
            copy => copy.WriteSparse(Jinja, 1L << 32)
        );
        foreach (
            (string what, string source) in ((string, string)[])
                [
                    ("unclosed expression", "{{ messages"),
                    ("unclosed block", "{% for message in messages %}x"),
                    ("unclosed statement", "{% if messages"),
                    ("unclosed string", "{{ 'a }}"),
                    ("end without a start", "{% endfor %}"),
                    ("unknown statement", "{% launch messages %}"),
                    ("two operators", "{{ 1 + * 2 }}"),
                    ("unbalanced parentheses", "{{ (1 + 2 }}"),
                    (
                        "expressions nested 100 000 deep",
                        "{{ " + new string('(', 100_000) + "1" + new string(')', 100_000) + " }}"
                    ),
                    ("100 000 signs", "{{ " + new string('-', 100_000) + "1 }}"),
                    ("blocks nested 10 000 deep", string.Concat(Enumerable.Repeat("{% if x %}", 10_000))),
                ]
        )
        {
            yield return new($"{Jinja}: {what}", Jinja, LoadStage.Template, copy => copy.Write(Jinja, source));
        }
    }

    static List<CheckpointMutation> Tokenizers()
    {
        const string Whole = "tokenizer.json";
        const string Vocabulary = "vocab.json";
        const string Merges = "merges.txt";

        // Without tokenizer.json the older pair of files counts.
        static void Older(CheckpointCopy copy) => copy.Delete(Whole);
        List<CheckpointMutation> all =
        [
            // A directory of that name counts as its absence, and the older pair is read.
            .. BrokenJson(Whole, LoadStage.Tokenizer).Where(mutation => !mutation.Name.EndsWith("a directory")),
            .. BrokenJson(Vocabulary, LoadStage.Tokenizer)
                .Select(mutation => mutation with { Apply = Before(mutation.Apply, Older) }),
        ];
        foreach ((string path, string?[] values) in TokenizerFields)
        {
            all.AddRange(Rows(Whole, LoadStage.Tokenizer, path, values));
        }

        foreach (string value in (string[])["-1", "\"0\"", "1.5", "null", "[0]", "99999999999", "0"])
        {
            // A second entry with the number 0 is wrong as well.
            all.Add(Field(Vocabulary, LoadStage.Tokenizer, "mutation", value, Older));
        }

        foreach (
            (string what, byte[] bytes) in ((string, byte[])[])
                [
                    ("a line of one symbol", [.. "#version: 0.2\na\n"u8]),
                    ("a line of three symbols", [.. "#version: 0.2\na b c\n"u8]),
                    ("a symbol that the vocabulary lacks", [.. "#version: 0.2\nqqqqqq zzzzzz\n"u8]),
                    ("a byte that is not UTF-8", [.. "#version: 0.2\na "u8, 0xFF, (byte)'\n']),
                    ("UTF-16", [0xFF, 0xFE, (byte)'a', 0, (byte)' ', 0, (byte)'b', 0]),
                    ("random bytes", Noise(4096)),
                    ("a line of 64 KB", [.. new string('x', 1 << 16).Select(c => (byte)c), (byte)'\n']),
                ]
        )
        {
            all.Add(
                new(
                    $"{Merges}: {what}",
                    Merges,
                    LoadStage.Tokenizer,
                    copy =>
                    {
                        Older(copy);
                        copy.Write(Merges, bytes);
                    }
                )
            );
        }

        all.Add(
            new(
                $"{Merges}: a directory",
                Merges,
                LoadStage.Tokenizer,
                copy =>
                {
                    Older(copy);
                    copy.MakeDirectory(Merges);
                }
            )
        );
        all.Add(
            new(
                $"{Merges}: larger than any",
                Merges,
                LoadStage.Tokenizer,
                copy =>
                {
                    Older(copy);
                    copy.WriteSparse(Merges, 1L << 32);
                }
            )
        );
        foreach (string file in (string[])[Vocabulary, Merges])
        {
            all.Add(
                new(
                    $"{file}: missing, and {Whole} too",
                    file,
                    LoadStage.Tokenizer,
                    copy =>
                    {
                        Older(copy);
                        copy.Delete(file);
                    }
                )
            );
        }

        return all;
    }

    static (string Path, string?[] Values)[] TokenizerFields =>
        [
            ("model", [null, "null", "1", "[]", "{}"]),
            ("model.type", ["1", "\"NoSuchModel\""]),
            (
                "model.vocab",
                [
                    null,
                    "null",
                    "1",
                    "[]",
                    """{"a": -1}""",
                    """{"a": "0"}""",
                    """{"a": 1.5}""",
                    """{"a": 0, "b": 0}""",
                    """{"a": 99999999999}""",
                ]
            ),
            ("model.merges", [null, "null", "1", "{}", "[1]", """["a"]""", """[["a"]]""", """["no such"]""", "[\"\"]"]),
            (
                "added_tokens",
                [
                    "1",
                    "{}",
                    "[1]",
                    "[{}]",
                    """[{"id": -1, "content": "x"}]""",
                    """[{"id": 1.5, "content": "x"}]""",
                    """[{"id": 99999999999, "content": "x"}]""",
                    """[{"id": 420, "content": 1}]""",
                    """[{"id": 420, "content": ""}]""",
                ]
            ),
            ("pre_tokenizer", ["1", "{}", """{"type": "NoSuchStep"}"""]),
            ("normalizer", ["1", "{}", """{"type": "NoSuchStep"}"""]),
            ("decoder", ["1", "{}", """{"type": "NoSuchStep"}"""]),
        ];
}
