using System.Text.Json.Nodes;
using VlmSharp.Conversion;
using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Quantized;
using VlmSharp.Models;
using VlmSharp.Testing;
using VlmSharp.Text;
using VlmSharp.Verification;
using Xunit;

namespace VlmSharp.Tests.Conversion;

public sealed class GgufExportTests
{
    static readonly string Tiny = Goldens.Local("qwen2-vl/checkpoint");

    public static TheoryData<string> Local =>
        ["qwen2-vl", "qwen2-vl-tied-bf16", "qwen2.5-vl", "qwen3-vl-tied-bf16", "qwen3-vl-moe"];

    public static TheoryData<string> Types => [.. Recipe.All.Select(recipe => recipe.Name)];

    [Theory, MemberData(nameof(Local))]
    public void A_golden_case_converted_to_f32_is_within_tolerance(string name) => Verify(Goldens.Local(name));

    [Theory]
    [InlineData("qwen2-vl")]
    [InlineData("qwen2.5-vl")]
    [InlineData("qwen2.5-vl-yarn")]
    [InlineData("qwen3-vl")]
    [InlineData("qwen3-vl-moe")]
    public void A_whole_golden_case_converted_to_f32_is_within_tolerance(string name) =>
        Verify(Goldens.Shared($"golden/{name}"));

    static void Verify(string golden)
    {
        using TemporaryDirectory copy = TemporaryDirectory.CopyOf(golden);
        GgufExportReport report = Convert(Path.Combine(golden, "checkpoint"), copy["model.gguf"], "f32");
        Directory.Delete(copy["checkpoint"], recursive: true);
        JsonObject json = JsonNode.Parse(File.ReadAllBytes(copy["case.json"]))!.AsObject();
        json["checkpoint"] = "model.gguf";
        // Limits for films stand in no key of the format.
        if (report.Notes.Any(note => note.Contains("limits for films")))
        {
            JsonArray requests = json["requests"]!.AsArray();
            foreach (JsonNode? film in requests.Where(r => r!["messages"]!.ToJsonString().Contains("video")).ToArray())
            {
                requests.Remove(film);
            }

            json.Remove("batches");
        }

        copy.Write("case.json", json.ToJsonString());
        CaseReport found = CaseVerifier.Run(copy.Path, threads: 2);
        Assert.NotEmpty(found.Checks);
        Assert.True(
            found.Passed,
            string.Join('\n', found.Checks.Where(c => !c.Passed).Select(c => $"{c.Request} {c.Name}: {c.Detail}"))
        );
    }

    // The other implementation of the conversion, from the tables of the reference's own names.
    [Theory, MemberData(nameof(Local))]
    public void Tensors_and_keys_are_those_of_the_reference_s_names(string name)
    {
        string source = Goldens.Local($"{name}/checkpoint");
        using TemporaryDirectory directory = new();
        Convert(source, directory["made.gguf"], "f32");
        GgufPair.Of(source).Save(directory.Path);
        foreach (
            (string expected, string made) in ((string, string)[])
                [("model.gguf", "made.gguf"), ("mmproj-model.gguf", "mmproj-made.gguf")]
        )
        {
            using GgufFile wanted = GgufFile.Open(directory[expected]);
            using GgufFile found = GgufFile.Open(directory[made]);
            Assert.Equal(wanted.Tensors.Keys.Order(), found.Tensors.Keys.Order());
            foreach (GgufTensor tensor in wanted.Tensors.Values)
            {
                Assert.Equal(tensor.Shape, found.Tensor(tensor.Name).Shape);
                Assert.Equal(tensor.ToArray(), found.Tensor(tensor.Name).ToArray());
            }

            foreach ((string key, GgufValue value) in wanted.Metadata)
            {
                // The name is the file's; the converter this follows writes another number than the width of Qwen2-VL's MLP.
                if (
                    key
                    is not (
                        "general.name"
                        or "clip.vision.feed_forward_length"
                        or "clip.vision.image_size"
                        or "clip.use_gelu"
                    )
                )
                {
                    Assert.Equal(
                        (key, value.Type, value.ItemType),
                        (key, found.Value(key).Type, found.Value(key).ItemType)
                    );
                    Assert.True(value.Bytes().SequenceEqual(found.Value(key).Bytes()), key);
                }
            }
        }
    }

