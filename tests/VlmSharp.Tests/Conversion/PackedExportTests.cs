using VlmSharp.Conversion;
using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Quantized;
using VlmSharp.Models;
using VlmSharp.Testing;
using VlmSharp.Training;
using VlmSharp.Verification;
using Xunit;

namespace VlmSharp.Tests.Conversion;

/// <summary>Checkpoints whose matrices lie in the file as they lie in memory.</summary>
public sealed class PackedExportTests
{
    static readonly string Tiny = Goldens.Local("qwen2-vl/checkpoint");

    [Theory]
    [InlineData("qwen2-vl")]
    [InlineData("qwen2-vl-tied-bf16")]
    [InlineData("qwen2.5-vl")]
    [InlineData("qwen3-vl-tied-bf16")]
    [InlineData("qwen3-vl-moe")]
    public void A_golden_case_packed_is_within_tolerance(string name) => Verify(Goldens.Local(name));

    [Theory]
    [InlineData("qwen-vl")]
    [InlineData("qwen2.5-vl-yarn")]
    [InlineData("qwen3-vl")]
    [InlineData("qwen3-vl-moe")]
    [InlineData("quant/qwen2-vl-awq")]
    [InlineData("quant/qwen2-vl-gptq-int4")]
    [InlineData("quant/qwen3-vl-fp8")]
    public void A_whole_golden_case_packed_is_within_tolerance(string name) => Verify(Goldens.Shared($"golden/{name}"));

    static void Verify(string golden)
    {
        using TemporaryDirectory copy = TemporaryDirectory.CopyOf(golden);
        Pack(copy["checkpoint"], copy["packed"]);
        Directory.Delete(copy["checkpoint"], recursive: true);
        Directory.Move(copy["packed"], copy["checkpoint"]);
        CaseReport found = CaseVerifier.Run(copy.Path, threads: 2);
        Assert.NotEmpty(found.Checks);
        Assert.True(
            found.Passed,
            string.Join('\n', found.Checks.Where(c => !c.Passed).Select(c => $"{c.Request} {c.Name}: {c.Detail}"))
        );
    }

    [Theory]
    [InlineData("q4_0")]
    [InlineData("q4_k_m")]
    public void Weights_packed_to_blocks_load_as_they_do_when_they_are_packed_at_load(string type)
    {
        using TemporaryDirectory directory = new();
        Recipe recipe = Recipe.Find(type)!;
        string reader = Goldens.Local("reader-ref/checkpoint");
        IReadOnlyList<(WeightFormat Format, int, long)> written = Pack(reader, directory["packed"], recipe);
        Assert.Contains(written, line => line.Format.BlockColumns() > 1);
        using Checkpoint source = Checkpoint.Open(reader);
        source.PackTo(recipe);
        using Checkpoint packed = Checkpoint.Open(directory["packed"]);
        using WorkerPool pool = new(2);
        Recorder expected = new();
        Recorder found = new();
        using IVisionLanguageModel one = ModelRegistry.Open(source).Load(new(source, pool, recorder: expected));
        using IVisionLanguageModel two = ModelRegistry.Open(packed).Load(new(packed, pool, recorder: found));
        Assert.Equal(expected.Arrays, found.Arrays);
        Assert.Equal(one.Info.TextParameters, two.Info.TextParameters);
        Assert.Equal(one.Info.VisionParameters, two.Info.VisionParameters);
    }

    [Fact]
    public void What_was_packed_cannot_be_packed_converted_or_trained()
    {
        using TemporaryDirectory directory = new();
        Pack(Tiny, directory["packed"]);
        using Checkpoint packed = Checkpoint.Open(directory["packed"]);
        using WorkerPool pool = new(1);
        Throws("packed already", () => PackedExport.Write(packed, directory["again"], pool));
        Throws("take the checkpoint it was made of", () => Convert(packed, directory["a.gguf"], pool));
        Throws("no weights that could be packed", () => packed.PackTo(Recipe.Find("q4_0")!));
        NotSupportedException refused = Assert.Throws<NotSupportedException>(() => TrainableModel.Load(packed, pool));
        Assert.Contains("cannot be trained", refused.Message);
        Assert.False(Directory.Exists(directory["again"]));
    }

