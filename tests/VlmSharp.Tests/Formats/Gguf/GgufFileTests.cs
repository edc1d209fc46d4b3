using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Formats.Gguf;

public sealed class GgufFileTests
{
    static string Golden(string name) => Goldens.Local(Path.Combine("gguf", name));

    static JsonNode Json(string name) => JsonNode.Parse(File.ReadAllBytes(Golden(name)))!;

    public static TheoryData<string, string, string> Malformed =>
        [
            .. Json("malformed.json")
                .AsArray()
                .Select(c => ((string)c!["file"]!, (string)c["must"]!, (string)c["wrong"]!)),
        ];

    [Theory, MemberData(nameof(Malformed))]
    public void A_damaged_file_is_refused_by_name(string file, string must, string wrong)
    {
        string path = Golden(file);
        string? message = null;
        try
        {
            using GgufFile opened = GgufFile.Open(path);
            foreach (GgufTensor tensor in opened.Tensors.Values)
            {
                Assert.Equal(tensor.Count, tensor.ToArray().Length);
            }
        }
        catch (CheckpointException e)
        {
            message = e.Message;
        }

        if (must == "load")
        {
            Assert.True(message is null, $"{wrong}: {message}");
        }
        else if (must == "be refused")
        {
            Assert.True(message is not null, wrong);
        }

        Assert.StartsWith(message is null ? "" : $"{Path.GetFileName(file)}: ", message ?? "");
    }

    [Theory]
    [InlineData("truncated-data", "tensor 'b' (F32 [")]
    [InlineData("duplicate-key", "key 'k' occurs twice")]
    [InlineData("alignment-3", "key 'general.alignment' is 3, expected a power of two, 8 .. 1073741824")]
    [InlineData("q4_0-row-of-33", "is Q4_0 with rows of 33 values; its blocks hold 32")]
    [InlineData("tensor-type-42", "has type 42, which is not known")]
    [InlineData("version-4", "is of version 4 of the format; versions 2 and 3 can be read")]
    [InlineData("overlap-partly", "starts at byte ")]
    public void Errors_name_key_or_tensor_and_what_was_expected(string name, string part)
    {
        var error = Assert.Throws<CheckpointException>(() => GgufFile.Open(Golden($"malformed/{name}.gguf")).Dispose());
        Assert.Contains(part, error.Message);
    }

    [Fact]
    public void Metadata_of_every_type_is_what_was_written()
    {
        using GgufFile file = GgufFile.Open(Golden("metadata.gguf"));
        JsonObject expected = Json("metadata.json").AsObject();
        Assert.Equal(expected.Select(pair => pair.Key), file.Metadata.Keys);
        foreach ((string key, JsonNode? wanted) in expected)
        {
            GgufValue value = file.Value(key);
            using MemoryStream stream = new();
            using (Utf8JsonWriter json = new(stream))
            {
                value.WriteTo(json);
            }

            JsonNode? found = JsonNode.Parse(stream.ToArray());
            Assert.True(JsonNode.DeepEquals(wanted!["value"], found), $"{key}: {found}");
            Assert.Equal(Name((string)wanted["type"]!), value.Type.ToString());
            if (wanted["items"] is { } items)
            {
                Assert.Equal(Name((string)items!), value.ItemType.ToString());
            }
        }

        static string Name(string golden) =>
            golden switch
            {
                "STRING" => "Text",
                "ARRAY" => "List",
                _ => golden[..1] + golden[1..].ToLowerInvariant().Replace("int", golden[0] == 'U' ? "Int" : "int"),
            };
    }

