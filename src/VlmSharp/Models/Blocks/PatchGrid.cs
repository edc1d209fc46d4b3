using VlmSharp.Tensors;
using VlmSharp.Vision;

namespace VlmSharp.Models.Blocks;

/// <summary>Patches of a vision tower in their order: (t, h / merge, w / merge, merge, merge).</summary>
public static class PatchGrid
{
    const double Theta = 10000;

    /// <summary>Rotary angles of every patch: the first half of a head's pairs turns by its row, the second half by its column.</summary>
    /// <param name="ops">Where they live.</param>
    /// <param name="headDim">Width of a head of the tower; a multiple of 4.</param>
    /// <param name="merge">Patches per side of a token.</param>
    /// <param name="grids">One for each medium.</param>
    /// <returns>[patches]</returns>
    public static Rotary Rotary(Ops ops, int headDim, int merge, ReadOnlySpan<GridThw> grids)
    {
        int patches = 0;
        foreach (GridThw grid in grids)
        {
            patches += grid.Patches;
        }

        float[] frequencies = RotaryTable.Frequencies(headDim / 2, Theta);
        int pairs = frequencies.Length;
        Rotary rotary = RotaryTable.Allocate(ops, patches, headDim);
        int patch = 0;
        foreach (GridThw grid in grids)
        {
            for (int t = 0; t < grid.T; t++)
            {
                ForEachOfFrame(
                    grid,
                    merge,
                    (row, column) =>
                    {
                        Span<float> cos = rotary.Cos.Row(patch);
                        Span<float> sin = rotary.Sin.Row(patch);
                        RotaryTable.Write(row, frequencies, cos[..pairs], sin[..pairs]);
                        RotaryTable.Write(column, frequencies, cos[pairs..], sin[pairs..]);
                        patch++;
                    }
                );
            }
        }

        return rotary;
    }

    /// <summary>Row and column of every patch of a frame, in the order of the patches: groups of merge x merge neighbours, row by row.</summary>
    /// <param name="grid">Patches of the medium.</param>
    /// <param name="merge">Patches per side of a token; divides both sides of the grid.</param>
    /// <param name="visit">Told row and column.</param>
    public static void ForEachOfFrame(GridThw grid, int merge, Action<int, int> visit)
    {
        for (int inFrame = 0; inFrame < grid.H * grid.W; inFrame++)
        {
            int group = inFrame / (merge * merge);
            int inGroup = inFrame % (merge * merge);
            visit(
                (group / (grid.W / merge) * merge) + (inGroup / merge),
                (group % (grid.W / merge) * merge) + (inGroup % merge)
            );
        }
    }

    /// <summary>Patches of each frame pair, which are a sequence of their own: patches of different times do not see each other.</summary>
    /// <returns>[sum of grid.T], whose sum is the number of patches.</returns>
    public static int[] FrameLengths(ReadOnlySpan<GridThw> grids)
    {
        List<int> lengths = [];
        foreach (GridThw grid in grids)
        {
            lengths.AddRange(Enumerable.Repeat(grid.H * grid.W, grid.T));
        }

        return [.. lengths];
    }
}
