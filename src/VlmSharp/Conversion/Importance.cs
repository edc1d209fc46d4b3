using System.Runtime.InteropServices;
using VlmSharp.Formats;
using VlmSharp.Formats.Gguf;
using VlmSharp.Kernels.Quantized;

namespace VlmSharp.Conversion;

/// <summary>What an error in each column of each matrix counts: the mean square of the activations that meet the column.</summary>
/// <remarks>
/// In files as llama.cpp's imatrix program writes them: for each matrix a tensor <c>NAME.in_sum2</c> <c>[matrices, columns]</c> with sums of squares, and
/// <c>NAME.counts</c> <c>[matrices, 1]</c> with the number of rows that were summed up, one matrix for each expert.
/// </remarks>
public sealed class Importance
{
    const string Sums = ".in_sum2";
    const string Counts = ".counts";

    readonly string file;
    readonly SortedDictionary<string, Entry> entries = new(StringComparer.Ordinal);

    /// <summary>Nothing is known yet.</summary>
    /// <param name="source">Where it comes from, for messages.</param>
    internal Importance(string source) => file = source;

    Importance(GgufFile source)
        : this(source.Name)
    {
        foreach (GgufTensor sums in source.Tensors.Values.Where(t => t.Name.EndsWith(Sums, StringComparison.Ordinal)))
        {
            string name = sums.Name[..^Sums.Length];
            GgufTensor counts = source.Tensor(name + Counts);
            int width = sums.Shape.Length > 0 ? sums.Shape[^1] : 1;
            if (counts.Count != sums.Count / width)
            {
                throw new CheckpointException(
                    file,
                    $"tensor {Quote.Name(counts.Name)} has {counts.Count} values, {Quote.Name(sums.Name)} has {sums.Count / width} rows"
                );
            }

            Add(name, width, sums.ToArray(), counts.ToArray());
        }

        if (entries.Count == 0)
        {
            throw new CheckpointException(file, $"has no tensor '*{Sums}': it holds no importance of columns");
        }
    }

    /// <summary>The GGUF names of the tensors of which something is known.</summary>
    public IReadOnlyCollection<string> Tensors => entries.Keys;

    /// <summary>The importance of a tensor's columns, one row for each of its matrices: [matrices, columns].</summary>
    /// <exception cref="KeyNotFoundException">Nothing is known of it.</exception>
    public ReadOnlySpan<float> this[string tensor] => entries[tensor].Means;

    /// <summary>Adds what is known of a tensor.</summary>
    /// <param name="name">Its GGUF name.</param>
    /// <param name="columns">Width of its rows.</param>
    /// <param name="sums">[matrices, columns]: of squares.</param>
    /// <param name="counts">[matrices]: how many rows were summed up.</param>
    /// <exception cref="CheckpointException">A sum is negative or not finite.</exception>
    internal void Add(string name, int columns, float[] sums, float[] counts)
    {
        float[] means = new float[sums.Length];
        for (int i = 0; i < sums.Length; i++)
        {
            // Experts that no token came to count nothing: all of their columns count the same then.
            float count = counts[i / columns];
            means[i] = count > 0 ? sums[i] / count : 0;
            if (!(means[i] >= 0 && float.IsFinite(means[i])))
            {
                throw new CheckpointException(
                    file,
                    $"tensor {Quote.Name(name + Sums)} has a sum that is negative or not finite in column {i % columns}"
                );
            }
        }

        entries.Add(name, new Entry(columns, sums, counts, means));
    }

    /// <summary>Writes a file that <see cref="Open"/> and llama.cpp read.</summary>
    /// <param name="path">Where; a file that is there already is replaced.</param>
    /// <param name="data">Names of what it was gathered from.</param>
    /// <exception cref="IOException">It cannot be written.</exception>
    public void Save(string path, params IReadOnlyCollection<string> data)
    {
        GgufWriter writer = new();
        writer.Add("general.type", "imatrix").Add("imatrix.datasets", data);
        // One chunk of as many rows as were summed up: what an entry is divided by stands beside it.
        float rows = entries.Values.Select(entry => entry.Counts.Max()).DefaultIfEmpty(0).Max();
        writer.Add("imatrix.chunk_count", 1u).Add("imatrix.chunk_size", (uint)rows);
        foreach ((string name, Entry entry) in entries)
        {
            Write(name + Sums, [entry.Counts.Length, entry.Columns], entry.Sums);
            Write(name + Counts, [entry.Counts.Length, 1], entry.Counts);
        }

        writer.Save(path);

        void Write(string name, int[] shape, float[] values) =>
            writer.Tensor(name, GgmlType.F32, shape, stream => stream.Write(MemoryMarshal.AsBytes(values.AsSpan())));
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
        if (!entries.TryGetValue(tensor.Name, out Entry? found))
        {
            return null;
        }

        int matrices = tensor.Shape.Length > 2 ? tensor.Shape[0] : 1;
        return found.Columns == tensor.Shape[^1] && found.Means.Length == (long)matrices * found.Columns
            ? found.Means
            : throw new CheckpointException(
                file,
                $"is for {found.Means.Length / found.Columns} matrices with {found.Columns} columns at {Quote.Name(tensor.Name)}, which has the shape {TensorInfo.Text(tensor.Shape)}"
            );
    }

    sealed record Entry(int Columns, float[] Sums, float[] Counts, float[] Means);
}
