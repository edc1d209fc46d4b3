using VlmSharp.Formats;
using VlmSharp.Models;
using VlmSharp.Models.Blocks;
using VlmSharp.Tensors;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Models.Blocks;

public sealed class RotaryTests
{
    [Fact]
    public void Yarn_equals_the_reference()
    {
        JsonObjectReader config = JsonObjectReader.Open(
            Goldens.Shared("golden/qwen2.5-vl-yarn/checkpoint/config.json")
        );
        using SafetensorsFile expected = SafetensorsFile.Open(
            Goldens.Shared("golden/qwen2.5-vl-yarn/expected/text-only.safetensors")
        );
        YarnScaling yarn = YarnScaling.Read(config.Object("rope_scaling"), 256);
        float[] ours = yarn.Frequencies(48 / 4, config.Number("rope_theta", 1, 1e9));
        double[] theirs = Array.ConvertAll(expected.Floats("text.inv_freq"), v => (double)v);
        Near.Ulps(1, theirs, ours);
        Assert.Equal(1.1386294f, yarn.Amplitude); // 0.1 ln 4 + 1
    }

    [Theory]
    [InlineData(128, 1e6, 4, 32768, 32, 1, true)]
    [InlineData(128, 5e6, 3, 262144, 32, 1, false)]
    [InlineData(12, 2000, 4, 64, 8, 2, false)]
    [InlineData(64, 10000, 1, 2048, 32, 1, true)]
    public void Yarn_equals_its_definition(
        int dimensions,
        double theta,
        double factor,
        double original,
        double fast,
        double slow,
        bool truncate
    )
    {
        YarnScaling yarn = new(factor, original, fast, slow, truncate, 1);
        double Bound(double turns) => dimensions / 2.0 * Math.Log(original / (turns * 2 * Math.PI)) / Math.Log(theta);
        double low = Math.Max(truncate ? Math.Floor(Bound(fast)) : Bound(fast), 0);
        double high = Math.Min(truncate ? Math.Ceiling(Bound(slow)) : Bound(slow), dimensions - 1);
        double[] expected =
        [
            .. Enumerable
                .Range(0, dimensions / 2)
                .Select(i =>
                {
                    double frequency = Math.Pow(theta, -2.0 * i / dimensions);
                    double slowed = Math.Clamp((i - low) / (high - low), 0, 1);
                    return (frequency / factor * slowed) + (frequency * (1 - slowed));
                }),
        ];
        float[] ours = yarn.Frequencies(dimensions, theta);
        for (int i = 0; i < ours.Length; i++)
        {
            Assert.Equal(expected[i], ours[i], expected[i] * 1e-6);
        }
    }

    [Theory]
    [InlineData("""{"factor":4}""", 4, 1000, 32, 1, true, 1.1386294f)]
    [InlineData("""{"factor":1,"beta_fast":0,"beta_slow":0}""", 1, 1000, 32, 1, true, 1)]
    [InlineData(
        """{"factor":2.5,"original_max_position_embeddings":64,"attention_factor":0.5}""",
        2.5,
        64,
        32,
        1,
        true,
        0.5f
    )]
    [InlineData("""{"factor":4,"beta_fast":16,"beta_slow":2,"truncate":false}""", 4, 1000, 16, 2, false, 1.1386294f)]
    [InlineData("""{"factor":40,"mscale":0.7,"mscale_all_dim":1.4}""", 40, 1000, 32, 1, true, 0.829719f)]
    [InlineData("""{"factor":4,"mscale":0.7}""", 4, 1000, 32, 1, true, 1.1386294f)]
    public void The_fields_of_yarn_have_the_published_defaults(
        string json,
        double factor,
        double original,
        double fast,
        double slow,
        bool truncate,
        float amplitude
    )
    {
        YarnScaling yarn = YarnScaling.Read(Parse(json), 1000);
        Assert.Equal(new YarnScaling(factor, original, fast, slow, truncate, yarn.Amplitude), yarn);
        Assert.Equal(amplitude, yarn.Amplitude, 1e-6f);
    }