    [Fact]
    public void All_keys_of_published_files_are_written_with_their_types()
    {
        using TemporaryDirectory directory = new();
        Convert(Tiny, directory["made.gguf"], "q8_0");
        JsonNode models = JsonNode.Parse(File.ReadAllBytes(Goldens.Local("gguf/models.json")))!;
        foreach (
            (string model, string made) in ((string, string)[])
                [("qwen2vl-tiny", "made.gguf"), ("mmproj-tiny", "mmproj-made.gguf")]
        )
        {
            using GgufFile wanted = GgufFile.Open(Goldens.Local($"gguf/{model}.gguf"));
            using GgufFile found = GgufFile.Open(directory[made]);
            foreach ((string key, JsonNode? _) in models[model]!["keys"]!.AsObject())
            {
                Assert.Equal((key, wanted.Value(key).Type), (key, found.Value(key).Type));
                Assert.Equal((key, wanted.Value(key).ItemType), (key, found.Value(key).ItemType));
            }
        }
    }

    [Theory, MemberData(nameof(Types))]
    public void Every_type_loads_and_tokenises_as_the_checkpoint_does(string type)
    {
        using TemporaryDirectory directory = new();
        GgufExportReport report = Convert(Tiny, directory["model.gguf"], type, vision: type);
        using Checkpoint published = Checkpoint.Open(Tiny);
        using Checkpoint checkpoint = Checkpoint.Open(report.LanguageModel);
        Assert.Equal(directory["mmproj-model.gguf"], checkpoint.Gguf[1].FullPath);
        using WorkerPool pool = new(2);
        using IVisionLanguageModel model = ModelRegistry.Load(checkpoint, pool);
        Assert.Equal(published.Generation.Temperature ?? 0, checkpoint.Generation.Temperature ?? 0, 1e-6);
        Assert.Equal(published.ChatTemplate, checkpoint.ChatTemplate);
        const string text = "<|im_start|>user\nWhat is 图片? It's é<|image_pad|> 12.5<|im_end|>";
        Assert.Equal(Ids(published), Ids(checkpoint));

        static List<int> Ids(Checkpoint from)
        {
            List<int> ids = [];
            Tokenizer.Load(from).Encode(text, ids, AddedTokenUse.Parse);
            return ids;
        }
    }

    [Theory]
    [InlineData(
        "q8_0",
        "output.weight Q8_0, token_embd.weight Q8_0, blk.0.attn_v.weight Q8_0, blk.27.ffn_down.weight Q8_0"
    )]
    [InlineData(
        "q4_0",
        "output.weight Q6_K, token_embd.weight Q4_0, blk.0.attn_v.weight Q4_0, blk.27.ffn_down.weight Q4_0"
    )]
    [InlineData(
        "q4_k_s",
        "output.weight Q6_K, token_embd.weight Q4_K, blk.3.attn_v.weight Q5_K, blk.4.attn_v.weight Q4_K, blk.2.ffn_down.weight Q5_K, blk.27.ffn_down.weight Q4_K"
    )]
    [InlineData(
        "q4_k_m",
        "output.weight Q6_K, blk.2.attn_v.weight Q6_K, blk.3.attn_v.weight Q4_K, blk.5.ffn_down.weight Q6_K, blk.24.ffn_down.weight Q6_K, blk.23.attn_q.weight Q4_K"
    )]
    [InlineData(
        "q5_k_m",
        "output.weight Q6_K, blk.2.attn_v.weight Q6_K, blk.3.attn_v.weight Q5_K, blk.3.attn_norm.weight F32"
    )]
    [InlineData(
        "iq4_nl",
        "output.weight Q6_K, blk.9.attn_v.weight Q5_K, blk.0.ffn_down.weight Q5_K, blk.9.ffn_down.weight IQ4_NL"
    )]
    [InlineData("f16", "output.weight F16, blk.9.ffn_gate_inp.weight F32, blk.9.attn_q.bias F32")]
    public void Mixtures_are_those_of_published_files(string name, string expected)
    {
        RecipeModel model = new(Layers: 28, HeadsPerKey: 6, TiedHead: false, HasImportance: false);
        foreach (string[] line in expected.Split(", ").Select(line => line.Split(' ')))
        {
            int[] shape = line[0].Contains("norm") || line[0].EndsWith("bias") ? [1536] : [256, 1536];
            Assert.Equal(line[1], Recipe.Find(name)!.Text(line[0], shape, model, out _).ToString());
        }

        Assert.Equal(
            name == "q8_0" || name == "f16" ? name.ToUpperInvariant() : "Q6_K",
            Recipe.Find(name)!.Text("token_embd.weight", [256, 1536], model with { TiedHead = true }, out _).ToString()
        );
    }

