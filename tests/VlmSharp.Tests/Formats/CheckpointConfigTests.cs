using System.Text;
using VlmSharp.Formats;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Formats;

/// <summary>Generation settings, processor settings and chat templates in the spellings that are published.</summary>
public sealed class CheckpointConfigTests
{
    [Fact]
    public void Stop_ids_come_from_the_generation_config_then_the_model_then_its_text_part()
    {
        JsonObjectReader generation = Json("""{"eos_token_id": [5, 6]}""");
        JsonObjectReader flat = Json("""{"eos_token_id": 7, "text_config": {"eos_token_id": 8}}""");
        JsonObjectReader nested = Json("""{"text_config": {"eos_token_id": 8}}""");
        Assert.Equal([5, 6], GenerationConfig.Read(generation, flat).StopIds);
        Assert.Equal([7], GenerationConfig.Read(Json("""{"eos_token_id": null}"""), flat).StopIds);
        Assert.Equal([7], GenerationConfig.Read(null, flat).StopIds);
        Assert.Equal([8], GenerationConfig.Read(null, nested).StopIds);
        Assert.Empty(GenerationConfig.Read(null, Json("{}")).StopIds);
    }

    [Fact]
    public void A_stop_id_outside_the_vocabulary_names_both_numbers() =>
        Assert.Equal(
            "test.json: field 'eos_token_id' has the token 9, the model's vocab_size is 9",
            Message(() => GenerationConfig.Read(Json("""{"eos_token_id": [1, 9]}"""), Json("""{"vocab_size": 9}""")))
        );

    [Fact]
    public void Published_generation_settings_are_read()
    {
        string file = Goldens.Shared("reference/qwen2.5-vl/generation_config.json");
        GenerationConfig config = GenerationConfig.Read(
            JsonObjectReader.Open(file),
            Json("""{"vocab_size": 152064}""")
        );
        Assert.Equal([151645, 151643], config.StopIds);
        Assert.True(config.DoSample);
        Assert.Equal(1e-6, config.Temperature);
        Assert.Equal(1.05, config.RepetitionPenalty);
        Assert.Null(config.TopP);
        Assert.Null(config.TopK);
    }

    [Fact]
    public void Pixel_limits_are_read_in_both_spellings_and_the_older_one_wins()
    {
        Assert.Equal((10, 20), Limits("\"min_pixels\": 10, \"max_pixels\": 20"));
        Assert.Equal((30, 40), Limits("\"size\": {\"shortest_edge\": 30, \"longest_edge\": 40}"));
        Assert.Equal(
            (10, 20),
            Limits("\"min_pixels\": 10, \"max_pixels\": 20, \"size\": {\"shortest_edge\": 30, \"longest_edge\": 40}")
        );
        Assert.Equal(
            (10, 40),
            Limits("\"min_pixels\": 10, \"max_pixels\": null, \"size\": {\"shortest_edge\": 30, \"longest_edge\": 40}")
        );
        Assert.StartsWith("test.json: field 'min_pixels' is missing", Message(() => Limits("\"size\": null")));
        Assert.Equal(
            "test.json: field 'max_pixels' is 9, less than min_pixels 10",
            Message(() => Limits("\"min_pixels\": 10, \"max_pixels\": 9"))
        );
    }

    [Fact]
    public void Published_picture_and_video_settings_differ()
    {
        ProcessorConfig picture = ProcessorConfig.Read(
            JsonObjectReader.Open(Goldens.Shared("reference/qwen3-vl/preprocessor_config.json"))
        );
        ProcessorConfig video = ProcessorConfig.Read(
            JsonObjectReader.Open(Goldens.Shared("reference/qwen3-vl/video_preprocessor_config.json"))
        );
        Assert.Equal((16, 4096, 1310720), (picture.PatchSize, picture.MinPixels, picture.MaxPixels));
        Assert.Equal((16, 4096, 25165824), (video.PatchSize, video.MinPixels, video.MaxPixels));
        Assert.Equal((2.0, 4, 768), (video.Fps, video.MinFrames, video.MaxFrames));
        Assert.Null(picture.Fps);
    }

    [Fact]
    public void The_template_file_comes_before_the_template_json_and_that_before_the_tokenizer()
    {
        using CheckpointCopy copy = new(Goldens.Local("qwen2-vl/checkpoint"));
        copy.Write("chat_template.jinja", "{{ messages }}\n");
        copy.Write("chat_template.json", """{"chat_template": "from json"}""");
        copy.Json("tokenizer_config.json", root => root["chat_template"] = "from the tokenizer");
        Assert.Equal(("{{ messages }}\n", "chat_template.jinja"), Template());
        copy.Delete("chat_template.jinja");
        Assert.Equal(("from json", "chat_template.json"), Template());
        copy.Delete("chat_template.json");
        Assert.Equal(("from the tokenizer", "tokenizer_config.json"), Template());
        copy.Json("tokenizer_config.json", root => root["chat_template"] = null);
        Assert.Equal((null, null), Template());
        copy.Delete("tokenizer_config.json");
        Assert.Equal((null, null), Template());

        (string?, string?) Template()
        {
            using Checkpoint checkpoint = Checkpoint.Open(copy.Path);
            return (checkpoint.ChatTemplate, checkpoint.ChatTemplateFile);
        }
    }

    [Theory]
    [InlineData("""[{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]""")]
    [InlineData("""{"tool_use": "a", "default": "b"}""")]
    [InlineData("\"b\"")]
    public void Of_several_named_templates_the_default_one_counts(string templates)
    {
        using CheckpointCopy copy = new(Goldens.Local("qwen2-vl/checkpoint"));
        copy.Write("chat_template.json", $$"""{"chat_template": {{templates}}}""");
        using Checkpoint checkpoint = Checkpoint.Open(copy.Path);
        Assert.Equal("b", checkpoint.ChatTemplate);
    }

    static (long, long) Limits(string fields)
    {
        ProcessorConfig config = ProcessorConfig.Read(
            Json(
                $$"""{"patch_size": 14, "temporal_patch_size": 2, "merge_size": 2, "image_mean": [0, 0, 0], "image_std": [1, 1, 1], {{fields}}}"""
            )
        );
        return (config.MinPixels, config.MaxPixels);
    }

    static JsonObjectReader Json(string text) => JsonObjectReader.Parse("test.json", Encoding.UTF8.GetBytes(text));

    static string Message(Func<object?> act) => Assert.Throws<CheckpointException>(act).Message;
}
