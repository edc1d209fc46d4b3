using System.Text.Json.Nodes;
using VlmSharp.Chat;
using VlmSharp.Formats;
using VlmSharp.Testing;
using VlmSharp.Text;
using VlmSharp.Verification;
using Xunit;

namespace VlmSharp.Tests.Formats.Gguf;

public sealed class GgufModelTests
{
    static readonly string Tiny = Goldens.Local("qwen2-vl/checkpoint");

    [Theory]
    [InlineData("qwen2-vl")]
    [InlineData("qwen2-vl-tied-bf16")]
    [InlineData("qwen2.5-vl")]
    [InlineData("qwen3-vl-tied-bf16")]
    [InlineData("qwen3-vl-moe")]
    public void A_golden_case_in_GGUF_is_within_tolerance(string name) => Verify(Goldens.Local(name));

    [Theory]
    [InlineData("qwen2-vl")]
    [InlineData("qwen2.5-vl")]
    [InlineData("qwen3-vl")]
    [InlineData("qwen3-vl-moe")]
    public void A_whole_golden_case_in_GGUF_is_within_tolerance(string name) =>
        Verify(Goldens.Shared($"golden/{name}"));

    static void Verify(string golden)
    {
        using TemporaryDirectory copy = TemporaryDirectory.CopyOf(golden);
        GgufPair.Of(Path.Combine(golden, "checkpoint")).Save(copy.Path);
        Directory.Delete(copy["checkpoint"], recursive: true);
        JsonObject json = JsonNode.Parse(File.ReadAllBytes(copy["case.json"]))!.AsObject();
        json["checkpoint"] = "model.gguf";
        // Limits for videos of their own stand in no key of the format.
        if (((string)json["architecture"]!).StartsWith("Qwen3", StringComparison.Ordinal))
        {
            JsonArray requests = json["requests"]!.AsArray();
            foreach (
                JsonNode? filmed in requests.Where(r => r!["messages"]!.ToJsonString().Contains("video")).ToArray()
            )
            {
                requests.Remove(filmed);
            }

            json.Remove("batches");
        }

        copy.Write("case.json", json.ToJsonString());
        CaseReport report = CaseVerifier.Run(copy.Path, threads: 2);
        Assert.NotEmpty(report.Checks);
        Assert.True(
            report.Passed,
            string.Join('\n', report.Checks.Where(c => !c.Passed).Select(c => $"{c.Request} {c.Name}: {c.Detail}"))
        );
        Assert.Equal(json["requests"]!.AsArray().Count, report.Checks.Count(c => c.Name == "answer.ids"));
    }

    [Fact]
    public void Config_tokenizer_and_settings_are_those_of_the_checkpoint()
    {
        using TemporaryDirectory directory = new();
        using Checkpoint published = Checkpoint.Open(Tiny);
        using Checkpoint checkpoint = Checkpoint.Open(GgufPair.Of(Tiny).Save(directory.Path));
        Assert.Equal(published.Architecture, checkpoint.Architecture);
        Assert.Equal(published.ChatTemplate, checkpoint.ChatTemplate);
        Assert.Equal(published.Generation.StopIds.Order(), checkpoint.Generation.StopIds);
        Assert.Equal(published.Processor!.MaxPixels, checkpoint.Processor!.MaxPixels);
        Assert.Equal(published.Processor.Mean, checkpoint.Processor.Mean);
        Assert.Equal(
            published.Tensors.Select(t => t.ToString()).Order(),
            checkpoint.Tensors.Select(t => t.ToString()).Order()
        );
        Tokenizer expected = Tokenizer.Load(published);
        Tokenizer found = Tokenizer.Load(checkpoint);
        Assert.Equal(expected.VocabularySize, found.VocabularySize);
        const string text = "<|im_start|>user\nWhat is 图片? It's é<|image_pad|> 12.5<|im_end|>";
        foreach (AddedTokenUse use in Enum.GetValues<AddedTokenUse>())
        {
            List<int> wanted = [];
            List<int> ids = [];
            expected.Encode(text, wanted, use);
            found.Encode(text, ids, use);
            Assert.Equal(wanted, ids);
            Assert.Equal(expected.Decode([.. wanted], skipSpecial: true), found.Decode([.. ids], skipSpecial: true));
        }
    }

