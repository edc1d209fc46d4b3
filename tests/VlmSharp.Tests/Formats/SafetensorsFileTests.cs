using System.Runtime.InteropServices;
using System.Text;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Formats;

public sealed class SafetensorsFileTests : IDisposable
{
    readonly TemporaryDirectory directory = new();

    public void Dispose() => directory.Dispose();

    [Fact]
    public void Tensors_come_back_as_written()
    {
        string path = Save(
            new SafetensorsWriter()
                .Add("matrix", [2, 3], [1f, 2f, 3f, 4f, 5f, float.NaN])
                .Add("empty", [0, 3], ReadOnlySpan<float>.Empty)
                .Add("scalar", [], [7f])
                .Add("ids", "I64", [2], MemoryMarshal.AsBytes<long>([long.MinValue, 9]))
                .Add("small", "I32", [2], MemoryMarshal.AsBytes<int>([int.MinValue, 9]))
        );
        using SafetensorsFile file = SafetensorsFile.Open(path);
        Assert.Equal([1f, 2f, 3f, 4f, 5f, float.NaN], file.Floats("matrix"));
        Assert.Equal([2, 3], file.Find("matrix").Shape);
        Assert.Empty(file.Floats("empty"));
        Assert.Equal([7f], file.Floats("scalar"));
        Assert.Equal(1, file.Find("scalar").Count);
        Assert.Equal([long.MinValue, 9], file.Integers("ids"));
        Assert.Equal([int.MinValue, 9], file.Integers("small"));
        Assert.Equal(["matrix", "empty", "scalar", "ids", "small"], file.Tensors.Select(tensor => tensor.Name));
        Assert.Equal(
            "test.safetensors: tensor 'ids' is I64, weights are read as F32, F16 or BF16",
            Message(() => file.Floats("ids"))
        );
        Assert.Equal(
            "test.safetensors: tensor 'matrix' is F32, expected I64 or I32",
            Message(() => file.Integers("matrix"))
        );
        Assert.Equal("test.safetensors: has no tensor 'x'", Message(() => file.Floats("x")));
    }

    [Fact]
    public void Metadata_and_fields_of_later_versions_are_accepted()
    {
        const string Header =
            """{"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[1],"x":{"y":[1]},"data_offsets":[0,1]}}   """;
        using SafetensorsFile file = SafetensorsFile.Open(Save(SafetensorsWriter.Join(Header, [42])));
        Assert.Equal("pt", file.Metadata["format"]);
        Assert.Equal(42, file.Bytes("a")[0]);
    }

    [Fact]
    public void A_file_without_tensors_is_valid()
    {
        using SafetensorsFile file = SafetensorsFile.Open(Save(SafetensorsWriter.Join("{}", [])));
        Assert.Empty(file.Tensors);
    }

    /// <summary>The names and sizes of the format's own list.</summary>
    [Theory]
    [InlineData("BOOL", 8)]
    [InlineData("F4", 4)]
    [InlineData("F6_E2M3", 6)]
    [InlineData("F6_E3M2", 6)]
    [InlineData("U8", 8)]
    [InlineData("I8", 8)]
    [InlineData("F8_E5M2", 8)]
    [InlineData("F8_E4M3", 8)]
    [InlineData("F8_E8M0", 8)]
    [InlineData("I16", 16)]
    [InlineData("U16", 16)]
    [InlineData("F16", 16)]
    [InlineData("BF16", 16)]
    [InlineData("I32", 32)]
    [InlineData("U32", 32)]
    [InlineData("F32", 32)]
    [InlineData("C64", 64)]
    [InlineData("F64", 64)]
    [InlineData("I64", 64)]
    [InlineData("U64", 64)]
    public void Every_element_type_has_its_size(string dtype, int bits)
    {
        using SafetensorsFile file = SafetensorsFile.Open(
            Save(new SafetensorsWriter().Add("a", dtype, [4], new byte[bits / 2]))
        );
        Assert.Equal(bits / 2, file.Find("a").Size);
        Assert.Contains(
            "takes",
            Message(() =>
                SafetensorsFile.Open(Save(new SafetensorsWriter().Add("a", dtype, [4], new byte[(bits / 2) + 1])))
            )
        );
    }

    [Fact]
    public void Elements_that_end_inside_a_byte_are_refused()
    {
        string path = Save(new SafetensorsWriter().Add("a", "F4", [3], new byte[2]));
        Assert.Equal(
            "test.safetensors: tensor 'a' is F4 [3], which takes 12 bits, but its data_offsets [0, 2] hold 2 bytes",
            Message(() => SafetensorsFile.Open(path))
        );
    }

    [Fact]
    public void A_truncated_file_names_the_tensor_and_both_sizes()
    {
        byte[] whole = new SafetensorsWriter().Add("a", [2], [1f, 2f]).Add("b", [2], [3f, 4f]).ToArray();
        Assert.Equal(
            $"test.safetensors: tensor 'b' ends at byte {whole.Length} of the file, which has {whole.Length - 1}; it is truncated or damaged: copy or download it again",
            Message(() => SafetensorsFile.Open(Save(whole[..^1])))
        );
    }

