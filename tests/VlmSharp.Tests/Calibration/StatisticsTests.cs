using VlmSharp.Calibration;
using VlmSharp.Chat;
using VlmSharp.Conversion;
using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;
using VlmSharp.Kernels;
using VlmSharp.Kernels.Quantized;
using VlmSharp.Models;
using VlmSharp.Tensors;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Calibration;

public sealed class StatisticsTests
{
    const string Text = "What moves, and how many are there? It's 12.5 — or 图片.";

    public static TheoryData<string> Names =>
        ["qwen2-vl", "qwen2-vl-tied-bf16", "qwen2.5-vl", "qwen3-vl-tied-bf16", "qwen3-vl-moe"];

    [Theory, MemberData(nameof(Names))]
    public void Sums_are_those_of_a_naive_forward_pass_in_double_precision(string name)
    {
        using ChatModel chat = ChatModel.Load(Goldens.Local($"{name}/checkpoint"), threads: 2, exact: true);
        using StatisticsOps ops = new(chat.Pool);
        Gather(chat, ops);
        NaiveStatistics naive = new();
        List<int> tokens = [];
        chat.Tokenizer.Encode(Text, tokens);
        int[] positions = new int[3 * tokens.Count];
        chat.Model.Positions([], positions);
        Step step = new();
        for (int i = 0; i < tokens.Count; i++)
        {
            step.WantLogits(
                step.AddRow(tokens[i], positions[i], positions[tokens.Count + i], positions[(2 * tokens.Count) + i])
            );
        }

        step.AddSequence([0, 1, 2, 3], tokens.Count, tokens.Count, tokens.Count);
        ModelInfo info = chat.Model.Info;
        using KvCache cache = new(info.Layers, info.Attention.Layout(KvStorage.F32), 4);
        chat.Model.Forward(naive, step, cache);

        Assert.Equal(naive.Sums.Keys.Order(), ops.Matrices.Keys.Order());
        foreach ((string matrix, (double[] squares, long[] rows)) in naive.Sums)
        {
            Assert.Equal(rows, ops.Matrices[matrix].Rows);
            float[] ours = [.. ops.Matrices[matrix].Squares.Select(v => (float)v)];
            Near.RelativeToLargest(1e-4, squares, ours, matrix);
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void Every_matrix_that_is_quantised_has_an_importance_that_survives_a_file(string name)
    {
        using TemporaryDirectory directory = new();
        using ChatModel chat = ChatModel.Load(Goldens.Local($"{name}/checkpoint"), threads: 2, exact: true);
        using StatisticsOps ops = new(chat.Pool);
        Gather(chat, ops);
        Importance importance = ops.ToImportance("samples");
        using Checkpoint checkpoint = Checkpoint.Open(Goldens.Local($"{name}/checkpoint"));
        GgufExportReport plain = GgufExport.Write(
            checkpoint,
            directory["model.gguf"],
            new(Recipe.Find("f32")!),
            chat.Pool
        );
        using GgufFile file = GgufFile.Open(plain.LanguageModel);
        string[] matrices =
        [
            .. file
                .Tensors.Values.Where(t => t.Shape.Length > 1 && !t.Name.Contains("ffn_gate_inp"))
                .Select(t => t.Name)
                // Looked up, not multiplied with, unless it is the head as well.
                .Where(t => t != "token_embd.weight" || !file.Tensors.ContainsKey("output.weight"))
                .Order(StringComparer.Ordinal),
        ];
        Assert.Equal(matrices, importance.Tensors.Where(t => !t.Contains("ffn_gate_inp")));

        importance.Save(directory["importance.gguf"], "samples");
        Importance read = Importance.Open(directory["importance.gguf"]);
        Assert.Equal(importance.Tensors, read.Tensors);
        Assert.All(importance.Tensors, tensor => Assert.Equal(importance[tensor], read[tensor]));
        Assert.True(importance["blk.0.attn_q.weight"].SequenceEqual(importance["blk.0.attn_v.weight"]));
    }

    [Theory]
    [InlineData("q4_0")]
    [InlineData("q5_0")]
    [InlineData("iq4_nl")]
    [InlineData("q4_k")]
    [InlineData("q6_k")]
    public void Importance_lowers_the_error_of_outputs(string type)
    {
        GgmlType packed = Enum.Parse<GgmlType>(type, ignoreCase: true);
        using ChatModel chat = ChatModel.Load(Goldens.Local("reader-ref/checkpoint"), threads: 2, exact: true);
        using StatisticsOps ops = new(chat.Pool);
        ModelTrial.Run(chat, ops, [ReaderSamples.Picture("t028.png", "Read the text.", "450")], 0, null, null);
        Importance importance = ops.ToImportance("samples");
        using Checkpoint checkpoint = Checkpoint.Open(Goldens.Local("reader-ref/checkpoint"));
        foreach (TensorInfo tensor in checkpoint.Tensors.Where(t => t.Name.EndsWith("mlp.down_proj.weight")))
        {
            // 512 columns: whole blocks of every type.
            float[] weights = checkpoint.Get(tensor.Name, tensor.Shape).ToArray();
            float[] columns = importance[GgufNames.OfLanguageModel(tensor.Name)!].ToArray();
            Assert.True(Error(columns) < Error([]), $"{tensor.Name}: {Error(columns)}, without {Error([])}");

            // Expected square of what the outputs are off by, were columns independent of each other.
            double Error(float[] weighed)
            {
                byte[] blocks = new byte[weights.Length / packed.BlockValues() * packed.BlockBytes()];
                Quantize.Rows(packed, weights, columns.Length, blocks, weighed);
                float[] back = new float[weights.Length];
                Dequantize.Apply(packed, blocks, back);
                return weights.Select((w, i) => Math.Pow((double)w - back[i], 2) * columns[i % columns.Length]).Sum();
            }
        }
    }

    static void Gather(ChatModel chat, StatisticsOps ops) =>
        ModelTrial.Run(chat, ops, [new CalibrationSample("text") { Text = Text }], 0, null, null);

    /// <summary>The same sums, of the reference's activations.</summary>
    sealed class NaiveStatistics : ReferenceOps
    {
        bool mixes;

        public Dictionary<string, (double[] Squares, long[] Rows)> Sums { get; } = [];

        public override Tensor Linear(Tensor x, Linear layer)
        {
            // The reference makes maps of its experts, too; those are summed up one by one below.
            for (int row = 0; row < x.Rows && !mixes; row++)
            {
                Add(layer.Name, 1, 0, [.. x.Row(row)]);
            }

            return base.Linear(x, layer);
        }

        public override Tensor MixExperts(Tensor x, Tensor logits, Experts experts, Tensor residual)
        {
            for (int row = 0; row < x.Rows; row++)
            {
                float[] input = x.Row(row).ToArray();
                float[] scores = logits.Row(row).ToArray();
                foreach (
                    int e in Enumerable.Range(0, experts.Count).OrderByDescending(i => scores[i]).Take(experts.PerToken)
                )
                {
                    double[] products = new double[2 * experts.Width];
                    float[] weights = new float[experts.Hidden];
                    for (int i = 0; i < products.Length; i++)
                    {
                        experts.GateUp(e).UnpackRow(i, weights);
                        products[i] = weights.Zip(input, (w, v) => (double)w * v).Sum();
                    }

                    Add($"{experts.Name}.gate_up_proj", experts.Count, e, input);
                    Add(
                        $"{experts.Name}.down_proj",
                        experts.Count,
                        e,
                        [
                            .. Enumerable
                                .Range(0, experts.Width)
                                .Select(i =>
                                    (float)(products[i] * Reference.Sigmoid(products[i]) * products[experts.Width + i])
                                ),
                        ]
                    );
                }
            }

            mixes = true;
            Tensor mixed = base.MixExperts(x, logits, experts, residual);
            mixes = false;
            return mixed;
        }

        void Add(string name, int count, int matrix, float[] row)
        {
            if (!Sums.TryGetValue(name, out (double[] Squares, long[] Rows) sums))
            {
                Sums.Add(name, sums = (new double[count * row.Length], new long[count]));
            }

            for (int i = 0; i < row.Length; i++)
            {
                sums.Squares[(matrix * row.Length) + i] += Math.Pow(row[i], 2);
            }

            sums.Rows[matrix]++;
        }
    }
}