    [Fact]
    public void Rows_of_a_stacked_weight_are_those_of_the_whole()
    {
        using TemporaryDirectory directory = new();
        using Checkpoint checkpoint = Checkpoint.Open(GgufPair.Of(Tiny).Save(directory.Path));
        foreach (
            (string name, int[] shape) in ((string, int[])[])
                [("visual.blocks.0.attn.qkv.weight", [72, 24]), ("visual.patch_embed.proj.weight", [24, 3, 2, 14, 14])]
        )
        {
            CheckpointTensor tensor = checkpoint.Get(name, shape);
            float[] whole = tensor.ToArray();
            int row = whole.Length / shape[0];
            for (int first = 0; first < shape[0]; first += 5)
            {
                int count = Math.Min(5, shape[0] - first);
                Assert.Equal(whole[(first * row)..((first + count) * row)], tensor.Rows(first, count).ToArray());
            }
        }
    }

    [Fact]
    public void Older_files_that_swap_the_layers_of_the_tower_s_MLP_are_read_as_they_are_meant()
    {
        using TemporaryDirectory directory = new();
        string[] swapped = ["ffn_up", "ffn_down"];
        GgufPair pair = GgufPair.Of(Tiny);
        using (SafetensorsFile weights = SafetensorsFile.Open(Path.Combine(Tiny, "model.safetensors")))
        {
            for (int i = 0; i < 3; i++)
            {
                foreach (string kind in (string[])["weight", "bias"])
                {
                    pair.Projector.Remove($"v.blk.{i}.ffn_up.{kind}").Remove($"v.blk.{i}.ffn_down.{kind}");
                    for (int layer = 0; layer < 2; layer++)
                    {
                        string source = $"visual.blocks.{i}.mlp.fc{layer + 1}.{kind}";
                        pair.Projector.Add(
                            $"v.blk.{i}.{swapped[1 - layer]}.{kind}",
                            weights.Find(source).Shape,
                            weights.Floats(source)
                        );
                    }
                }
            }
        }

        using Checkpoint checkpoint = Checkpoint.Open(pair.Save(directory.Path));
        using Checkpoint published = Checkpoint.Open(Tiny);
        foreach ((string name, int[] shape) in ((string, int[])[])[("fc1", [48, 24]), ("fc2", [24, 48])])
        {
            string full = $"visual.blocks.2.mlp.{name}.weight";
            Assert.Equal(published.Get(full, shape).ToArray(), checkpoint.Get(full, shape).ToArray());
        }
    }

    [Fact]
    public void The_projector_is_found_when_it_has_the_model_s_name_or_is_the_only_one_and_can_be_named()
    {
        using TemporaryDirectory directory = new();
        GgufPair pair = GgufPair.Of(Tiny);
        string path = pair.Save(directory.Path);
        File.Copy(directory["mmproj-model.gguf"], directory["mmproj-other.gguf"]);
        using (Checkpoint own = Checkpoint.Open(path))
        {
            Assert.Equal(["model.gguf", "mmproj-model.gguf"], own.Gguf.Select(file => file.Name));
        }

        File.Move(directory["mmproj-model.gguf"], directory["mmproj-first.gguf"]);
        Assert.Contains(
            "has 2 projectors beside it (mmproj-first.gguf, mmproj-other.gguf); name one (--mmproj)",
            Message(() => Checkpoint.Open(path))
        );
        using (Checkpoint named = Checkpoint.Open(path, directory["mmproj-other.gguf"]))
        {
            Assert.Equal(["model.gguf", "mmproj-other.gguf"], named.Gguf.Select(file => file.Name));
        }

        Assert.Contains("name the language model", Message(() => Checkpoint.Open(directory["mmproj-other.gguf"])));
        Assert.Contains("is no projector", Message(() => Checkpoint.Open(path, path)));
        Assert.Contains("path is none", Message(() => Checkpoint.Open(Tiny, path)).Replace(Tiny, "path"));
        File.Delete(directory["mmproj-first.gguf"]);
        File.Delete(directory["mmproj-other.gguf"]);
        Assert.Contains("no mmproj*.gguf is in", Message(() => Checkpoint.Open(path)));
    }