    [Fact]
    public void Overlaps_and_gaps_name_both_tensors_and_both_places()
    {
        string overlap =
            """{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}""";
        int start = 8 + overlap.Length;
        Assert.Equal(
            $"test.safetensors: tensor 'b' starts at byte {start + 2}, tensor 'a' ends at {start + 4}: they overlap",
            Message(() => SafetensorsFile.Open(Save(SafetensorsWriter.Join(overlap, new byte[6]))))
        );
        string gap = overlap.Replace("[2,6]", "[6,10]");
        Assert.Equal(
            $"test.safetensors: tensor 'b' starts at byte {start + 7}, tensor 'a' ends at {start + 5}: a gap",
            Message(() => SafetensorsFile.Open(Save(SafetensorsWriter.Join(gap, new byte[10]))))
        );
    }

    [Fact]
    public void A_header_of_many_tensors_costs_memory_in_proportion()
    {
        SafetensorsWriter writer = new();
        for (int i = 0; i < 20_000; i++)
        {
            writer.Add($"layers.{i}.weight", "U8", [1], [(byte)i]);
        }

        string path = Save(writer);
        long before = GC.GetAllocatedBytesForCurrentThread();
        using SafetensorsFile file = SafetensorsFile.Open(path);
        Assert.Equal(20_000, file.Tensors.Count);
        Assert.Equal(77, file.Bytes("layers.333.weight")[0]);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 1, 10 << 20);
    }

    [Fact]
    public void Every_half_and_bfloat16_widens_exactly()
    {
        ushort[] all = [.. Enumerable.Range(0, 65536).Select(bits => (ushort)bits)];
        string path = Save(
            new SafetensorsWriter()
                .Add("f16", "F16", [65536], MemoryMarshal.AsBytes<ushort>(all))
                .Add("bf16", "BF16", [65536], MemoryMarshal.AsBytes<ushort>(all))
        );
        using SafetensorsFile file = SafetensorsFile.Open(path);
        float[] halves = file.Floats("f16");
        float[] brains = file.Floats("bf16");
        for (int bits = 0; bits < 65536; bits++)
        {
            Assert.Equal(Value(bits, exponentBits: 5, fractionBits: 10), halves[bits]);
            Assert.Equal(Value(bits, exponentBits: 8, fractionBits: 7), brains[bits]);
        }
    }

    [Fact]
    public void Rows_are_parts_of_the_outermost_dimension()
    {
        float[] values = [.. Enumerable.Range(0, 24).Select(i => (float)i)];
        using SafetensorsFile file = SafetensorsFile.Open(
            Save(new SafetensorsWriter().Add("pad", [1], [0f]).Add("a", [4, 3, 2], values))
        );
        CheckpointTensor tensor = file.Tensor("a");
        Assert.Equal([2, 3, 2], tensor.Rows(1, 2).Shape);
        Assert.Equal(values[6..18], tensor.Rows(1, 2).ToArray());
        Assert.Equal(values[12..18], tensor.Rows(1, 3).Rows(1, 1).ToArray());
        Assert.Empty(tensor.Rows(4, 0).ToArray());
        Assert.Throws<ArgumentOutOfRangeException>(() => tensor.Rows(3, 2));
        Assert.Throws<ArgumentOutOfRangeException>(() => tensor.Rows(-1, 2));
        Assert.Throws<ArgumentOutOfRangeException>(() => tensor.Rows(0, int.MaxValue));
        Assert.Throws<ArgumentException>(() => tensor.CopyTo(new float[23]));
        Assert.Equal(ElementType.F32, tensor.Type);
    }

    /// <summary>5 GB with holes instead of zeros, so that it takes a few blocks of disk.</summary>
    [Fact]
    public void A_tensor_above_two_gigabytes_is_read_by_rows()
    {
        const int Rows = 151_936;
        const int Columns = 8192;
        const long Bytes = (long)Rows * Columns * 4;
        string header = $$"""
            {
              "wte": { "dtype": "F32", "shape": [{{Rows}}, {{Columns}}], "data_offsets": [0, {{Bytes}}] },
              "b": { "dtype": "F32", "shape": [1], "data_offsets": [{{Bytes}}, {{Bytes + 4}}] }
            }
            """;
        string path = Save(SafetensorsWriter.Join(header, []));
        using (FileStream stream = File.OpenWrite(path))
        {
            stream.SetLength(8 + header.Length + Bytes + 4);
            stream.Seek(-8, SeekOrigin.End);
            stream.Write(MemoryMarshal.AsBytes<float>([3f, 5f]));
        }

        using SafetensorsFile file = SafetensorsFile.Open(path);
        CheckpointTensor tensor = file.Tensor("wte");
        Assert.Equal((long)Rows * Columns, tensor.Count);
        Assert.Equal(3f, tensor.Rows(Rows - 1, 1).ToArray()[^1]);
        Assert.Equal(0f, tensor.Rows(70_000, 1).ToArray()[0]);
        Assert.Equal([5f], file.Floats("b"));
        Assert.Equal(
            $"test.safetensors: tensor 'wte' has {Bytes} bytes, more than the 2147483647 that are read at once: read it by rows",
            Message(() => _ = file.Tensor("wte").Bytes.Length)
        );
        Assert.Contains("read it by rows", Message(() => _ = file.Bytes("wte").Length));
    }

    [Fact]
    public void After_dispose_nothing_is_read()
    {
        SafetensorsFile file = SafetensorsFile.Open(Save(new SafetensorsWriter().Add("a", [1], [1f])));
        CheckpointTensor tensor = file.Tensor("a");
        file.Dispose();
        file.Dispose();
        Assert.Throws<ObjectDisposedException>(() => tensor.ToArray());
        Assert.Throws<ObjectDisposedException>(() => tensor.Bytes.Length);
        Assert.Throws<ObjectDisposedException>(() => file.Bytes("a").Length);
    }

    [Fact]
    public void A_refused_file_is_closed_again()
    {
        string path = Save(SafetensorsWriter.Join("{}", new byte[4]));
        Assert.Throws<CheckpointException>(() => SafetensorsFile.Open(path));
        using FileStream exclusive = new(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
        Assert.True(exclusive.CanWrite);
    }

    [Fact]
    public void A_mapped_file_is_locked_against_writers_that_ask()
    {
        string path = Save(new SafetensorsWriter().Add("a", [1], [1f]));
        using SafetensorsFile file = SafetensorsFile.Open(path);
        Assert.Throws<IOException>(() => new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None));
        using SafetensorsFile second = SafetensorsFile.Open(path);
        Assert.Equal([1f], second.Floats("a"));
    }

    [Fact]
    public void A_damaged_header_is_read_or_refused_by_name_and_never_anything_else()
    {
        byte[] header = Encoding.UTF8.GetBytes(
            """{"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[],"data_offsets":[24,26]}}"""
        );
        long length = 8 + header.Length + 26;
        Random random = new(20240918);
        int refused = 0;
        for (int i = 0; i < 20_000; i++)
        {
            byte[] damaged = [.. header];
            for (int change = random.Next(1, 4); change > 0; change--)
            {
                damaged[random.Next(damaged.Length)] = (byte)random.Next(256);
            }

            try
            {
                SafetensorsHeader.Read("test.safetensors", damaged, length);
            }
            catch (CheckpointException e)
            {
                Assert.StartsWith("test.safetensors: ", e.Message);
                refused++;
            }
        }

        Assert.InRange(refused, 15_000, 19_999);
    }

    [Fact]
    public void Absurd_names_are_cut_and_cleaned_in_messages()
    {
        string name = "\\u001b[31m" + new string('x', 100_000);
        string header = $$"""{"{{name}}": {"dtype": "F99", "shape": [], "data_offsets": [0, 0]} }""";
        string message = Message(() => SafetensorsFile.Open(Save(SafetensorsWriter.Join(header, []))));
        Assert.StartsWith("test.safetensors: tensor '\\u001b[31mxxx", message);
        Assert.InRange(message.Length, 100, 300);
    }

    /// <summary>All the weights and expected tensors that the reference implementation wrote.</summary>
    [Fact]
    public void Every_file_of_the_reference_opens()
    {
        string[] files = Directory.GetFiles(Goldens.Shared("golden"), "*.safetensors", SearchOption.AllDirectories);
        Assert.True(files.Length > 300);
        foreach (string path in files)
        {
            using SafetensorsFile file = SafetensorsFile.Open(path);
            Assert.Equal(new FileInfo(path).Length, file.Tensors.Max(tensor => tensor.Offset + tensor.Size));
        }
    }

    // The value that the bits stand for, by the definition of the formats.
    static float Value(int bits, int exponentBits, int fractionBits)
    {
        double sign = bits >> 15 == 0 ? 1 : -1;
        int exponent = (bits >> fractionBits) & ((1 << exponentBits) - 1);
        double fraction = bits & ((1 << fractionBits) - 1);
        int bias = (1 << (exponentBits - 1)) - 1;
        double scale = Math.Pow(2, -fractionBits);
        if (exponent == (1 << exponentBits) - 1)
        {
            return fraction > 0 ? float.NaN : (float)(sign / 0.0);
        }

        return (float)(
            exponent == 0
                ? sign * fraction * scale * Math.Pow(2, 1 - bias)
                : sign * (1 + (fraction * scale)) * Math.Pow(2, exponent - bias)
        );
    }

    string Save(SafetensorsWriter writer) => Save(writer.ToArray());

    string Save(byte[] bytes) => directory.Write("test.safetensors", bytes);

    static string Message(Action read) => Assert.Throws<CheckpointException>(read).Message;

    static string Message(Func<object?> read) => Assert.Throws<CheckpointException>(read).Message;
}
