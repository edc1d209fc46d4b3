using VlmSharp.Conversion;
using VlmSharp.Formats.Gguf;
using VlmSharp.Kernels;
using VlmSharp.Tensors;

namespace VlmSharp.Calibration;

/// <summary>Runs a model in f32 and gathers, for every matrix that rows meet, the sum of squares of each input column.</summary>
/// <remarks>
/// Sums are kept in double precision and grow row by row, so they depend neither on threads nor on how a text is cut into steps. The last layer
/// and the head see only rows whose logits are wanted. Experts have sums of their own, of the rows that pass through them.
/// </remarks>
/// <param name="pool">Threads for kernels.</param>
sealed class StatisticsOps(WorkerPool pool) : CpuOps(pool)
{
    readonly Dictionary<string, Sums> matrices = new(StringComparer.Ordinal);
    readonly Dictionary<PackedMatrix, (Sums Sums, int Expert)> experts = new(ReferenceEqualityComparer.Instance);

    /// <summary>Whether what runs is counted.</summary>
    public bool Gathers { get; set; }

    /// <summary>What is known of each matrix, or stack of them, by the name of the first in the checkpoint.</summary>
    public IReadOnlyDictionary<string, Sums> Matrices => matrices;

    /// <inheritdoc/>
    public override Tensor Linear(Tensor x, Linear layer)
    {
        Gather(x, layer);
        return base.Linear(x, layer);
    }

    /// <inheritdoc/>
    public override Tensor Linear(Tensor x, Linear layer, Tensor residual)
    {
        Gather(x, layer);
        return base.Linear(x, layer, residual);
    }

    /// <inheritdoc/>
    public override Tensor MixExperts(Tensor x, Tensor logits, Experts experts, Tensor residual)
    {
        if (Gathers && !this.experts.ContainsKey(experts.GateUp(0)))
        {
            Sums gateUp = Of($"{experts.Name}.gate_up_proj", experts.Count, experts.Hidden);
            Sums down = Of($"{experts.Name}.down_proj", experts.Count, experts.Width);
            for (int i = 0; i < experts.Count; i++)
            {
                this.experts.Add(experts.GateUp(i), (gateUp, i));
                this.experts.Add(experts.Down(i), (down, i));
            }
        }

        return base.MixExperts(x, logits, experts, residual);
    }

    /// <inheritdoc/>
    protected override Tensor Product(Tensor x, PackedMatrix weights, Tensor y)
    {
        if (Gathers)
        {
            (Sums sums, int expert) = experts[weights];
            sums.Add(x, expert);
        }

        return base.Product(x, weights, y);
    }

    /// <summary>What the columns of the language model's matrices count, by their GGUF names.</summary>
    /// <param name="source">What it was gathered from, for messages.</param>
    public Importance ToImportance(string source)
    {
        Importance importance = new(source);
        foreach ((string name, Sums sums) in matrices)
        {
            if (GgufNames.OfLanguageModel(name) is not { } gguf)
            {
                continue; // the tower's
            }

            float[] squares = [.. sums.Squares.Select(sum => (float)sum)];
            float[] counts = [.. sums.Rows.Select(rows => (float)rows)];
            foreach (string tensor in SharingInput(gguf))
            {
                importance.Add(tensor, sums.Columns, squares, counts);
            }
        }

        return importance;
    }

    // What is multiplied with the same rows is stacked under the first one's name.
    static string[] SharingInput(string tensor) =>
        tensor.Contains(".attn_q.")
            ? [tensor, tensor.Replace(".attn_q.", ".attn_k."), tensor.Replace(".attn_q.", ".attn_v.")]
        : tensor.Contains(".ffn_gate.") ? [tensor, tensor.Replace(".ffn_gate.", ".ffn_up.")]
        : tensor.Contains(".ffn_gate_exps.") ? [tensor, tensor.Replace(".ffn_gate_exps.", ".ffn_up_exps.")]
        : [tensor];

    void Gather(Tensor x, Linear layer)
    {
        if (Gathers)
        {
            Of(layer.Name, 1, layer.Inputs).Add(x, 0);
        }
    }

    Sums Of(string name, int count, int columns)
    {
        if (!matrices.TryGetValue(name, out Sums? sums))
        {
            matrices.Add(name, sums = new Sums(count, columns));
        }

        return sums;
    }

    /// <summary>Sums of squares of what met a matrix, or each matrix of a stack.</summary>
    public sealed class Sums(int count, int columns)
    {
        /// <summary>Columns of each matrix.</summary>
        public int Columns => columns;

        /// <summary>[matrices, columns]</summary>
        public double[] Squares { get; } = new double[checked(count * columns)];

        /// <summary>[matrices]: rows that were summed up.</summary>
        public long[] Rows { get; } = new long[count];

        /// <summary>Adds rows.</summary>
        /// <param name="x">[rows, columns]</param>
        /// <param name="matrix">Which matrix they meet.</param>
        public void Add(Tensor x, int matrix)
        {
            Span<double> squares = Squares.AsSpan(matrix * columns, columns);
            for (int row = 0; row < x.Rows; row++)
            {
                ReadOnlySpan<float> values = x.Row(row);
                for (int i = 0; i < squares.Length; i++)
                {
                    squares[i] += (double)values[i] * values[i];
                }
            }

            Rows[matrix] += x.Rows;
        }
    }
}
