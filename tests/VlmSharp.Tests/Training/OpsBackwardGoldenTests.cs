using System.Text.Json;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Models.Blocks;
using VlmSharp.Tensors;
using VlmSharp.Testing;
using VlmSharp.Training;
using Xunit;

namespace VlmSharp.Tests.Training;

/// <summary>Results and gradients of <c>golden/ops-backward</c> in float64, computed through the tape.</summary>
public sealed class OpsBackwardGoldenTests
{
    // Not here: bare softmax and interpolate, which no trained model runs, and moe-routing, which moe contains.
    public static TheoryData<string> Cases =>
        [
            "linear",
            "linear-no-bias",
            "embedding",
            "tied-head",
            "rmsnorm-eps1e-06",
            "rmsnorm-eps0.01",
            "layernorm-eps1e-06",
            "layernorm-eps0.01",
            "rotary-1d",
            "rotary-vision-2d",
            "mrope-chunked",
            "mrope-interleaved",
            "attention-gqa-causal",
            "attention-windows",
            "attention-peaked",
            "swiglu",
            "mlp-swiglu",
            "silu",
            "gelu-erf",
            "gelu-tanh",
            "quickgelu",
            "patch-embed",
            "patch-embed-bias",
            "merger-qwen2-vl",
            "merger-qwen3-vl",
            "merger-qwen3-vl-deepstack",
            "softmax-cross-entropy",
            "softmax-cross-entropy-smoothed",
            "position-bilinear",
            "moe",
        ];

