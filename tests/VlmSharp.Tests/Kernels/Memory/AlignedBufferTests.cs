using System.Runtime.CompilerServices;
using VlmSharp.Kernels;
using Xunit;

namespace VlmSharp.Tests.Kernels.Memory;

public sealed class AlignedBufferTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(63)]
    [InlineData(4097)]
    [InlineData((2 << 20) - 1)]
    [InlineData(2 << 20)]
    [InlineData((6 << 20) + 5)]
    public void Memory_is_zeroed_and_starts_at_a_cache_line(int bytes)
    {
        foreach (bool hugePages in new[] { true, false })
        {
            // A block of the same size that held something else was just freed: zeros do not come by luck.
            using (var dirty = new AlignedBuffer(bytes, hugePages))
            {
                dirty.Span<byte>(0, bytes).Fill(0xFF);
            }

            using var buffer = new AlignedBuffer(bytes, hugePages);
            Span<byte> span = buffer.Span<byte>(0, bytes);
            Assert.Equal(bytes, buffer.Bytes);
            Assert.Equal(-1, span.IndexOfAnyExcept((byte)0));
            Assert.Equal(0u, Address(span) % AlignedBuffer.Alignment);
            span.Fill(0xFF); // every byte can be written
        }
    }

    [Fact]
    public void Elements_are_addressed_in_their_own_size()
    {
        using var buffer = new AlignedBuffer(64);
        buffer.Span<float>(3, 1)[0] = 1f;
        Assert.Equal(0x3F80, buffer.Span<ushort>(7, 1)[0]); // the upper half of 1.0f
    }

    [Theory]
    [InlineData(-1, 1)]
    [InlineData(0, -1)]
    [InlineData(0, 17)]
    [InlineData(16, 1)]
    [InlineData(17, 0)]
    [InlineData(long.MaxValue, 1)]
    [InlineData(long.MaxValue, int.MaxValue)]
    [InlineData(long.MinValue, int.MinValue)]
    public void A_range_outside_the_buffer_is_refused(long offset, int length)
    {
        using var buffer = new AlignedBuffer(64 + 3); // 16 floats; the last 3 bytes are no float
        Assert.Throws<ArgumentOutOfRangeException>(() => buffer.Span<float>(offset, length).Length);
    }

    [Fact]
    public void The_end_of_the_buffer_is_an_empty_range()
    {
        using var buffer = new AlignedBuffer(64);
        Assert.Equal(0, buffer.Span<float>(16, 0).Length);
    }

    [Fact]
    public void Use_after_dispose_throws_and_disposing_twice_does_not()
    {
        foreach (int bytes in new[] { 64, 4 << 20 })
        {
            var buffer = new AlignedBuffer(bytes);
            buffer.Dispose();
            buffer.Dispose();
            Assert.Throws<ObjectDisposedException>(() => buffer.Span<byte>(0, 0).Length);
        }
    }

    [Fact]
    public void More_memory_than_there_is_is_an_error_and_not_a_crash()
    {
        Assert.ThrowsAny<OutOfMemoryException>(() => new AlignedBuffer(1L << 50));
        Assert.ThrowsAny<OutOfMemoryException>(() => new AlignedBuffer(1L << 50, hugePages: false));
        Assert.Throws<ArgumentOutOfRangeException>(() => new AlignedBuffer(-1));
    }

    [Fact]
    public void A_forgotten_buffer_is_freed_by_its_finalizer()
    {
        long before = Environment.WorkingSet;
        for (int i = 0; i < 40; i++)
        {
            Forget();
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        long grown = Environment.WorkingSet - before; // 2.5 GiB if nothing were freed
        Assert.True(grown < 1L << 30, $"{grown >> 20} MiB more are in use");

        [MethodImpl(MethodImplOptions.NoInlining)]
        static void Forget() => new AlignedBuffer(64 << 20).Span<byte>(0, 64 << 20).Fill(1);
    }

    static unsafe nuint Address(Span<byte> span) =>
        (nuint)Unsafe.AsPointer(ref System.Runtime.InteropServices.MemoryMarshal.GetReference(span));
}