    [Fact]
    public void Rows_that_are_no_whole_blocks_get_another_type_and_that_is_said()
    {
        Recipe mixture = Recipe.Find("q4_k_m")!;
        RecipeModel model = new(2, 2, TiedHead: false, HasImportance: false);
        Assert.Equal(GgmlType.Q5_0, mixture.Text("blk.1.ffn_up.weight", [8, 96], model, out GgmlType wanted));
        Assert.Equal(GgmlType.Q4_K, wanted);
        Assert.Equal(GgmlType.Q8_0, mixture.Text("output.weight", [8, 96], model, out _));
        Assert.Equal(GgmlType.F16, mixture.Text("blk.1.ffn_up.weight", [8, 40], model, out _));
        using TemporaryDirectory directory = new();
        GgufExportReport report = Convert(Tiny, directory["model.gguf"], "q4_0");
        Assert.Contains("blk.0.attn_q.weight [48, 48] is F16: its rows are no whole blocks of Q4_0", report.Notes);
    }

    [Theory]
    [InlineData("qwen2-vl-tied-bf16")]
    [InlineData("qwen3-vl-tied-bf16")]
    [InlineData("qwen3-vl-moe")]
    public void Weights_packed_while_they_are_loaded_take_what_the_files_would(string name)
    {
        string source = Goldens.Local($"{name}/checkpoint");
        using TemporaryDirectory directory = new();
        using Checkpoint written = Checkpoint.Open(Convert(source, directory["model.gguf"], "q8_0").LanguageModel);
        using Checkpoint packed = Checkpoint.Open(source);
        long before = packed.Weights.Sum(weight => weight.LoadedBytes);
        packed.PackTo(Recipe.Find("q8_0")!);
        Assert.True(packed.Weights.Sum(weight => weight.LoadedBytes) < before);
        using WorkerPool pool = new(2);
        using IVisionLanguageModel expected = ModelRegistry.Load(written, pool);
        using IVisionLanguageModel model = ModelRegistry.Load(packed, pool);
        using Checkpoint experts = Checkpoint.Open(Goldens.Local("qwen3-vl-moe/checkpoint"));
        Assert.Null(experts.PackedType("model.language_model.layers.0.mlp.experts.down_proj", 4, 32, 32));
        experts.PackTo(Recipe.Find("q4_0")!);
        Assert.Equal(
            GgmlType.Q4_0,
            experts.PackedType("model.language_model.layers.9.mlp.experts.down_proj", 4, 32, 48)
        );
        Assert.Null(experts.PackedType("model.language_model.layers.0.mlp.experts.down_proj", 4, 40, 64));
        Assert.Null(experts.PackedType("model.visual.blocks.0.attn.qkv.weight", 96, 32));
        Assert.Null(experts.PackedType("model.language_model.layers.0.mlp.gate.weight", 4, 32));
        Assert.Null(experts.PackedType("model.language_model.norm.weight", 32));
        // Rows of 48 and 72 are no whole blocks.
        using Checkpoint narrow = Checkpoint.Open(Tiny);
        foreach (Checkpoint refused in (Checkpoint[])[narrow, written])
        {
            Assert.Contains("has no weights that could be packed", Message(() => refused.PackTo(Recipe.Find("q8_0")!)));
        }
    }

    [Fact]
    public void A_pair_of_GGUF_files_is_packed_with_all_its_keys()
    {
        string source = Goldens.Local("qwen3-vl-moe/checkpoint");
        using TemporaryDirectory directory = new();
        Convert(source, directory["f32.gguf"], "f32");
        Convert(source, directory["direct.gguf"], "q8_0");
        Convert(directory["f32.gguf"], directory["packed.gguf"], "q8_0");
        using GgufFile direct = GgufFile.Open(directory["direct.gguf"]);
        using GgufFile packed = GgufFile.Open(directory["packed.gguf"]);
        Assert.Equal(direct.Metadata.Keys.Order(), packed.Metadata.Keys.Order());
        foreach (GgufTensor tensor in direct.Tensors.Values)
        {
            Assert.True(tensor.Bytes(0, tensor.Count).SequenceEqual(packed.Tensor(tensor.Name).Bytes(0, tensor.Count)));
        }

        Assert.Contains(
            "packing it again to Q4_0 would add one error to another",
            Message(() => Convert(directory["packed.gguf"], directory["again.gguf"], "q4_0"))
        );
        // The same type is copied.
        Convert(directory["packed.gguf"], directory["copy.gguf"], "q8_0");
        Assert.Equal(File.ReadAllBytes(directory["packed.gguf"]), File.ReadAllBytes(directory["copy.gguf"]));
    }

