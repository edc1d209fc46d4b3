using VlmSharp.Kernels;
using VlmSharp.Kernels.Imaging;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.Imaging;

public sealed class PatchRowsTests
{
    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(3, 2, 2)]
    [InlineData(4, 1, 3)]
    [InlineData(14, 2, 2)]
    [InlineData(16, 3, 1)]
    [InlineData(17, 2, 2)]
    public void Every_level_lands_in_its_place_and_nothing_beside_it(int patch, int temporal, int merge)
    {
        var grid = new PatchGrid(patch, temporal, merge, merge, 3 * merge);
        var layout = new PlanarRows(grid.Width, 3);
        var random = new Random(patch);
        float[] levels = [.. Enumerable.Range(0, 768).Select(i => (float)i)];
        using var band = new GuardedMemory<byte>(grid.BandRows * layout.RowStride);
        random.NextBytes(band.Span);
        for (int firstFrame = 0; firstFrame < temporal; firstFrame++)
        {
            using var patches = new GuardedMemory<float>((int)grid.BandLength);
            patches.Span.Fill(-1);
            PatchRows.Write(band.Span, layout, grid, levels, firstFrame, temporal, patches.Span);
            int at = 0;
            for (int group = 0; group < 3; group++)
            for (int row = 0; row < merge; row++)
            for (int column = 0; column < merge; column++)
            for (int c = 0; c < 3; c++)
            for (int frame = 0; frame < temporal; frame++)
            for (int y = 0; y < patch; y++)
            for (int x = 0; x < patch; x++, at++)
            {
                int source =
                    (row * patch + y) * layout.RowStride
                    + c * layout.PlaneStride
                    + (group * merge + column) * patch
                    + x;
                float expected = frame < firstFrame ? -1 : c * 256 + band.Span[source];
                Assert.Equal(expected, patches.Span[at]);
            }
        }
    }

    [Fact]
    public void A_grid_that_does_not_fit_the_weights_names_both_sizes()
    {
        using var pool = new WorkerPool(1);
        var weights = new ResampleWeights(10, 28, ResampleFilter.Bicubic);
        var grid = new PatchGrid(14, 2, 2, 2, 4);
        var e = Assert.Throws<ArgumentException>(() =>
            Resampling.ResizeToPatches(
                new byte[300],
                weights,
                weights,
                grid,
                new float[768],
                0,
                2,
                new float[grid.Length],
                pool
            )
        );
        Assert.Contains("28 x 28 pixels", e.Message);
        Assert.Contains("56 x 28", e.Message);
    }
}
