using System.Text;
using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;
using VlmSharp.Kernels.Quantized;
using VlmSharp.Testing;
using Xunit;
using GgufWriter = VlmSharp.Formats.Gguf.GgufWriter;

namespace VlmSharp.Tests.Formats.Gguf;

public sealed class GgufWriterTests
{
    [Fact]
    public void What_was_read_is_written_back_to_the_same_bytes()
    {
        using TemporaryDirectory directory = new();
        foreach (string name in (string[])["qwen2vl-tiny.gguf", "mmproj-tiny.gguf"])
        {
            using GgufFile file = GgufFile.Open(Goldens.Local($"gguf/{name}"));
            GgufWriter writer = new();
            foreach ((string key, GgufValue value) in file.Metadata)
            {
                writer.Add(key, value);
            }

            foreach (GgufTensor tensor in file.Tensors.Values)
            {
                writer.Tensor(tensor.Name, tensor.Type, tensor.Shape, s => s.Write(tensor.Bytes(0, tensor.Count)));
            }

            writer.Save(directory[name]);
            // The package puts no padding behind the last tensor.
            byte[] expected = File.ReadAllBytes(file.FullPath);
            Assert.Equal(expected, File.ReadAllBytes(directory[name])[..expected.Length]);
        }
    }

    [Fact]
    public void Every_type_of_value_is_read_back()
    {
        using TemporaryDirectory directory = new();
        string path = directory["values.gguf"];
        new GgufWriter()
            .Add("u8", (byte)255)
            .Add("i8", (sbyte)-128)
            .Add("u16", ushort.MaxValue)
            .Add("i16", short.MinValue)
            .Add("u32", uint.MaxValue)
            .Add("i32", int.MinValue)
            .Add("u64", ulong.MaxValue)
            .Add("i64", long.MinValue)
            .Add("f32", 0.1f)
            .Add("f64", 0.1)
            .Add("bool", true)
            .Add("text", "Grüße, 图片")
            .Add("empty", "")
            .Add("floats", (float[])[1, -2.5f])
            .Add("flags", (bool[])[true, false])
            .Add("none", Array.Empty<int>())
            .Add("texts", (string[])["a", "", "é"])
            .Save(path);
        using GgufFile file = GgufFile.Open(path);
        Assert.Equal(
            "255 -128 65535 -32768 4294967295 -2147483648 18446744073709551615 -9223372036854775808 "
                + $"{(double)0.1f:R} 0.1 true \"Grüße, 图片\" \"\" [1,-2.5] [true,false] [] [\"a\",\"\",\"é\"]",
            string.Join(' ', file.Metadata.Values.Select(Json))
        );
        Assert.Empty(file.Tensors);
    }

    [Fact]
    public void A_tensor_that_fails_leaves_the_old_file_and_nothing_else()
    {
        using TemporaryDirectory directory = new();
        string path = directory["model.gguf"];
        File.WriteAllText(path, "before");
        GgufWriter writer = new();
        writer.Tensor("whole", GgmlType.F32, [2], stream => stream.Write(new byte[8]));
        writer.Tensor("short", GgmlType.F32, [2], stream => stream.Write(new byte[4]));
        Assert.Contains(
            "'short' wrote 4 bytes",
            Assert.Throws<InvalidOperationException>(() => writer.Save(path)).Message
        );
        Assert.Equal("before", File.ReadAllText(path));
        Assert.Single(Directory.GetFiles(directory.Path));
    }

    [Fact]
    public void What_no_file_can_hold_is_refused()
    {
        GgufWriter writer = new GgufWriter().Add("key", 1);
        writer.Tensor("tensor", GgmlType.Q4_0, [3, 64], _ => { });
        Assert.Equal(3 * 36 + 20, writer.TensorBytes);
        Assert.Throws<ArgumentException>(() => writer.Add("key", 2));
        Assert.Throws<ArgumentException>(() => writer.Add("other", 'c'));
        Assert.Throws<ArgumentException>(() => writer.Tensor("tensor", GgmlType.F32, [1], _ => { }));
        Assert.Throws<ArgumentException>(() => writer.Tensor("rows", GgmlType.Q4_0, [32, 3], _ => { }));
        Assert.Throws<ArgumentException>(() => writer.Tensor("rank", GgmlType.F32, [1, 1, 1, 1, 1], _ => { }));
        Assert.Throws<ArgumentException>(() => writer.Tensor(new string('n', 64), GgmlType.F32, [1], _ => { }));
    }

    static string Json(GgufValue value)
    {
        using MemoryStream stream = new();
        System.Text.Json.JsonWriterOptions plain = new()
        {
            Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        };
        using (System.Text.Json.Utf8JsonWriter json = new(stream, plain))
        {
            value.WriteTo(json);
        }

        return Encoding.UTF8.GetString(stream.ToArray());
    }
}
