namespace VlmSharp.Kernels;

public static unsafe partial class Attention
{
    const double Ln2 = 0.6931471805599453;

    readonly struct PortableMath : IAttentionMath
    {
        public static int Rows => 4;

        public static KvStorage Reads => KvStorage.F32;

        public static void PackQueries(
            float** from,
            int rows,
            int headDim,
            float scale,
            float* packed,
            float* scratch
        ) => PackColumns(from, rows, headDim, scale, packed, Rows);

        public static void Scores(int rows, float* q, float* keys, int headDim, float* scores)
        {
            for (int r = 0; r < rows; r++)
            {
                float* to = scores + (r * AttentionTile.ScoreStride);
                new Span<float>(to, KvLayout.KeyPanel).Clear();
                for (int i = 0; i < headDim; i++)
                {
                    float factor = q[(i * Rows) + r];
                    float* from = keys + (i * KvLayout.KeyPanel);
                    for (int key = 0; key < KvLayout.KeyPanel; key++)
                    {
                        to[key] += factor * from[key];
                    }
                }
            }
        }

        public static float Weights(float* scores, int visible, out float max)
        {
            max = float.MinValue;
            for (int key = 0; key < visible; key++)
            {
                max = scores[key] > max ? scores[key] : max;
            }

            float sum = 0;
            for (int key = 0; key < visible; key++)
            {
                scores[key] = Exp2(scores[key] - max);
                sum += scores[key];
            }

            return sum;
        }

        public static void Factors(float* max, float* blockMax, float* keep, float* add)
        {
            for (int r = 0; r < AttentionTile.MaxRows; r++)
            {
                float larger = Math.Max(max[r], blockMax[r]);
                keep[r] = Exp2(max[r] - larger);
                add[r] = Exp2(blockMax[r] - larger);
                max[r] = larger;
            }
        }

        public static void Values(
            int rows,
            float* weights,
            float** pages,
            int width,
            int* visible,
            float* keep,
            float* add,
            float* y,
            int yStride
        )
        {
            float* sums = stackalloc float[KvLayout.ValuePanel];
            for (int r = 0; r < rows; r++)
            {
                if (visible[r] <= 0)
                {
                    continue;
                }

                new Span<float>(sums, width).Clear();
                for (int key = 0; key < visible[r]; key++)
                {
                    float weight = weights[(r * AttentionTile.ScoreStride) + key];
                    float* from = pages[key / KvLayout.PageTokens] + (key % KvLayout.PageTokens * width);
                    for (int i = 0; i < width; i++)
                    {
                        sums[i] += weight * from[i];
                    }
                }

                Merge(y + ((nint)r * yStride), sums, width, keep[r], add[r]);
            }
        }

        public static void Merge(float* y, float* sums, int channels, float keep, float add)
        {
            for (int i = 0; i < channels; i++)
            {
                y[i] = (y[i] * keep) + (sums[i] * add);
            }
        }

        static float Exp2(float x) => (float)Math.Exp(x * Ln2);
    }
}