    [Theory]
    [InlineData("""{}""", "factor")]
    [InlineData("""{"factor":0.5}""", "factor")]
    [InlineData("""{"factor":2,"beta_fast":1,"beta_slow":2}""", "beta_fast")]
    [InlineData("""{"factor":2,"original_max_position_embeddings":0}""", "original_max_position_embeddings")]
    public void Impossible_fields_of_yarn_are_refused_by_name(string json, string field) =>
        Assert.Contains(field, Assert.Throws<CheckpointException>(() => YarnScaling.Read(Parse(json), 1000)).Message);

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(262_143)] // the last position of a context of 256K
    [InlineData(1_048_575)]
    public void Angles_are_right_at_far_positions(int position)
    {
        float[] frequencies = RotaryTable.Frequencies(128, 5e6);
        float[] cos = new float[64];
        float[] sin = new float[64];
        RotaryTable.Write(position, frequencies, cos, sin, 1.25f);
        for (int i = 0; i < 64; i++)
        {
            // The published code rounds frequency and angle to f32; everything behind that is exact.
            float frequency = 1 / MathF.Pow(5e6f, i / 64f);
            float angle = position * frequency;
            Assert.Equal(1.25 * Math.Cos(angle), cos[i], 2e-7);
            Assert.Equal(1.25 * Math.Sin(angle), sin[i], 2e-7);
        }
    }

    [Theory]
    [InlineData(128, true, 24, 20, 20)] // as published
    [InlineData(16, true, 3, 3, 2)]
    [InlineData(32, true, 6, 5, 5)]
    [InlineData(12, true, 2, 1, 3)] // the width's turns reach beyond the end
    [InlineData(128, false, 16, 24, 24)]
    [InlineData(12, false, 1, 3, 2)]
    public void Each_pair_turns_by_its_axis(int headDim, bool interleaved, int t, int h, int w)
    {
        int[] sections = [t, h, w];
        int[] axes = new int[headDim / 2]; // of each pair, as the published code assigns them
        for (int axis = 1; axis < 3; axis++)
        {
            int start = interleaved ? axis : sections[..axis].Sum();
            int end = interleaved ? 3 * sections[axis] : start + sections[axis];
            for (int pair = start; pair < Math.Min(end, axes.Length); pair += interleaved ? 3 : 1)
            {
                axes[pair] = axis;
            }
        }

        Step step = new();
        int[] position = [262_143, 1_000, 77];
        step.AddRow(0, position[0], position[1], position[2]);
        TextRotary rotary = new(headDim, 5e6, sections, interleaved, yarn: null);
        Rotary angles = rotary.Positions(new ReferenceOps(), step);
        for (int pair = 0; pair < axes.Length; pair++)
        {
            float angle = position[axes[pair]] * rotary.Frequencies[pair];
            Assert.Equal(Math.Cos(angle), angles.Cos.Row(0)[pair], 2e-7);
            Assert.Equal(Math.Sin(angle), angles.Sin.Row(0)[pair], 2e-7);
        }
    }

    [Theory]
    [InlineData(
        """{"rope_scaling":{"rope_type":"default","mrope_section":[4,2,2],"mrope_interleaved":false}}""",
        "interleaved"
    )]
    [InlineData("""{"rope_scaling":{"rope_type":"dynamic","mrope_section":[4,2,2]}}""", "rope_type")]
    [InlineData("""{"rope_scaling":{"rope_type":"default","mrope_section":[4,2,3]}}""", "mrope_section")]
    [InlineData("""{"rope_scaling":{"rope_type":"yarn","mrope_section":[4,2,2]}}""", "factor")]
    [InlineData("{}", "rope_scaling")]
    public void Rotary_positions_that_are_not_implemented_are_refused_by_name(string json, string field) =>
        Assert.Contains(
            field,
            Assert
                .Throws<CheckpointException>(() => TextRotary.Read(Parse(json), 16, 1000, interleaved: true, 5e6))
                .Message
        );

    static JsonObjectReader Parse(string json) =>
        JsonObjectReader.Parse("config.json", System.Text.Encoding.UTF8.GetBytes(json));
}
