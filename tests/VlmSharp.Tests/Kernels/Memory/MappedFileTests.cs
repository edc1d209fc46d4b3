using VlmSharp.Kernels;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests.Kernels.Memory;

public sealed class MappedFileTests : IDisposable
{
    readonly TemporaryDirectory directory = new();

    public void Dispose() => directory.Dispose();

    [Fact]
    public void Slices_are_the_files_bytes()
    {
        byte[] bytes = [.. Enumerable.Range(0, 10_000).Select(i => (byte)(i * 7))];
        using MappedFile file = MappedFile.Open(directory.Write("a", bytes));
        Assert.Equal(10_000, file.Length);
        Assert.Equal(bytes, file.Slice(0, 10_000).ToArray());
        Assert.Equal(bytes[4095..4100], file.Slice(4095, 5).ToArray());
        Assert.True(file.Slice(10_000, 0).IsEmpty);
    }

    [Theory]
    [InlineData(-1, 1)]
    [InlineData(0, -1)]
    [InlineData(0, 11)]
    [InlineData(10, 1)]
    [InlineData(11, 0)]
    [InlineData(long.MaxValue, int.MaxValue)]
    [InlineData(long.MinValue, int.MaxValue)]
    public void A_range_outside_the_file_is_refused(long offset, int count)
    {
        using MappedFile file = MappedFile.Open(directory.Write("a", new byte[10]));
        Assert.Throws<ArgumentOutOfRangeException>(() => file.Slice(offset, count).Length);
    }

    [Fact]
    public void Released_pages_are_read_again()
    {
        byte[] bytes = [.. Enumerable.Range(0, 100_000).Select(i => (byte)(i * 7))];
        using MappedFile file = MappedFile.Open(directory.Write("a", bytes));
        ReadOnlySpan<byte> slice = file.Slice(5000, 90_000);
        Assert.Equal(bytes[5000], slice[0]);
        file.ReleasePages();
        Assert.Equal(bytes[5000..95_000], slice.ToArray());
    }

    [Fact]
    public void After_dispose_nothing_is_read()
    {
        MappedFile file = MappedFile.Open(directory.Write("a", new byte[10]));
        file.Dispose();
        file.Dispose();
        Assert.Throws<ObjectDisposedException>(file.ReleasePages);
        Assert.Throws<ObjectDisposedException>(() => file.Slice(0, 1).Length);
    }

    [Fact]
    public void A_file_that_is_replaced_by_renaming_keeps_its_mapping()
    {
        using MappedFile file = MappedFile.Open(directory.Write("a", [1, 2, 3]));
        File.Move(directory.Write("b", [9]), directory["a"], overwrite: true);
        Assert.Equal([1, 2, 3], file.Slice(0, 3).ToArray());
    }

    [Fact]
    public void Empty_and_missing_files_are_refused()
    {
        Assert.Throws<IOException>(() => MappedFile.Open(directory.Write("a", Array.Empty<byte>())));
        Assert.Throws<FileNotFoundException>(() => MappedFile.Open(directory["b"]));
    }
}
