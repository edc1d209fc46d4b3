using System.Runtime.InteropServices;

namespace VlmSharp.Testing;

/// <summary>An array whose neighbours cannot be touched: reading or writing past it ends the process, at once and at the place of the error.</summary>
/// <remarks>
/// The elements end exactly at an inaccessible page (or start exactly behind one). The rest of the page on the other side is
/// filled with a pattern, and <see cref="Dispose"/> throws when someone wrote there.
/// </remarks>
public sealed unsafe partial class GuardedMemory<T> : IDisposable
    where T : unmanaged
{
    const byte Canary = 0xA5;

    readonly byte* mapping;
    readonly byte* first;
    readonly nuint page = (nuint)Environment.SystemPageSize;
    readonly nuint accessible; // bytes between the two guard pages
    bool disposed;

    /// <summary>Allocates <paramref name="length"/> zeroed elements.</summary>
    /// <param name="length">Number of elements; 0 is allowed.</param>
    /// <param name="guardBefore">Put the elements right behind a guard page instead of right before one.</param>
    public GuardedMemory(int length, bool guardBefore = false)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        Length = length;
        nuint bytes = (nuint)length * (nuint)sizeof(T);
        accessible = (bytes + page - 1) / page * page;
        nint start = GuardedMemory.Map(
            0,
            accessible + 2 * page,
            GuardedMemory.ReadWrite,
            GuardedMemory.PrivateAnonymous,
            -1,
            0
        );
        if (start == -1)
        {
            throw new InvalidOperationException($"the system refused a mapping of {accessible} bytes");
        }

        mapping = (byte*)start;
        _ = GuardedMemory.Protect(start, page, 0);
        _ = GuardedMemory.Protect(start + (nint)(page + accessible), page, 0);
        NativeMemory.Fill(mapping + page, accessible, Canary);
        first = guardBefore ? mapping + page : mapping + page + accessible - bytes;
        Span.Clear();
    }

    /// <summary>A copy of <paramref name="values"/>.</summary>
    public GuardedMemory(ReadOnlySpan<T> values, bool guardBefore = false)
        : this(values.Length, guardBefore) => values.CopyTo(Span);

    /// <summary>Number of elements.</summary>
    public int Length { get; }

    /// <summary>The elements.</summary>
    public Span<T> Span
    {
        get
        {
            ObjectDisposedException.ThrowIf(disposed, this);
            return new Span<T>(first, Length);
        }
    }

    /// <summary>Frees the memory.</summary>
    /// <exception cref="InvalidOperationException">Someone wrote beside the elements, on the side without a guard page.</exception>
    public void Dispose()
    {
        if (disposed)
        {
            return;
        }

        disposed = true;
        byte* data = mapping + page;
        var before = new ReadOnlySpan<byte>(data, (int)(first - data));
        byte* end = first + (nuint)Length * (nuint)sizeof(T);
        var after = new ReadOnlySpan<byte>(end, (int)(data + accessible - end));
        int damagedBefore = before.LastIndexOfAnyExcept(Canary);
        int damagedAfter = after.IndexOfAnyExcept(Canary);
        int distanceBefore = before.Length - damagedBefore;
        _ = GuardedMemory.Unmap((nint)mapping, accessible + 2 * page);
        if (damagedBefore >= 0)
        {
            throw new InvalidOperationException($"a byte {distanceBefore} before the first element was overwritten");
        }

        if (damagedAfter >= 0)
        {
            throw new InvalidOperationException($"a byte {damagedAfter + 1} behind the last element was overwritten");
        }
    }
}

/// <summary>Helpers and system calls of <see cref="GuardedMemory{T}"/>.</summary>
public static partial class GuardedMemory
{
    // Values of Linux's <sys/mman.h>.
    internal const int ReadWrite = 0x1 | 0x2;
    internal const int PrivateAnonymous = 0x2 | 0x20;

    /// <summary>A guarded copy of the values.</summary>
    public static GuardedMemory<T> Copy<T>(ReadOnlySpan<T> values, bool guardBefore = false)
        where T : unmanaged => new(values, guardBefore);

    [LibraryImport("libc", EntryPoint = "mmap")]
    internal static partial nint Map(
        nint address,
        nuint length,
        int protection,
        int flags,
        int descriptor,
        nint offset
    );

    [LibraryImport("libc", EntryPoint = "mprotect")]
    internal static partial int Protect(nint address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap")]
    internal static partial int Unmap(nint address, nuint length);
}