    public static TheoryData<string, Action<GgufPair>, string> Broken =>
        new()
        {
            {
                "another architecture",
                pair => pair.Model.Remove("general.architecture").Add("general.architecture", "llama"),
                "model.gguf: field 'general.architecture' is 'llama'; of GGUF files this build runs"
            },
            {
                "another projector",
                pair => pair.Projector.Remove("clip.projector_type").Add("clip.projector_type", "qwen3vl_merger"),
                "mmproj-model.gguf: field 'clip.projector_type' is 'qwen3vl_merger', which does not belong to"
            },
            {
                "no sizes",
                pair => pair.Model.Remove("qwen2vl.block_count"),
                "model.gguf: field 'qwen2vl.block_count' is missing"
            },
            {
                "sections",
                pair =>
                    pair.Model.Remove("qwen2vl.rope.dimension_sections")
                        .Add("qwen2vl.rope.dimension_sections", [1, 2, 3, 4]),
                "expected three sections and a 0"
            },
            {
                "a part of a stack",
                pair => pair.Projector.Remove("v.blk.1.attn_k.weight"),
                "mmproj-model.gguf: has no tensor 'v.blk.1.attn_k.weight'"
            },
            {
                "a shape within a stack",
                pair => pair.Projector.Remove("v.blk.1.attn_v.bias").Add("v.blk.1.attn_v.bias", [5], new float[5]),
                "tensor 'v.blk.1.attn_v.bias' has shape [5], 'v.blk.1.attn_q.bias', which is stacked with it, [24]"
            },
            {
                "a tensor too many",
                pair => pair.Model.Add("blk.0.what", [3], new float[3]),
                "1 of 83 tensors have no place in Qwen2VLForConditionalGeneration as model.gguf describes it: 'blk.0.what' [3]"
            },
            {
                "a shape",
                pair => pair.Model.Remove("output_norm.weight").Add("output_norm.weight", [47], new float[47]),
                "tensor 'model.norm.weight' has shape [47], model.gguf asks for [48]"
            },
            {
                "a pre-tokenizer",
                pair => pair.Model.Remove("tokenizer.ggml.pre").Add("tokenizer.ggml.pre", "llama-bpe"),
                "field 'tokenizer.ggml.pre' is 'llama-bpe', only qwen2 and gpt-2 are supported"
            },
            {
                "token types",
                pair => pair.Model.Remove("tokenizer.ggml.token_type").Add("tokenizer.ggml.token_type", [1, 2]),
                "key 'tokenizer.ggml.token_type' has 2 items"
            },
            {
                "no template",
                pair => pair.Model.Remove("tokenizer.chat_template"),
                "no chat template: no key 'tokenizer.chat_template'"
            },
            {
                "an epsilon",
                pair =>
                    pair.Projector.Remove("clip.vision.attention.layer_norm_epsilon")
                        .Add("clip.vision.attention.layer_norm_epsilon", 1e-5f),
                "only 1E-06 is implemented"
            },
        };

    [Theory, MemberData(nameof(Broken), DisableDiscoveryEnumeration = true)]
    public void A_pair_that_contradicts_itself_is_refused_by_name(string what, Action<GgufPair> change, string message)
    {
        using TemporaryDirectory directory = new();
        GgufPair pair = GgufPair.Of(Tiny);
        change(pair);
        string path = pair.Save(directory.Path);
        string found = Message(() => ChatModel.Load(path, threads: 1));
        Assert.True(found.Contains(message), $"{what}: {found}");
    }

    // A miniature for readers of the format: its vocabulary has forty tokens and no picture among them.
    [Fact]
    public void The_miniature_model_is_read_as_a_pair_as_far_as_it_goes()
    {
        string message = Message(() => Checkpoint.Open(Goldens.Local("gguf/qwen2vl-tiny.gguf")));
        Assert.Equal("qwen2vl-tiny.gguf: key 'tokenizer.ggml.tokens' has no '<|image_pad|>'", message);
    }

    static string Message(Func<IDisposable> action) =>
        Assert.Throws<CheckpointException>(() => action().Dispose()).Message;
}
