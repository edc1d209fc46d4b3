using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;
using VlmSharp.Kernels.Quantized;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Formats.Gguf;

public sealed class GgufTypeTests
{
    // The repository has a file of each family, the full set one of every type.
    static readonly string Folder = Goldens.HasShared("golden/gguf/types")
        ? Goldens.SharedPath("golden/gguf/types")
        : Goldens.Local("gguf/types");

    public static TheoryData<string> Types =>
        [
            .. Directory
                .GetFiles(Folder, "*.gguf")
                .Select(f => Path.GetFileNameWithoutExtension(f)!)
                .Where(name => !Books.Contains(name))
                .Order(),
        ];

    // Types whose values stand in books of hundreds of entries.
    static readonly string[] Books = ["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"];

    public static TheoryData<string> BookTypes => [.. Books];

    [Theory, MemberData(nameof(BookTypes))]
    public void Types_with_a_code_book_are_listed_and_refused_by_name_when_they_are_read(string type)
    {
        using GgufFile file = GgufFile.Open(Goldens.Shared($"golden/gguf/types/{type}.gguf"));
        GgufTensor tensor = file.Tensor("one_block");
        Assert.Equal(type, tensor.Type.ToString());
        var error = Assert.Throws<CheckpointException>(() => tensor.ToArray());
        Assert.StartsWith($"{type}.gguf: tensor 'one_block' is {type}: ", error.Message);
    }

    [Theory, MemberData(nameof(Types))]
    public void Every_type_unpacks_to_the_reference_s_bits(string type)
    {
        using GgufFile file = GgufFile.Open(Path.Combine(Folder, $"{type}.gguf"));
        using SafetensorsFile expected = SafetensorsFile.Open(Path.Combine(Folder, $"{type}.safetensors"));
        Assert.NotEmpty(file.Tensors);
        foreach (GgufTensor tensor in file.Tensors.Values)
        {
            Assert.Equal(expected.Find(tensor.Name).Shape, tensor.Shape);
            float[] wanted = Widened(expected, tensor.Name);
            float[] found = tensor.ToArray();
            for (int i = 0; i < wanted.Length; i++)
            {
                bool same = wanted[i].Equals(found[i]) || (float.IsNaN(wanted[i]) && float.IsNaN(found[i]));
                Assert.True(same, $"{type} {tensor.Name}[{i}]: {found[i]:R}, expected {wanted[i]:R}");
            }
        }
    }

    [Theory, MemberData(nameof(Types))]
    public void Blocks_unpack_alone_as_they_do_together(string type)
    {
        using GgufFile file = GgufFile.Open(Path.Combine(Folder, $"{type}.gguf"));
        foreach (GgufTensor tensor in file.Tensors.Values)
        {
            float[] all = tensor.ToArray();
            int size = tensor.Type.BlockValues();
            float[] block = new float[size];
            for (int first = 0; first < all.Length; first += size)
            {
                tensor.CopyTo(first, block);
                Assert.True(MemoryMarshal.AsBytes(block).SequenceEqual(MemoryMarshal.AsBytes(all.AsSpan(first, size))));
            }
        }
    }

    [Fact]
    public void Sizes_and_numbers_of_types_are_the_format_s()
    {
        foreach (JsonNode? entry in JsonNode.Parse(File.ReadAllBytes(Goldens.Local("gguf/types.json")))!.AsArray())
        {
            if (entry!["id"] is { } id)
            {
                GgmlType type = Enum.Parse<GgmlType>((string)entry["type"]!);
                Assert.Equal((int)id, (int)type);
                Assert.Equal((int)entry["block_values"]!, type.BlockValues());
                Assert.Equal((int)entry["block_bytes"]!, type.BlockBytes());
            }
        }
    }

    [Fact]
    public void Turned_around_blocks_hold_the_same_values()
    {
        foreach (
            string name in (string[])["Q4_1", "Q5_0", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q6_K", "IQ4_XS", "F64", "MXFP4"]
        )
        {
            GgmlType type = Enum.Parse<GgmlType>(name);
            byte[] blocks = new byte[3 * type.BlockBytes()];
            new Random(5).NextBytes(blocks);
            byte[] turned = [.. blocks];
            BlockFields.Reverse(type, turned);
            Assert.Equal(name == "MXFP4", blocks.AsSpan().SequenceEqual(turned));
            BlockFields.Reverse(type, turned);
            Assert.Equal(blocks, turned);
        }
    }

    [Fact]
    public void Lengths_that_do_not_belong_together_are_refused()
    {
        Assert.Throws<ArgumentException>(() => Dequantize.Apply(GgmlType.Q4_0, new byte[18], new float[31]));
        Assert.Throws<ArgumentException>(() => Dequantize.Apply(GgmlType.Q4_0, new byte[17], new float[32]));
        Assert.Throws<ArgumentException>(() => Dequantize.Apply(GgmlType.Q4_0, new byte[18], new float[64]));
    }

    static float[] Widened(SafetensorsFile file, string name)
    {
        ReadOnlySpan<byte> bytes = file.Bytes(name);
        return file.Find(name).Type switch
        {
            SafetensorsType.I8 => Array.ConvertAll(MemoryMarshal.Cast<byte, sbyte>(bytes).ToArray(), v => (float)v),
            SafetensorsType.I16 => Array.ConvertAll(MemoryMarshal.Cast<byte, short>(bytes).ToArray(), v => (float)v),
            SafetensorsType.I32 => Array.ConvertAll(MemoryMarshal.Cast<byte, int>(bytes).ToArray(), v => (float)v),
            SafetensorsType.I64 => Array.ConvertAll(MemoryMarshal.Cast<byte, long>(bytes).ToArray(), v => (float)v),
            SafetensorsType.F64 => Array.ConvertAll(MemoryMarshal.Cast<byte, double>(bytes).ToArray(), v => (float)v),
            _ => file.Floats(name),
        };
    }
}
