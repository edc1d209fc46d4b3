using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;

namespace VlmSharp.Conversion;

/// <summary>What an error in each column of each matrix counts: the mean square of the activations that meet the column.</summary>
/// <remarks>
/// Read from a GGUF file as llama.cpp's imatrix program writes it: for each matrix a tensor <c>NAME.in_sum2</c> <c>[matrices, columns]</c> with sums of squares, and
/// <c>NAME.counts</c> <c>[matrices, 1]</c> with the number of rows that were summed up, one matrix for each expert.
/// </remarks>
public sealed class Importance
{
    const string Sums = ".in_sum2";
    const string Counts = ".counts";

    readonly string file;
    readonly Dictionary<string, (int Columns, float[] Values)> columns = new(StringComparer.Ordinal);

    Importance(GgufFile source)
    {
        file = source.Name;
        foreach (GgufTensor sums in source.Tensors.Values.Where(t => t.Name.EndsWith(Sums, StringComparison.Ordinal)))
        {
            string name = sums.Name[..^Sums.Length];
            GgufTensor counts = source.Tensor(name + Counts);
            int width = sums.Shape.Length > 0 ? sums.Shape[^1] : 1;
            long matrices = sums.Count / width;
            if (counts.Count != matrices)
            {
                throw new CheckpointException(
                    file,
                    $"tensor {Quote.Name(counts.Name)} has {counts.Count} values, {Quote.Name(sums.Name)} has {matrices} rows"
                );
            }

            float[] values = sums.ToArray();
            float[] rows = counts.ToArray();
            for (int i = 0; i < values.Length; i++)
            {
                // Experts that no token came to count nothing: all of their columns count the same then.
                float count = rows[i / width];
                values[i] = count > 0 ? values[i] / count : 0;
                if (!(values[i] >= 0 && float.IsFinite(values[i])))
                {
                    throw new CheckpointException(
                        file,
                        $"tensor {Quote.Name(sums.Name)} has a sum that is negative or not finite in column {i % width}"
                    );
                }
            }

            columns.Add(name, (width, values));
        }

        if (columns.Count == 0)
        {
            throw new CheckpointException(file, $"has no tensor '*{Sums}': it holds no importance of columns");
        }
    }

    /// <summary>Reads a file.</summary>
    /// <exception cref="CheckpointException">It is no such file, or damaged.</exception>
    public static Importance Open(string path)
    {
        using GgufFile source = GgufFile.Open(path);
        return new Importance(source);
    }

    /// <summary>The importance of a tensor's columns; null where the file says nothing about it.</summary>
    /// <exception cref="CheckpointException">The file was made for a tensor of another shape.</exception>
    internal float[]? Find(PlannedTensor tensor)
    {
        if (!columns.TryGetValue(tensor.Name, out (int Columns, float[] Values) found))
        {
            return null;
        }

        int matrices = tensor.Shape.Length > 2 ? tensor.Shape[0] : 1;
        return found.Columns == tensor.Shape[^1] && found.Values.Length == (long)matrices * found.Columns
            ? found.Values
            : throw new CheckpointException(
                file,
                $"is for {found.Values.Length / found.Columns} matrices with {found.Columns} columns at {Quote.Name(tensor.Name)}, which has the shape {TensorInfo.Text(tensor.Shape)}"
            );
    }
}