    [Fact]
    public void Importance_of_columns_is_read_and_held_against_the_tensors()
    {
        using TemporaryDirectory directory = new();
        float[] sums = [.. Enumerable.Range(0, 72).Select(i => (float)i)];
        Save("good.gguf", 72, 1, sums);
        Save("narrow.gguf", 36, 2, sums);
        Save("negative.gguf", 72, 1, [.. sums.Select(v => -v)]);
        Save("nothing.gguf", 72, 1, sums, "blk.0.ffn_down.weight.else");
        using Checkpoint checkpoint = Checkpoint.Open(Goldens.Local("qwen2.5-vl/checkpoint"));
        using WorkerPool pool = new(1);
        Write("good.gguf");
        Assert.Contains(
            "is for 2 matrices with 36 columns at 'blk.0.ffn_down.weight'",
            Message(() => Write("narrow.gguf"))
        );
        Assert.Contains("negative or not finite in column 1", Message(() => Write("negative.gguf")));
        Assert.Contains("holds no importance", Message(() => Write("nothing.gguf")));

        void Write(string file) =>
            GgufExport.Write(
                checkpoint,
                directory[$"{file}-model.gguf"],
                new(Recipe.Find("q5_1")!, Importance: Importance.Open(directory[file])),
                pool
            );

        void Save(
            string file,
            int columns,
            int matrices,
            float[] values,
            string name = "blk.0.ffn_down.weight.in_sum2"
        ) =>
            new VlmSharp.Testing.GgufWriter()
                .Add(name, [matrices, columns], values)
                .Add("blk.0.ffn_down.weight.counts", [matrices, 1], [.. Enumerable.Repeat(3f, matrices)])
                .Save(directory[file]);
    }

    [Fact]
    public void What_cannot_be_written_is_refused_by_name_and_leaves_nothing()
    {
        using TemporaryDirectory directory = new();
        Assert.Contains("does not end in .gguf", Message(() => Convert(Tiny, directory["model.bin"], "f32")));
        File.WriteAllText(directory["mmproj-there.gguf"], "");
        Assert.Contains("is there already", Message(() => Convert(Tiny, directory["there.gguf"], "f32")));
        Refused(
            "'Other'; Qwen2VLForConditionalGeneration",
            c => c.Json("config.json", json => json["architectures"] = new JsonArray("Other"))
        );
        Refused(
            "field 'vision_config.depth' is 0",
            c => c.Json("config.json", json => json["vision_config"]!["depth"] = 0)
        );
        Refused(
            "has no tensor 'lm_head.weight', and its config does not tie",
            c => c.Json("config.json", json => json["tie_word_embeddings"] = false),
            Goldens.Local("qwen2-vl-tied-bf16/checkpoint")
        );
        Refused(
            "tensor 'model.norm.what__' [48] has no name in GGUF files",
            c => c.HeaderText("model.safetensors", text => text.Replace("model.norm.weight", "model.norm.what__"))
        );
        Refused(
            "the embedding has shape [448, 48], config.json says vocab_size 449",
            c => c.Json("config.json", json => json["vocab_size"] = 449)
        );
        Refused(
            "[64, 27], which is not 3 parts of the same size",
            c => c.HeaderText("model.safetensors", text => text.Replace("[72,24]", "[64,27]"))
        );
        Refused(
            "is NaN, which F16 cannot hold",
            c =>
            {
                (string header, byte[] data) = SafetensorsWriter.Split(c.Read("model.safetensors"));
                data.AsSpan().Fill(0xFF);
                c.Write("model.safetensors", SafetensorsWriter.Join(header, data));
            }
        );
        Assert.Equal("mmproj-there.gguf", Path.GetFileName(Assert.Single(Directory.GetFiles(directory.Path))));

        void Refused(string message, Action<CheckpointCopy> change, string? source = null)
        {
            using CheckpointCopy copy = new(source ?? Tiny);
            change(copy);
            Assert.Contains(message, Message(() => Convert(copy.Path, directory["model.gguf"], "f16")));
        }
    }

    static GgufExportReport Convert(string source, string target, string type, string? vision = null)
    {
        using Checkpoint checkpoint = Checkpoint.Open(source);
        using WorkerPool pool = new(2);
        return GgufExport.Write(
            checkpoint,
            target,
            new(Recipe.Find(type)!, vision is null ? null : Recipe.Find(vision)),
            pool
        );
    }

    static string Message(Action action)
    {
        Exception e = Assert.ThrowsAny<Exception>(action);
        Assert.True(e is CheckpointException or IOException, e.ToString());
        return e.Message;
    }
}
