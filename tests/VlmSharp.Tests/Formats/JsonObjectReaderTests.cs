using System.Runtime.InteropServices;
using System.Text;
using VlmSharp.Formats;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Formats;

public sealed partial class JsonObjectReaderTests
{
    const string Sample = """
        {
          "depth": -3, "wide": 9223372036854775807, "eps": 1e-06, "half": 0.5, "yes": true, "name": "qwen \u00e4 \ud83d\ude00",
          "none": null, "one": 7, "many": [7, 8], "mean": [0.5, 1], "mixed": [1, "2"],
          "inner": { "deeper": { "count": 5 } }, "list": [ { "a": 1 }, { "a": "x" } ],
          "tokens": ["<a>", { "content": "<b>" }]
        }
        """;

    readonly JsonObjectReader json = Parse(Sample);

    [Fact]
    public void Comments_are_read_over_where_the_caller_allows_them()
    {
        byte[] text = "{ // one\n \"a\": /* two */ 3 }"u8.ToArray();
        Assert.Equal(3, JsonObjectReader.Parse("recipe.json", text, comments: true).Int("a", 0, 9));
        Assert.Throws<CheckpointException>(() => JsonObjectReader.Parse("config.json", text));
    }

    [Fact]
    public void A_field_that_nobody_reads_is_named_with_those_that_are()
    {
        JsonObjectReader inner = Parse("""{ "inner": { "size": 1, "seize": 2 } }""").Object("inner");
        inner.AllowOnly("size", "seize", "other");
        string message = Assert.Throws<CheckpointException>(() => inner.AllowOnly("size", "count")).Message;
        Assert.Contains("field 'inner.seize' is unknown, expected one of size, count", message);
    }

    [Fact]
    public void Values_are_read_by_type()
    {
        Assert.Equal(-3, json.Int("depth", -5, 5));
        Assert.Equal(long.MaxValue, json.Long("wide", 0, long.MaxValue));
        Assert.Equal(1e-6, json.Number("eps", 0, 1));
        Assert.Equal(-3, json.Number("depth", -5, 5));
        Assert.True(json.Bool("yes"));
        Assert.Equal("qwen ä 😀", json.Text("name"));
        Assert.Equal([7], json.IntOrInts("one", 4));
        Assert.Equal([7, 8], json.IntOrInts("many", 4));
        Assert.Equal([0.5, 1], json.Numbers("mean", 3));
        Assert.Equal(5, json.Object("inner").Object("deeper").Int("count", 0, 9));
        Assert.Equal(1, json.Objects("list", 2)[0].Int("a", 0, 9));
        Assert.Equal(["<a>", "<b>"], json.TextsOrInner("tokens", 2, "content"));
        Assert.Equal("config.json", json.File);
        Assert.Equal("inner.deeper", json.Object("inner").Object("deeper").Path);
    }

    [Fact]
    public void An_absent_or_null_field_takes_the_fallback()
    {
        foreach (string name in (string[])["absent", "none"])
        {
            Assert.False(json.Has(name));
            Assert.Equal(4, json.Int(name, 0, 9, 4));
            Assert.Equal(0.25, json.Number(name, 0, 1, 0.25));
            Assert.True(json.Bool(name, true));
            Assert.Equal("x", json.Text(name, "x"));
            Assert.Null(json.OptionalObject(name));
        }

        Assert.Contains("none", json.Names);
        Assert.Contains("is missing", Message(() => json.Int("absent", 0, 9)));
        Assert.Contains("is null", Message(() => json.Int("none", 0, 9)));
    }

    [Fact]
    public void A_fallback_does_not_excuse_a_wrong_value()
    {
        Assert.Equal(
            "config.json: field 'depth' is -3, expected 1 .. 1024",
            Message(() => json.Int("depth", 1, 1024, 24))
        );
        Assert.Equal(
            "config.json: field 'name' is the string \"qwen \\u00e4 \\ud83d\\ude00\", expected true or false",
            Message(() => json.Bool("name", true))
        );
    }

    [Fact]
    public void An_error_names_file_path_value_and_expectation()
    {
        JsonObjectReader deeper = json.Object("inner").Object("deeper");
        Assert.Equal(
            "config.json: field 'inner.deeper.count' is 5, expected 6 .. 9",
            Message(() => deeper.Int("count", 6, 9))
        );
        Assert.Equal(
            "config.json: field 'inner.deeper.x' is missing, expected a string",
            Message(() => deeper.Text("x"))
        );
        Assert.Equal(
            "config.json: field 'half' is 0.5, expected an integer 0 .. 9",
            Message(() => json.Int("half", 0, 9))
        );
        Assert.Equal(
            "config.json: field 'inner' is an object, expected a number 0 .. 1",
            Message(() => json.Number("inner", 0, 1))
        );
        Assert.Equal(
            "config.json: field 'mixed[1]' is the string \"2\", expected an integer 0 .. 9",
            Message(() => json.Ints("mixed", 2, 0, 9))
        );
        Assert.Equal(
            "config.json: field 'tokens[1].id' is missing, expected a string",
            Message(() => json.TextsOrInner("tokens", 2, "id"))
        );
        Assert.Equal("config.json: field 'many' has 2 items, expected at most 1", Message(() => json.Ints("many", 1)));
        Assert.Equal(
            "config.json: field 'list[1].a' is the string \"x\", expected an integer 0 .. 9",
            Message(() => json.Objects("list", 2)[1].Int("a", 0, 9))
        );
        Assert.Equal("config.json: field 'inner.deeper.count' is odd", deeper.Error("count", "is odd").Message);
    }

