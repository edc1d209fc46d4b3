using VlmSharp.Tensors;

namespace VlmSharp.Training;

/// <summary>Which inputs are set to zero: the same ones whenever it is asked again. The others grow by 1 / (1 - rate).</summary>
/// <param name="Rate">Their share.</param>
/// <param name="Seed">Decides which.</param>
readonly record struct DropoutMask(double Rate, ulong Seed)
{
    const ulong Golden = 0x9E3779B97F4A7C15;

    /// <summary>Applies the mask of one product.</summary>
    /// <param name="x">Changed in place.</param>
    /// <param name="product">Its number: each has a mask of its own.</param>
    public void Apply(Tensor x, int product)
    {
        float factor = (float)(1 / (1 - Rate));
        ulong limit = (ulong)(Rate * ulong.MaxValue);
        ulong key = Mix(Seed + (((ulong)product + 1) * Golden));
        for (int row = 0; row < x.Rows; row++)
        {
            ulong state = Mix(key ^ (ulong)row);
            foreach (ref float value in x.Row(row))
            {
                value = Mix(state += Golden) < limit ? 0 : value * factor;
            }
        }
    }

    // SplitMix64 (Steele, Lea, Flood 2014).
    static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
}
