namespace VlmSharp.Kernels;

/// <summary>Which experts of a mixture look at a token, and how much each counts: softmax over all, the largest few, renormalised to 1.</summary>
/// <remarks>
/// In double precision, rounded once: there are few numbers, and a tie broken the other way would be another answer. Of equal
/// probabilities the lower expert wins. A row depends on nothing but itself. A NaN leaves valid experts with weights that are NaN.
/// </remarks>
public static unsafe class ExpertChoice
{
    /// <summary>Chooses for every row.</summary>
    /// <param name="logits">[rows, experts]</param>
    /// <param name="logitStride">Elements from one row of logits to the next.</param>
    /// <param name="rows">Number of tokens; 0 is allowed.</param>
    /// <param name="experts">Number of experts.</param>
    /// <param name="count">Experts that each token gets, from 1 to <paramref name="experts"/>.</param>
    /// <param name="chosen">[rows, count]: experts, the most probable first.</param>
    /// <param name="weights">[rows, count]: their probabilities divided by the sum of these.</param>
    /// <param name="pool">Shares the rows when there are enough.</param>
    /// <exception cref="ArgumentException">A span is too short, rows of it overlap, or the count is out of range.</exception>
    public static void Apply(
        ReadOnlySpan<float> logits,
        int logitStride,
        int rows,
        int experts,
        int count,
        Span<int> chosen,
        Span<float> weights,
        WorkerPool pool
    )
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, experts);
        RowMatrix.Check(logits.Length, logitStride, rows, experts);
        RowMatrix.CheckVector(chosen.Length, checked(rows * count));
        RowMatrix.CheckVector(weights.Length, rows * count);
        fixed (float* logitStart = logits)
        fixed (int* chosenStart = chosen)
        fixed (float* weightStart = weights)
        {
            var body = new Body
            {
                Logits = logitStart,
                Stride = logitStride,
                Experts = experts,
                Count = count,
                Chosen = chosenStart,
                Weights = weightStart,
            };
            RowMatrix.ForRows(body, rows, experts * Math.Max(count, 8), pool);
        }
    }

    struct Body : IRowBody
    {
        internal float* Logits;
        internal nint Stride;
        internal int Experts;
        internal int Count;
        internal int* Chosen;
        internal float* Weights;

        public readonly void Run(nint row)
        {
            float* logits = Logits + (row * Stride);
            int* chosen = Chosen + (row * Count);
            float* weights = Weights + (row * Count);
            for (int j = 0; j < Count; j++)
            {
                chosen[j] = Largest(logits, chosen, j);
            }

            // The sum over all experts cancels: only the chosen ones decide the weights.
            double sum = 0;
            for (int j = 0; j < Count; j++)
            {
                sum += Math.Exp((double)logits[chosen[j]] - logits[chosen[0]]);
            }

            for (int j = 0; j < Count; j++)
            {
                weights[j] = (float)(Math.Exp((double)logits[chosen[j]] - logits[chosen[0]]) / sum);
            }
        }

        // The first of the largest logits that are not taken yet; any of them where nothing compares.
        readonly int Largest(float* logits, int* taken, int takenCount)
        {
            int best = -1;
            for (int expert = 0; expert < Experts; expert++)
            {
                bool better = best < 0 || logits[expert] > logits[best];
                if (better && !new ReadOnlySpan<int>(taken, takenCount).Contains(expert))
                {
                    best = expert;
                }
            }

            return best;
        }
    }
}