    [Fact]
    public void Lists_are_read_without_a_copy_of_each_text()
    {
        using GgufFile file = GgufFile.Open(Golden("metadata.gguf"));
        List<string> texts = [];
        file.Value("test.array.string").ForEachText((_, text) => texts.Add(Encoding.UTF8.GetString(text)));
        Assert.Equal(["", "a", "▁the", "Ġthe", "<|im_end|>"], texts.Take(5));
        Assert.Equal([-2147483648, 0, 1, 2147483647], file.Value("test.array.int32").Integers());
        Assert.Contains(
            "key 'test.array.uint64' has the item 18446744073709551615",
            Assert.Throws<CheckpointException>(() => file.Value("test.array.uint64").Integers()).Message
        );
        Assert.Contains(
            "key 'test.bool.true' is Bool, expected a list of texts",
            Assert.Throws<CheckpointException>(() => file.Value("test.bool.true").ForEachText((_, _) => { })).Message
        );
    }

    [Theory]
    [InlineData("align-8", 8)]
    [InlineData("align-64", 64)]
    [InlineData("align-512", 512)]
    [InlineData("version-2", 8)]
    public void Alignment_and_version_change_no_value(string name, int alignment)
    {
        using GgufFile file = GgufFile.Open(Golden($"{name}.gguf"));
        Assert.Equal(alignment, file.Alignment);
        Assert.Equal(name == "version-2" ? 2 : 3, file.Version);
        AssertValues(file, Golden($"{name}.safetensors"));
    }

    // The file holds the numbers 0, 1, 2 and so on, as those of the other variants do. The values beside it are what one gets who takes
    // its bytes for little-endian ones (4.6e-41 for 1), so the values of a twin are compared.
    [Fact]
    public void Big_endian_files_hold_the_numbers_that_were_written()
    {
        using GgufFile file = GgufFile.Open(Golden("big-endian.gguf"));
        Assert.True(file.BigEndian);
        Assert.Equal(0x12345678, file.Keys.Int("a.number", 0, int.MaxValue));
        Assert.Equal("text", file.Keys.Text("a.text"));
        Assert.Equal([1, 2, 3], file.Value("a.list").Integers());
        AssertValues(file, Golden("version-2.safetensors"));
    }

    [Theory]
    [InlineData("qwen2vl-tiny")]
    [InlineData("mmproj-tiny")]
    public void Whole_model_files_have_their_keys_tensors_and_values(string name)
    {
        string path = Golden($"{name}.gguf");
        using GgufFile file = GgufFile.Open(path);
        AssertValues(file, Golden($"{name}.safetensors"));
        JsonNode model = Json("models.json")[name]!;
        Assert.Equal(model["keys"]!.AsObject().Select(pair => pair.Key).Order(), file.Metadata.Keys.Order());
        foreach ((string tensor, JsonNode? wanted) in model["tensors"]!.AsObject())
        {
            GgufTensor found = file.Tensor(tensor);
            Assert.Equal((string?)wanted!["type"], found.Type.ToString());
            Assert.Equal(wanted["shape"]!.AsArray().Select(d => (int)d!), found.Shape);
            Assert.Equal((long)wanted["bytes"]!, found.Size);
        }
    }

    [Fact]
    public void Asking_for_what_is_not_there_names_it()
    {
        using GgufFile file = GgufFile.Open(Golden("metadata.gguf"));
        Assert.Equal("metadata.gguf: key 'no.such' is missing", Message(() => file.Value("no.such")));
        Assert.Equal("metadata.gguf: has no tensor 'x'", Message(() => file.Tensor("x")));
        Assert.Contains("does not exist", Message(() => GgufFile.Open(Golden("no-such.gguf"))));

        static string Message(Action action) => Assert.Throws<CheckpointException>(action).Message;
    }

    internal static void AssertValues(GgufFile file, string safetensors)
    {
        using SafetensorsFile expected = SafetensorsFile.Open(safetensors);
        Assert.Equal(expected.Tensors.Select(t => t.Name).Order(), file.Tensors.Keys.Order());
        foreach (TensorInfo wanted in expected.Tensors)
        {
            GgufTensor found = file.Tensor(wanted.Name);
            Assert.Equal(wanted.Shape, found.Shape);
            Assert.Equal(expected.Floats(wanted.Name), found.ToArray());
        }
    }
}
