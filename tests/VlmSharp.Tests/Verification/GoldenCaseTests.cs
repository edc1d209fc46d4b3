using System.Text;
using System.Text.Json;
using VlmSharp.Formats;
using VlmSharp.Testing;
using VlmSharp.Verification;
using Xunit;

namespace VlmSharp.Tests.Verification;

public sealed class GoldenCaseTests
{
    [Theory]
    [InlineData("qwen2-vl")]
    [InlineData("qwen2-vl-tied-bf16")]
    [InlineData("qwen2.5-vl")]
    [InlineData("qwen3-vl-tied-bf16")]
    [InlineData("qwen3-vl-moe")]
    public void A_case_of_the_repository_is_within_tolerance(string name) => Verify(Goldens.Local(name));

    [Theory]
    [InlineData("qwen2-vl")]
    [InlineData("qwen2-vl-tied-bf16")]
    [InlineData("qwen2.5-vl")]
    [InlineData("qwen2.5-vl-bf16")]
    [InlineData("qwen2.5-vl-yarn")]
    [InlineData("qwen-vl")]
    [InlineData("qwen-vl-bf16")]
    [InlineData("qwen3-vl")]
    [InlineData("qwen3-vl-tied-bf16")]
    [InlineData("qwen3-vl-moe")]
    [InlineData("quant/qwen2-vl-awq")]
    [InlineData("quant/qwen2.5-vl-awq")]
    [InlineData("quant/qwen2-vl-gptq-int4")]
    [InlineData("quant/qwen2-vl-gptq-int8")]
    [InlineData("quant/qwen3-vl-fp8")]
    public void A_whole_case_is_within_tolerance(string name) => Verify(Goldens.Shared($"golden/{name}"));

    [Fact]
    public void A_case_with_a_template_of_its_own_and_a_request_without_an_answer_is_within_tolerance()
    {
        CaseReport report = CaseVerifier.Run(Goldens.Shared("golden/qwen3-vl-thinking"));
        AssertPassed(report.Checks);
        Assert.Equal(4, report.Checks.Count(c => c.Name == "answer.ids"));
        Assert.Equal(5, report.Checks.Count(c => c.Name == "logits"));
    }

    [Fact]
    public void A_tensor_of_the_case_that_no_stage_compares_fails_the_case()
    {
        using TemporaryDirectory copy = TemporaryDirectory.CopyOf(Goldens.Local("qwen2-vl-tied-bf16"));
        string file = Directory.GetFiles(copy["expected"])[0];
        byte[] bytes = File.ReadAllBytes(file);
        // Same length, so that the header stays true.
        byte[] renamed = Encoding.Latin1.GetBytes(
            Encoding.Latin1.GetString(bytes).Replace("\"text.layer.1\"", "\"text.layer.9\"")
        );
        File.WriteAllBytes(file, renamed);
        CaseReport report = CaseVerifier.Run(copy.Path);
        Check failed = Assert.Single(report.Checks, c => !c.Passed);
        Assert.Equal("text.layer.9", failed.Name);
        Assert.Contains("not compared", failed.Detail);
    }

    [Fact]
    public void A_trained_reader_answers_as_the_reference_does()
    {
        CaseReport report = CaseVerifier.Run(Goldens.Local("reader-ref"));
        Check[] answers = [.. report.Checks.Where(c => c.Name == "answer.ids")];
        Assert.Equal(184, answers.Length);
        Assert.True(
            answers.Count(c => c.Passed) >= 0.99 * answers.Length,
            string.Join('\n', answers.Where(c => !c.Passed).Select(c => $"{c.Request}: {c.Detail}"))
        );
        AssertPassed([.. report.Checks.Where(c => !c.Name.StartsWith("answer.") && !c.Name.StartsWith("batch."))]);
    }

    [Fact]
    public void A_case_of_an_unsupported_kind_is_refused_by_name()
    {
        string directory = Goldens.Shared("golden/train-qwen2-vl");
        CheckpointException e = Assert.Throws<CheckpointException>(() => CaseVerifier.Run(directory));
        Assert.Contains("kind", e.Message);
        Assert.Contains("train", e.Message);
    }

    [Fact]
    public void A_case_of_an_unsupported_architecture_is_refused_by_name()
    {
        using TemporaryDirectory directory = new();
        File.WriteAllText(
            Path.Combine(directory.Path, "case.json"),
            """{ "format": 1, "architecture": "PerceiverForVision", "checkpoint": ".", "tolerance": 1e-4, "requests": [] }"""
        );
        CheckpointException e = Assert.Throws<CheckpointException>(() => CaseVerifier.Run(directory.Path));
        Assert.Contains("PerceiverForVision", e.Message);
        Assert.Contains("Qwen2VLForConditionalGeneration", e.Message);
    }

    [Fact]
    public void A_wrong_weight_is_found_and_the_stages_behind_it_still_pass()
    {
        using TemporaryDirectory copy = TemporaryDirectory.CopyOf(Goldens.Local("qwen2-vl"));
        string weights = Path.Combine(copy.Path, "checkpoint", "model.safetensors");
        byte[] bytes = File.ReadAllBytes(weights);
        long header = BitConverter.ToInt64(bytes);
        JsonElement tensors = JsonDocument.Parse(bytes.AsMemory(8, (int)header)).RootElement;
        JsonElement tensor = tensors.GetProperty("model.layers.1.mlp.down_proj.weight");
        int start = 8 + (int)header + tensor.GetProperty("data_offsets")[0].GetInt32();

        // A tenth added to one weight of layer 1: that layer is out of tolerance, those fed with the reference's input are not.
        float changed = BitConverter.ToSingle(bytes, start) + 0.1f;
        BitConverter.TryWriteBytes(bytes.AsSpan(start), changed);
        File.WriteAllBytes(weights, bytes);

        CaseReport report = CaseVerifier.Run(copy.Path);
        Assert.False(report.Passed);
        Check[] first = [.. report.Checks.Where(c => c.Request == "one-image")];
        Assert.False(first.Single(c => c.Name == "text.layer.1").Passed);
        Assert.True(first.Single(c => c.Name == "text.layer.0").Passed);
        Assert.True(first.Single(c => c.Name == "text.layer.2").Passed);
        Assert.True(first.Single(c => c.Name == "logits").Passed);
    }

    static void Verify(string directory)
    {
        CaseReport report = CaseVerifier.Run(directory);
        AssertPassed(report.Checks);
        Assert.Contains(report.Checks, c => c.Name == "logits");
        Assert.Contains(report.Checks, c => c.Name == "step_logits");
        Assert.Contains(report.Checks, c => c.Name == "vision.merged");
        Assert.Contains(report.Checks, c => c.Name == "batch.ids");
    }

    static void AssertPassed(IReadOnlyList<Check> checks) =>
        Assert.True(
            checks.All(c => c.Passed),
            string.Join(
                '\n',
                checks
                    .Where(c => !c.Passed)
                    .Select(c => $"{c.Request} {c.Name}: {c.MaxAbsolute:e2} {c.MaxRelative:e2} {c.Detail}")
            )
        );
}
