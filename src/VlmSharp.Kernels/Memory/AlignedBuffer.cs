using System.Runtime.InteropServices;

namespace VlmSharp.Kernels;

/// <summary>Zeroed memory outside the managed heap, aligned to 64 bytes, on huge pages when it is large.</summary>
/// <remarks>
/// The buffer owns the memory. A span borrowed from it is valid until <see cref="Dispose"/>; whoever holds the span keeps the
/// buffer reachable (<see cref="GC.KeepAlive"/> after the last use where it is not obvious), because the finalizer frees it.
/// Huge pages raise streaming reads by about a third on the machines measured, and cut the TLB misses of strided ones.
/// </remarks>
public sealed unsafe class AlignedBuffer : IDisposable
{
    /// <summary>Alignment of the first byte: one cache line, one 512-bit register.</summary>
    public const int Alignment = 64;

    // A transparent huge page of x86-64 and of 4 KiB-granule arm64.
    const long HugePage = 2L << 20;

    nint data; // 0 after Dispose
    nint mapping; // what munmap gets; 0 when the memory came from the allocator
    nuint mappingLength;

    /// <summary>Allocates zeroed memory.</summary>
    /// <param name="bytes">Size; 0 is allowed.</param>
    /// <param name="hugePages">Ask the kernel for huge pages when the buffer fills at least one. A hint: it costs nothing where there are none.</param>
    /// <exception cref="OutOfMemoryException">The system does not have the memory.</exception>
    public AlignedBuffer(long bytes, bool hugePages = true)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        Bytes = bytes;
        if (hugePages && bytes >= HugePage && OperatingSystem.IsLinux())
        {
            Map();
        }
        else
        {
            // At least one byte, so that an empty buffer has an address too.
            nuint size = (nuint)Math.Max(bytes, 1);
            void* start = NativeMemory.AlignedAlloc(size, Alignment);
            NativeMemory.Clear(start, size);
            data = (nint)start;
        }
    }

#pragma warning disable MA0055 // Weights are shared by many objects; a forgotten Dispose must not leak gigabytes.
    /// <summary>Frees the memory of a buffer nobody disposed.</summary>
    ~AlignedBuffer() => Free();
#pragma warning restore MA0055

    /// <summary>Size in bytes, as asked for.</summary>
    public long Bytes { get; }

    /// <summary>The first byte.</summary>
    /// <exception cref="ObjectDisposedException">The buffer was disposed.</exception>
    internal byte* Pointer
    {
        get
        {
            nint start = Volatile.Read(ref data);
            ObjectDisposedException.ThrowIf(start == 0, this);
            return (byte*)start;
        }
    }

    /// <summary>Borrows elements [<paramref name="offsetInElements"/>, <paramref name="offsetInElements"/> + <paramref name="length"/>) of the buffer seen as an array of <typeparamref name="T"/>.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range is not inside the buffer.</exception>
    /// <exception cref="ObjectDisposedException">The buffer was disposed.</exception>
    public Span<T> Span<T>(long offsetInElements, int length)
        where T : unmanaged
    {
        byte* start = Pointer;
        long elements = Bytes / sizeof(T);
        if (offsetInElements < 0 || length < 0 || offsetInElements > elements - length)
        {
            throw new ArgumentOutOfRangeException(
                nameof(offsetInElements),
                $"elements [{offsetInElements}, {offsetInElements} + {length}) of {elements} ({Bytes} bytes of {typeof(T).Name})"
            );
        }

        return new Span<T>((T*)start + offsetInElements, length);
    }

    /// <summary>Frees the memory; spans borrowed from it must not be used any more.</summary>
    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    void Map()
    {
        // One huge page more than needed, so that the data can start on a huge page's boundary. Untouched pages take no memory.
        mappingLength = checked((nuint)Bytes + (nuint)HugePage);
        nint start = (nint)Posix.Allocate(mappingLength);
        if (start == 0)
        {
#pragma warning disable MA0012 // What the allocator throws in the same situation.
            throw new InsufficientMemoryException($"the system refused a mapping of {Bytes} bytes");
#pragma warning restore MA0012
        }

        mapping = start;
        data = (nint)(((nuint)start + (nuint)HugePage - 1) & ~((nuint)HugePage - 1));
        Posix.AdviseHugePages((void*)data, (nuint)Bytes);
    }

    void Free()
    {
        nint start = Interlocked.Exchange(ref data, 0);
        if (start == 0)
        {
            return;
        }

        if (mapping != 0)
        {
            Posix.Free((void*)mapping, mappingLength);
        }
        else
        {
            NativeMemory.AlignedFree((void*)start);
        }
    }
}
