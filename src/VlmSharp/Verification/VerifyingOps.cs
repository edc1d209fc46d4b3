using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Tensors;

namespace VlmSharp.Verification;

/// <summary>Compares named intermediate results with the reference's and goes on with those of the reference.</summary>
/// <remarks>So every stage is fed what the reference fed it, and one difference does not hide another.</remarks>
sealed class VerifyingOps(WorkerPool pool) : CpuOps(pool)
{
    SafetensorsFile? expected;
    Func<string, string> rename = name => name;
    Action<string, float[], float[]>? compare;
    Action<string, int[], int[]>? compareIntegers;

    /// <summary>From now on, results are compared with tensors of a file.</summary>
    /// <param name="file">The reference's results; null to stop.</param>
    /// <param name="name">From the model's name of a result to the file's.</param>
    /// <param name="found">Gets name, ours and theirs.</param>
    /// <param name="foundIntegers">The same for integers.</param>
    public void Expect(
        SafetensorsFile? file,
        Func<string, string>? name = null,
        Action<string, float[], float[]>? found = null,
        Action<string, int[], int[]>? foundIntegers = null
    )
    {
        expected = file;
        rename = name ?? (n => n);
        compare = found;
        compareIntegers = foundIntegers;
    }

    public override void Tap(string name, ReadOnlySpan<int> values)
    {
        string stored = rename(name);
        if (expected?.Contains(stored) == true)
        {
            compareIntegers!(stored, values.ToArray(), [.. expected.Integers(stored).Select(int.CreateSaturating)]);
        }
    }

    public override void Tap(string name, ReadOnlySpan<float> values)
    {
        string stored = rename(name);
        if (expected?.Contains(stored) == true)
        {
            compare!(stored, values.ToArray(), expected.Floats(stored));
        }
    }

    public override Tensor Tap(string name, Tensor x)
    {
        string stored = rename(name);
        if (expected?.Contains(stored) == true)
        {
            float[] theirs = expected.Floats(stored);
            compare!(stored, x.ToArray(), theirs);
            if (theirs.Length == (long)x.Rows * x.Width)
            {
                for (int row = 0; row < x.Rows; row++)
                {
                    theirs.AsSpan(row * x.Width, x.Width).CopyTo(x.Row(row));
                }
            }
        }

        return x;
    }
}
