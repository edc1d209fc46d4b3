using System.Runtime.InteropServices;
using VlmSharp.Kernels;

namespace VlmSharp.Tensors;

/// <summary>What an adapter changes of the weights of one model in memory, which stay as they are: rows of a step choose it.</summary>
/// <param name="name">What people call it.</param>
/// <param name="linears">Changes of linear maps; owned.</param>
/// <param name="vectors">What takes the place of vectors.</param>
public sealed class WeightAdapter(
    string name,
    IReadOnlyDictionary<Linear, LinearAdapter> linears,
    IReadOnlyDictionary<Vector, Vector> vectors
) : IDisposable
{
    /// <summary>What people call it.</summary>
    public string Name => name;

    /// <summary>What it changes of a linear map; null for nothing.</summary>
    public LinearAdapter? Find(Linear layer) => linears.GetValueOrDefault(layer);

    /// <summary>What it puts in the place of a vector: the vector itself where it changes nothing.</summary>
    public Vector Find(Vector vector) => vectors.GetValueOrDefault(vector, vector);

    /// <summary>Frees its weights.</summary>
    public void Dispose()
    {
        foreach (LinearAdapter linear in linears.Values)
        {
            linear.Dispose();
        }
    }
}

/// <summary>What an adapter changes of a linear map: y = g * (W x + products) + b.</summary>
public sealed class LinearAdapter : IDisposable
{
    /// <summary>The products that are added.</summary>
    public required IReadOnlyList<LowRankProduct> Products { get; init; }

    /// <summary>W and b where they are others than those of the map; null where they stay.</summary>
    public Linear? Replacement { get; init; }

    /// <summary>Whether <see cref="Replacement"/> has a matrix of its own.</summary>
    public bool OwnsReplacement { get; init; }

    /// <summary>g: [outputs]; null where it is 1.</summary>
    public float[]? Gain { get; init; }

    /// <summary>Whether the products are all that it changes.</summary>
    internal bool OnlyAdds => Gain is null && Replacement is null;

    /// <summary>Frees its weights.</summary>
    public void Dispose()
    {
        foreach (LowRankProduct product in Products)
        {
            product.Down.Dispose();
            product.Up.Dispose();
        }

        if (OwnsReplacement)
        {
            Replacement?.Dispose();
        }
    }
}

/// <summary>up (down x), added to some neighbouring outputs of a linear map.</summary>
/// <param name="FirstOutput">The first of them.</param>
/// <param name="Down">[rank, inputs]</param>
/// <param name="Up">[outputs, rank], multiplied by the scale.</param>
public sealed record LowRankProduct(int FirstOutput, PackedMatrix Down, PackedMatrix Up);

/// <summary>Which adapter the rows of a pass use, or none.</summary>
public sealed class RowAdapters
{
    readonly List<(WeightAdapter? Adapter, int Rows)> all = [];
    readonly List<(WeightAdapter? Adapter, int Rows)> wanted = [];
    readonly bool everywhere;
    int rows;
    int wantedRows;

    /// <summary>No rows.</summary>
    public RowAdapters() { }

    /// <summary>The same adapter for all rows of a pass, however many there are.</summary>
    public RowAdapters(WeightAdapter adapter)
    {
        everywhere = true;
        Add(adapter, 0, 0);
    }

    /// <summary>Says that the next rows use an adapter.</summary>
    /// <param name="adapter">Null for none.</param>
    /// <param name="count">How many rows.</param>
    /// <param name="logits">How many of them have logits: behind the last attention only these go on.</param>
    public void Add(WeightAdapter? adapter, int count, int logits)
    {
        all.Add((adapter, count));
        wanted.Add((adapter, logits));
        rows += count;
        wantedRows += logits;
    }

    /// <summary>Starts anew.</summary>
    public void Clear()
    {
        all.Clear();
        wanted.Clear();
        rows = wantedRows = 0;
    }

    /// <summary>Whether some rows use an adapter.</summary>
    public bool Any => all.Exists(run => run.Adapter is not null);

    /// <summary>The adapters of an operation's rows, in order.</summary>
    /// <exception cref="InvalidOperationException">It has neither all rows nor those with logits.</exception>
    internal ReadOnlySpan<(WeightAdapter? Adapter, int Rows)> For(int count)
    {
        if (everywhere)
        {
            all[0] = (all[0].Adapter, count);
        }
        else if (count != rows)
        {
            return count == wantedRows
                ? CollectionsMarshal.AsSpan(wanted)
                : throw new InvalidOperationException(
                    $"An operation has {count} rows of a step of {rows}, of which {wantedRows} have logits: nobody knows their adapters."
                );
        }

        return CollectionsMarshal.AsSpan(all);
    }
}
