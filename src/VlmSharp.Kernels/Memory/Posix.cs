using System.Runtime.InteropServices;

namespace VlmSharp.Kernels;

/// <summary>Calls of POSIX systems about pages of memory and directories.</summary>
internal static unsafe partial class Posix
{
    // Values of <sys/mman.h>, the same on Linux and macOS unless said otherwise.
    public const int ProtRead = 1;
    public const int ProtWrite = 2;
    public const int ProtExec = 4;
    const int MapPrivate = 0x2;
    static readonly int MapAnonymous = OperatingSystem.IsMacOS() ? 0x1000 : 0x20;
    const int AdviseDontNeed = 4; // Linux
    const int AdviseHugePage = 14; // Linux

    /// <summary>Zeroed pages of the process' own, readable and writable; null when the system refuses.</summary>
    public static void* Allocate(nuint bytes)
    {
        void* pages = mmap(null, bytes, ProtRead | ProtWrite, MapPrivate | MapAnonymous, -1, 0);
        return pages == (void*)-1 ? null : pages;
    }

    /// <summary>Gives pages of <see cref="Allocate"/> back.</summary>
    public static void Free(void* pages, nuint bytes) => _ = munmap(pages, bytes);

    /// <summary>Changes what may be done with pages.</summary>
    /// <returns>Whether the system allows it.</returns>
    public static bool Protect(void* pages, nuint bytes, int protection) => mprotect(pages, bytes, protection) == 0;

    /// <summary>Asks for huge pages: a hint, systems without them refuse it and nothing is lost.</summary>
    public static void AdviseHugePages(void* pages, nuint bytes)
    {
        if (OperatingSystem.IsLinux())
        {
            _ = madvise(pages, bytes, AdviseHugePage);
        }
    }

    /// <summary>Lets go of pages of a file that is mapped read-only; the next read fetches them again. A hint as well.</summary>
    public static void ReleaseFilePages(void* pages, nuint bytes)
    {
        if (OperatingSystem.IsLinux())
        {
            _ = madvise(pages, bytes, AdviseDontNeed);
        }
    }

    /// <summary>Has what was created, renamed or deleted in a directory written to the disk.</summary>
    /// <returns>Whether that was done.</returns>
    public static bool SyncDirectory(string path)
    {
        int directory = open(path, 0);
        if (directory < 0)
        {
            return false;
        }

        bool done = fsync(directory) == 0;
        _ = close(directory);
        return done;
    }

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open(string path, int flags);

    [LibraryImport("libc")]
    private static partial int fsync(int file);

    [LibraryImport("libc")]
    private static partial int close(int file);

    [LibraryImport("libc")]
    private static partial void* mmap(void* address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc")]
    private static partial int munmap(void* address, nuint length);

    [LibraryImport("libc")]
    private static partial int mprotect(void* address, nuint length, int protection);

    [LibraryImport("libc")]
    private static partial int madvise(void* address, nuint length, int advice);
}
