using VlmSharp.Models.Blocks;
using Xunit;

namespace VlmSharp.Tests.Models.Blocks;

public sealed class BicubicTableTests
{
    [Fact]
    public void A_table_of_the_right_size_stays_as_it_is()
    {
        float[] table = [.. Enumerable.Range(0, 18).Select(i => i * 0.3f)];
        Assert.Equal(table, BicubicTable.Resize(table, side: 3, width: 2, target: 3));
    }

    [Theory]
    [InlineData(16, 32)]
    [InlineData(16, 8)]
    [InlineData(6, 18)]
    [InlineData(1, 5)]
    [InlineData(5, 1)]
    public void Equal_entries_stay_equal(int side, int target)
    {
        float[] table = [.. Enumerable.Range(0, side * side * 3).Select(i => (i % 3) - 1.5f)];
        float[] resized = BicubicTable.Resize(table, side, 3, target);
        Assert.Equal(target * target * 3, resized.Length);
        Assert.All(resized.Index(), e => Assert.Equal((e.Index % 3) - 1.5f, e.Item, 1e-6f));
    }

    [Fact]
    public void Half_way_between_entries_the_weights_are_those_of_a_cubic_with_three_quarters()
    {
        // A single 1 in the first row: 4 entries become 2, each half way between two of them.
        float[] table = new float[16];
        table[1] = 1;
        float[] resized = BicubicTable.Resize(table, side: 4, width: 1, target: 2);

        // Vertically the first row has the weight beside the middle and, as the border is repeated, the one beyond it.
        const float near = 0.59375f;
        const float far = -0.09375f;
        Assert.Equal((near + far) * near, resized[0], 1e-7f);
        Assert.Equal((near + far) * far, resized[1], 1e-7f);
        Assert.Equal(0, resized[2]);
    }
}