    [Fact]
    public void A_limit_is_inside_the_range_and_one_more_is_not()
    {
        Assert.Equal(-3, json.Int("depth", -3, -3));
        Assert.Throws<CheckpointException>(() => json.Int("depth", -2, 0));
        Assert.Throws<CheckpointException>(() => json.Int("depth", -9, -4));
        Assert.Equal(0.5, json.Number("half", 0.5, 0.5));
        Assert.Throws<CheckpointException>(() => json.Number("half", 0.50001, 1));
    }

    [Fact]
    public void A_file_above_the_limit_is_refused_with_both_sizes()
    {
        using TemporaryDirectory directory = new();
        string path = directory.Write("config.json", "{\"a\": 1}  ");
        Assert.Equal(1, JsonObjectReader.Open(path, maxBytes: 10).Int("a", 0, 9));
        Assert.Equal(
            "config.json: has 10 bytes, at most 9 are read from such a file",
            Message(() => JsonObjectReader.Open(path, maxBytes: 9))
        );
    }

    [Fact]
    public void A_missing_file_is_named_with_its_path()
    {
        using TemporaryDirectory directory = new();
        Assert.Equal(
            $"config.json: does not exist ({directory["config.json"]})",
            Message(() => JsonObjectReader.Open(directory["config.json"]))
        );
    }

    [Fact]
    public void A_device_is_not_opened()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "needs /dev/zero");
        Assert.Equal("zero: is empty or not a regular file", Message(() => JsonObjectReader.Open("/dev/zero")));
    }

    [Fact]
    public void A_pipe_is_refused_instead_of_waited_for()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "needs named pipes");
        using TemporaryDirectory directory = new();
        Assert.Equal(0, MakePipe(directory["config.json"], 0x180));
        (Exception? error, _) = CheckpointMutation.Run(path => JsonObjectReader.Open(path), directory["config.json"]);
        Assert.Equal("config.json: is empty or not a regular file", Assert.IsType<CheckpointException>(error).Message);
    }

    [Fact]
    public void A_syntax_error_is_located()
    {
        Assert.StartsWith("config.json: is not valid JSON at line 2, byte 6: ", Message(() => Parse("{\n\"a\": NaN}")));
        Assert.Contains("Duplicate property 'a'", Message(() => Parse("{\"b\": {\"a\": 1, \"a\": 2}}")));
        Assert.Contains("Duplicate property 'a'", Message(() => Parse("{\"b\": {\"a\": 1, \"\\u0061\": 2}}")));
    }

    [Fact]
    public void Names_are_limited_in_number()
    {
        string many = $"{{\"a\": [{string.Join(",", Enumerable.Repeat("{\"x\":0}", JsonObjectReader.MaxNames))}]}}";
        Assert.Contains("more than 300000 field names", Message(() => Parse(many)));
    }

    [Fact]
    public void Damaged_text_is_read_or_refused_by_name_and_never_anything_else()
    {
        byte[] text = Encoding.UTF8.GetBytes(Sample);
        Random random = new(20240917);
        int refused = 0;
        for (int i = 0; i < 20_000; i++)
        {
            byte[] damaged = [.. text];
            for (int change = random.Next(1, 4); change > 0; change--)
            {
                damaged[random.Next(damaged.Length)] = (byte)random.Next(256);
            }

            try
            {
                ReadAll(JsonObjectReader.Parse("config.json", damaged));
            }
            catch (CheckpointException e)
            {
                Assert.StartsWith("config.json: ", e.Message);
                refused++;
            }
        }

        Assert.InRange(refused, 10_000, 19_999);
    }

    static void ReadAll(JsonObjectReader json)
    {
        foreach (string name in json.Names.Where(json.Has))
        {
            _ = json.Raw(name).ToString();
        }

        _ = json.Int("depth", -9, 9, 0);
        _ = json.Long("wide", 0, long.MaxValue, 0);
        _ = json.Number("eps", 0, 1, 0);
        _ = json.Text("name", "");
        _ = json.Ints("many", 9);
        _ = json.Objects("list", 9);
        _ = json.OptionalObject("inner");
    }

    static JsonObjectReader Parse(string text) => JsonObjectReader.Parse("config.json", Encoding.UTF8.GetBytes(text));

    [LibraryImport("libc", EntryPoint = "mkfifo", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MakePipe(string path, uint mode);

    static string Message(Func<object?> read) => Assert.Throws<CheckpointException>(read).Message;
}
