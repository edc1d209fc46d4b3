using System.IO.MemoryMappedFiles;

namespace VlmSharp.Kernels;

/// <summary>A file mapped read-only into memory, handed out as spans at 64-bit offsets.</summary>
/// <remarks>
/// <para>Ownership: the file owns the mapping; every span from <see cref="Slice"/> borrows it and must not be used after
/// <see cref="Dispose"/>, which unmaps the pages. A mapping that is never disposed stays for the life of the process, so that a span can
/// outlive a forgotten owner but never point at unmapped pages because of a garbage collection.</para>
/// <para>The file stays open, with a share lock, for as long as it is mapped: on Windows nobody can write or shorten it meanwhile. On Unix
/// the lock is advisory; a program that ignores it and truncates the file makes later reads beyond the new end fail with SIGBUS, which
/// ends the process. Checkpoints are replaced by renaming a new file over the old one, which leaves a mapping untouched.</para>
/// </remarks>
public sealed unsafe class MappedFile : IDisposable
{
    readonly MemoryMappedFile map;
    readonly MemoryMappedViewAccessor view;
    byte* data;

    MappedFile(MemoryMappedFile map, MemoryMappedViewAccessor view, long length)
    {
        this.map = map;
        this.view = view;
        Length = length;
        view.SafeMemoryMappedViewHandle.AcquirePointer(ref data);
        data += view.PointerOffset;
    }

    /// <summary>The file's size in bytes when it was mapped, at least 1.</summary>
    public long Length { get; }

    /// <summary>Maps a whole file.</summary>
    /// <exception cref="IOException">The file does not exist, is empty, or cannot be mapped.</exception>
    /// <exception cref="UnauthorizedAccessException">The file may not be read.</exception>
    public static MappedFile Open(string path)
    {
        FileStream stream = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
        MemoryMappedFile? opened = null;
        try
        {
            long length = stream.Length;
            if (length == 0)
            {
                throw new IOException($"'{path}' is empty.");
            }

            opened = MemoryMappedFile.CreateFromFile(
                stream,
                mapName: null,
                length,
                MemoryMappedFileAccess.Read,
                HandleInheritability.None,
                leaveOpen: false
            );
            return new MappedFile(opened, opened.CreateViewAccessor(0, length, MemoryMappedFileAccess.Read), length);
        }
        catch
        {
            opened?.Dispose();
            stream.Dispose();
            throw;
        }
    }

    /// <summary>The bytes [<paramref name="offset"/>, <paramref name="offset"/> + <paramref name="count"/>), valid until <see cref="Dispose"/>.</summary>
    /// <exception cref="ObjectDisposedException">The file was disposed.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The range is not inside the file.</exception>
    public ReadOnlySpan<byte> Slice(long offset, int count)
    {
        ObjectDisposedException.ThrowIf(data == null, this);
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Length - count);
        return new ReadOnlySpan<byte>(data + offset, count);
    }

    /// <summary>Gives back the memory of the pages that were read; spans stay valid, reading them again fetches the pages again.</summary>
    /// <remarks>While weights are packed, pages of the file that nobody needs any more would otherwise count as memory of the process.</remarks>
    /// <exception cref="ObjectDisposedException">The file was disposed.</exception>
    public void ReleasePages()
    {
        ObjectDisposedException.ThrowIf(data == null, this);
        Posix.ReleaseFilePages(data, (nuint)Length);
    }

    /// <summary>Unmaps and closes the file.</summary>
    public void Dispose()
    {
        if (data == null)
        {
            return;
        }

        data = null;
        view.SafeMemoryMappedViewHandle.ReleasePointer();
        view.Dispose();
        map.Dispose();
    }
}