    [Fact]
    public void What_is_there_already_is_left_alone()
    {
        using TemporaryDirectory directory = new();
        Directory.CreateDirectory(directory["packed"]);
        IOException e = Assert.Throws<IOException>(() => Pack(Tiny, directory["packed"]));
        Assert.Contains("is there already", e.Message);
    }

    [Fact]
    public void Damaged_panels_are_refused_by_name()
    {
        using TemporaryDirectory directory = new();
        Pack(Tiny, directory["packed"]);
        string path = Path.Combine(directory["packed"], "model.safetensors");
        byte[] whole = File.ReadAllBytes(path);
        (string header, byte[] data) = SafetensorsWriter.Split(whole);

        Mutated(
            "1",
            "vlmsharp.panels is",
            SafetensorsWriter.Join(header.Replace("panels\":\"1\"", "panels\":\"2\""), data)
        );
        for (int at = 0; at < 20; at += 4)
        {
            byte[] other = [.. data];
            other[at] ^= 1;
            Mutated(
                "visual.patch_embed",
                at == 4 ? "pack the weights again" : "panels",
                SafetensorsWriter.Join(header, other)
            );
        }

        byte[] huge = [.. data];
        huge.AsSpan(12, 8).Fill(0x7F);
        Mutated("#0", "no matrix of", SafetensorsWriter.Join(header, huge));

        // A matrix of other outputs, as large as it says.
        string renamed = header
            .Replace("layers.0.mlp.down_proj.weight#0", "swapped")
            .Replace("layers.0.self_attn.o_proj.weight#0", "layers.0.mlp.down_proj.weight#0")
            .Replace("swapped", "layers.0.self_attn.o_proj.weight#0");
        Mutated("o_proj", "asks for", SafetensorsWriter.Join(renamed, data));

        void Mutated(string names, string says, byte[] file)
        {
            File.WriteAllBytes(path, file);
            using WorkerPool pool = new(1);
            CheckpointException e = Assert.Throws<CheckpointException>(() =>
            {
                using Checkpoint damaged = Checkpoint.Open(directory["packed"]);
                ModelRegistry.Load(damaged, pool).Dispose();
            });
            Assert.Contains(names, e.Message);
            Assert.Contains(says, e.Message);
        }
    }

    static IReadOnlyList<(WeightFormat Format, int Matrices, long Bytes)> Pack(
        string source,
        string target,
        Recipe? recipe = null
    )
    {
        using Checkpoint checkpoint = Checkpoint.Open(source);
        if (recipe is not null)
        {
            checkpoint.PackTo(recipe);
        }

        using WorkerPool pool = new(2);
        return PackedExport.Write(checkpoint, target, pool);
    }

    static void Convert(Checkpoint checkpoint, string target, WorkerPool pool) =>
        GgufExport.Write(checkpoint, target, new GgufExportOptions(Recipe.Find("f32")!), pool);

    static void Throws(string says, Action action) =>
        Assert.Contains(says, Assert.Throws<CheckpointException>(action).Message);

    // All that a model took, as bytes.
    sealed class Recorder : VlmSharp.Models.Blocks.IWeightRecorder
    {
        public List<(string Name, string Hash)> Arrays { get; } = [];

        public void Packed(string name, PackedMatrix matrix)
        {
            MemoryStream stream = new();
            matrix.Save(stream);
            Add(name, stream.ToArray());
        }

        public void Read(CheckpointTensor tensor, ReadOnlySpan<float> values) =>
            Add(tensor.Name, System.Runtime.InteropServices.MemoryMarshal.AsBytes(values));

        void Add(string name, ReadOnlySpan<byte> bytes) =>
            Arrays.Add((name, System.Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(bytes))));
    }
}