    [Theory, MemberData(nameof(Cases))]
    public void Results_and_gradients_are_the_reference_s(string name)
    {
        string directory = Goldens.Local("ops-backward");
        using JsonDocument index = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(directory, "index.json")));
        JsonElement op = index.RootElement.GetProperty("ops").GetProperty(name);
        using SafetensorsFile file = SafetensorsFile.Open(Path.Combine(directory, op.GetProperty("file").GetString()!));
        using Run run = new(file, op);
        run.Compute(name);
    }

    sealed class Run : IDisposable
    {
        readonly SafetensorsFile file;
        readonly JsonElement op;
        readonly double tolerance;
        readonly WorkerPool pool = new(2);
        readonly ParameterSet parameters = new();
        readonly TapeOps tape;
        readonly HashSet<string> compared = [];

        public Run(SafetensorsFile file, JsonElement op)
        {
            (this.file, this.op) = (file, op);
            tolerance = op.GetProperty("tolerance_f32").GetDouble();
            tape = new TapeOps(parameters, pool);
        }

        public void Dispose()
        {
            tape.Dispose();
            parameters.Dispose();
            pool.Dispose();
        }

        float Epsilon => (float)op.GetProperty("attributes").GetProperty("eps").GetDouble();

        float[] F32(string name) => file.Floats(name);

        double[] F64(string name)
        {
            TensorInfo info = file.Find(name);
            return [.. System.Runtime.InteropServices.MemoryMarshal.Cast<byte, double>(file.Bytes(info.Name))];
        }

        int[] Shape(string name) => file.Find(name).Shape;

        int[] Ints(string name) => [.. file.Integers(name).Select(v => (int)v)];

        Vector Vector(string name)
        {
            float[] values = F32(name);
            ((IWeightListener)parameters).Placed(values, 0, file.Tensor(name));
            return new Vector(name, values);
        }

        PackedMatrix Matrix(params ReadOnlySpan<string> names)
        {
            int rows = 0;
            foreach (string name in names)
            {
                rows += Shape(name)[0];
            }

            int columns = Shape(names[0])[1..].Aggregate(1, (a, b) => a * b);
            PackedMatrix matrix = new(rows, columns, ElementType.F32);
            int row = 0;
            foreach (string name in names)
            {
                CheckpointTensor tensor = file.Tensor(name);
                matrix.PackRows(row, tensor.Shape[0], tensor.Bytes, ElementType.F32, pool);
                ((IWeightListener)parameters).Placed(new WeightPlace(matrix, 0, rows, row, tensor.Shape[0], tensor));
                row += tensor.Shape[0];
            }

            return matrix;
        }

        Linear Linear(string weight, string? bias = null)
        {
            PackedMatrix matrix = Matrix(weight);
            return new Linear(weight, matrix, bias is null ? [] : Vector(bias).Array);
        }

        Tensor Variable(string name)
        {
            int[] shape = Shape(name);
            return tape.Variable(shape.Length == 1 ? 1 : shape[..^1].Aggregate(1, (a, b) => a * b), F32(name));
        }

        void Check(string what, double[] expected, ReadOnlySpan<float> actual)
        {
            Near.RelativeToLargest(tolerance, expected, actual, what);
            compared.Add(what);
        }

        void Backward(Tensor y, string output = "y")
        {
            Check(output, F64($"f64.{output}"), y.ToArray());
            tape.Seed(y, F32($"grad_out.{output}"));
            tape.Backward();
        }

        void CheckVariable(string name, Tensor x) => Check($"grad {name}", F64($"f64.grad.{name}"), tape.Gradient(x));

        void CheckParameters()
        {
            foreach (Parameter parameter in parameters.All)
            {
                Check($"grad {parameter.Name}", F64($"f64.grad.{parameter.Name}"), parameter.Gradient);
            }
        }

        public void Compute(string name)
        {
            switch (name)
            {
                case "linear" or "linear-no-bias" or "patch-embed" or "patch-embed-bias":
                {
                    Tensor x = Variable("x");
                    Backward(tape.Linear(x, Linear("w", file.Contains("b") ? "b" : null)));
                    CheckVariable("x", x);
                    break;
                }

                case "embedding":
                    Backward(tape.Embed(Matrix("w"), Ints("ids")));
                    break;
                case "tied-head":
                {
                    PackedMatrix w = Matrix("w");
                    Backward(tape.Linear(tape.Embed(w, Ints("ids")), new Linear("w", w, [])));
                    break;
                }

                case "rmsnorm-eps1e-06"
                or "rmsnorm-eps0.01":
                {
                    Tensor x = Variable("x");
                    Backward(tape.RmsNorm(x, Vector("weight"), Epsilon));
                    CheckVariable("x", x);
                    break;
                }

                case "layernorm-eps1e-06"
                or "layernorm-eps0.01":
                {
                    Tensor x = Variable("x");
                    Backward(tape.LayerNorm(x, Vector("weight"), Vector("bias"), Epsilon));
                    CheckVariable("x", x);
                    break;
                }

                case "rotary-1d"
                or "rotary-vision-2d"
                or "mrope-chunked"
                or "mrope-interleaved":
                    Rotate(name);
                    break;
                case "attention-gqa-causal" or "attention-windows" or "attention-peaked":
                    Attention(name != "attention-windows");
                    break;
                case "swiglu":
                    SwiGlu(F32("gate"), F32("up"));
                    break;
                case "silu":
                    SwiGlu(F32("x"), [.. F32("x").Select(_ => 1f)]);
                    break;
                case "mlp-swiglu":
                {
                    Tensor x = Variable("x");
                    Linear gateUp = new("gate", Matrix("gate", "up"), []);
                    Backward(tape.Linear(tape.SwiGlu(tape.Linear(x, gateUp)), Linear("down")));
                    CheckVariable("x", x);
                    break;
                }

                case "gelu-erf"
                or "gelu-tanh"
                or "quickgelu":
                {
                    Tensor x = Variable("x");
                    Backward(
                        name switch
                        {
                            "gelu-erf" => tape.Gelu(x),
                            "gelu-tanh" => tape.GeluTanh(x),
                            _ => tape.QuickGelu(x),
                        }
                    );
                    CheckVariable("x", x);
                    break;
                }

                case "softmax-cross-entropy"
                or "softmax-cross-entropy-smoothed":
                {
                    Tensor x = Variable("logits");
                    int[] labels = Ints("labels");
                    double smoothing = op.GetProperty("attributes").GetProperty("label_smoothing").GetDouble();
                    double scale = 1.0 / labels.Count(label => label >= 0);
                    double loss = tape.CrossEntropy(x, labels, scale, smoothing) * scale;
                    Check("loss", F64("f64.loss"), [(float)loss]);
                    CheckVariable("logits", x);
                    break;
                }

                case "position-bilinear":
                    Positions();
                    break;
                case "moe":
                    Experts();
                    break;
                default:
                    Merge();
                    break;
            }

            CheckParameters();
            int inputs = op.GetProperty("inputs").GetArrayLength();
            int outputs = op.GetProperty("outputs").GetArrayLength();
            Assert.Equal(inputs + outputs, compared.Count);
        }

        void Merge()
        {
            Tensor x = Variable("x");
            int tokens = x.Rows / 4;
            int width = 4 * x.Width;
            bool together =
                op.GetProperty("attributes").TryGetProperty("use_postshuffle_norm", out JsonElement post)
                && post.GetBoolean();
            Tensor h = together ? x.Reshape(tokens, width) : x;
            h = tape.LayerNorm(h, Vector("ln_weight"), Vector("ln_bias"), Epsilon).Reshape(tokens, width);
            Backward(tape.Linear(tape.Gelu(tape.Linear(h, Linear("w0", "b0"))), Linear("w2", "b2")));
            CheckVariable("x", x);
        }

        void SwiGlu(float[] gate, float[] up)
        {
            int width = Shape(file.Contains("gate") ? "gate" : "x")[^1];
            int rows = gate.Length / width;
            float[] both =
            [
                .. Enumerable
                    .Range(0, rows)
                    .SelectMany(r => gate[(r * width)..((r + 1) * width)].Concat(up[(r * width)..((r + 1) * width)])),
            ];
            Tensor x = tape.Variable(rows, both);
            Backward(tape.SwiGlu(x));
            float[] gradient = tape.Gradient(x);
            float[] Half(int start) =>
                [.. Enumerable.Range(0, rows).SelectMany(r => gradient.Skip((2 * r * width) + start).Take(width))];
            if (file.Contains("gate"))
            {
                Check("grad gate", F64("f64.grad.gate"), Half(0));
                Check("grad up", F64("f64.grad.up"), Half(width));
            }
            else
            {
                Check("grad x", F64("f64.grad.x"), Half(0));
            }
        }

        // [batch, heads, tokens, dim] where it is not the tower's [tokens, heads, dim]
        void Rotate(string name)
        {
            bool heads = name != "rotary-vision-2d";
            int[] shape = Shape("q");
            int dim = shape[^1];
            int tokens = heads ? shape[^2] : shape[0];
            int half = dim / 2;
            float[] cos = Angles("cos");
            float[] sin = Angles("sin");
            foreach (string which in new[] { "q", "k" })
            {
                int count = heads ? Shape(which)[^3] : Shape(which)[1];
                Tensor x = tape.Variable(tokens, ByToken(F32(which)));
                // The result takes the place of its argument, whose values a variable keeps.
                Tensor y = tape.Rotate(x, count, new Rotary(tape.Variable(tokens, cos), tape.Variable(tokens, sin)));
                string output = $"{which}_rotated";
                Check(output, ByToken(F64($"f64.{output}")), y.ToArray());
                tape.Seed(y, ByToken(F32($"grad_out.{output}")));
                tape.Backward();
                Check($"grad {which}", ByToken(F64($"f64.grad.{which}")), tape.Gradient(x));
                tape.Reset();

                T[] ByToken<T>(T[] values) =>
                    heads
                        ?
                        [
                            .. Enumerable
                                .Range(0, tokens)
                                .SelectMany(t =>
                                    Enumerable
                                        .Range(0, count)
                                        .SelectMany(h => values.Skip(((h * tokens) + t) * dim).Take(dim))
                                ),
                        ]
                        : values;
            }

            // One table, or one for each axis, of which sections of the frequencies are taken.
            float[] Angles(string table)
            {
                float[] values = F32(table);
                bool axes = values.Length == 3 * tokens * dim;
                int[] section = axes
                    ?
                    [
                        .. op.GetProperty("attributes")
                            .GetProperty("mrope_section")
                            .EnumerateArray()
                            .Select(e => e.GetInt32()),
                    ]
                    : [half];
                int[] axis = [.. section.SelectMany((length, a) => Enumerable.Repeat(a, length))];
                return
                [
                    .. Enumerable
                        .Range(0, tokens)
                        .SelectMany(t =>
                            Enumerable.Range(0, half).Select(i => values[(((axis[i] * tokens) + t) * dim) + i])
                        ),
                ];
            }
        }

        // Through the kernels: a scale of its own is nothing a model asks for.
        void Attention(bool causal)
        {
            (int[] qShape, int[] kShape) = (Shape("q"), Shape("k"));
            (int tokens, int heads, int dim) = (qShape[0], qShape[1], qShape[2]);
            int kvHeads = kShape[1];
            float scale = (float)op.GetProperty("attributes").GetProperty("scale").GetDouble();
            int[] bounds = Ints("cu_seqlens");
            PackedSequence[] sequences =
            [
                .. bounds.Zip(bounds.Skip(1), (a, b) => new PackedSequence(a, b - a, a, b - a)),
            ];
            float[] dq = new float[tokens * heads * dim];
            float[] dk = new float[tokens * kvHeads * dim];
            float[] dv = new float[tokens * kvHeads * dim];
            AttentionBackward.Apply(
                F32("q"),
                heads * dim,
                F32("k"),
                kvHeads * dim,
                F32("v"),
                kvHeads * dim,
                F32("grad_out.y"),
                heads * dim,
                dq,
                heads * dim,
                dk,
                kvHeads * dim,
                dv,
                kvHeads * dim,
                heads,
                kvHeads,
                dim,
                sequences,
                causal,
                scale,
                pool
            );
            Check("grad q", F64("f64.grad.q"), dq);
            Check("grad k", F64("f64.grad.k"), dk);
            Check("grad v", F64("f64.grad.v"), dv);
            compared.Add("y"); // the forward pass has tests of its own
        }

        void Positions()
        {
            int side = op.GetProperty("attributes").GetProperty("side").GetInt32();
            int[] grids = Ints("grid_thw");
            List<int> indices = [];
            List<float> shares = [];
            for (int g = 0; g < grids.Length; g += 3)
            {
                (int t, int h, int w) = (grids[g], grids[g + 1], grids[g + 2]);
                for (int n = 0; n < t * h * w; n++)
                {
                    // (t, h / 2, w / 2, 2, 2)
                    int patch = n % (h * w);
                    int row = (patch / 4 / (w / 2) * 2) + (patch % 4 / 2);
                    int column = (patch / 4 % (w / 2) * 2) + (patch % 2);
                    (int y, float dy) = Place(row, h);
                    (int x, float dx) = Place(column, w);
                    int below = Math.Min(y + 1, side - 1);
                    int right = Math.Min(x + 1, side - 1);
                    indices.AddRange([(y * side) + x, (y * side) + right, (below * side) + x, (below * side) + right]);
                    shares.AddRange([(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx]);
                }
            }

            float[] values = F32("table");
            ((IWeightListener)parameters).Placed(values, 0, file.Tensor("table"));
            LookupTable table = new("table", values, Shape("table")[1]);
            Backward(tape.Blend(table, [.. indices], [.. shares], 4));

            (int, float) Place(int index, int count)
            {
                float step = (side - 1) / (float)(count - 1);
                float place = index < count / 2 ? step * index : side - 1 - (step * (count - 1 - index));
                return ((int)place, place - (int)place);
            }
        }

        void Experts()
        {
            Tensor x = Variable("x");
            Linear router = Linear("gate_weight");
            int[] shape = Shape("gate_up");
            int perToken = op.GetProperty("attributes").GetProperty("num_experts_per_tok").GetInt32();
            using Experts experts = new("moe", shape[0], perToken, Stack("gate_up"), Stack("down"));
            Tensor zero = tape.Variable(x.Rows, new float[x.Rows * x.Width]);
            Backward(tape.MixExperts(x, tape.Linear(x, router), experts, zero));
            CheckVariable("x", x);

            PackedMatrix Stack(string name)
            {
                CheckpointTensor tensor = file.Tensor(name);
                (int count, int inputs, int outputs) = (tensor.Shape[0], tensor.Shape[1], tensor.Shape[2]);
                int step = VlmSharp.Tensors.Experts.Stacked(outputs);
                PackedMatrix stack = new(count * step, inputs, ElementType.F32);
                for (int i = 0; i < count; i++)
                {
                    stack.PackTransposed(i * step, outputs, tensor.Rows(i, 1).Bytes, ElementType.F32, pool);
                    ((IWeightListener)parameters).Placed(
                        new WeightPlace(stack, i * step, outputs, i * step, outputs, tensor, i)
                    );
                }

                return stack;
            }
        }
    }
}
