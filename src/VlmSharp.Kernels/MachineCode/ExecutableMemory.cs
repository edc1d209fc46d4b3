using System.Runtime.InteropServices;

namespace VlmSharp.Kernels.MachineCode;

/// <summary>Pages of machine code: written first, then made executable and read-only, never both at once.</summary>
/// <remarks>Code lives as long as the process: kernels are generated once.</remarks>
internal static unsafe partial class ExecutableMemory
{
    /// <summary>Puts code where it can be run.</summary>
    /// <param name="code">Position-independent.</param>
    /// <returns>Its first byte, or null where the system refuses executable pages.</returns>
    public static void* Publish(ReadOnlySpan<byte> code)
    {
        nuint size = (nuint)code.Length;
        if (OperatingSystem.IsWindows())
        {
            void* page = VirtualAlloc(null, size, AllocateAndReserve, ReadWrite);
            if (page is null)
            {
                return null;
            }

            code.CopyTo(new Span<byte>(page, code.Length));
            return VirtualProtect(page, size, ExecuteRead, out _) != 0 ? page : null;
        }

        void* mapped = mmap(null, size, ProtRead | ProtWrite, MapPrivate | MapAnonymous, -1, 0);
        if (mapped == MapFailed)
        {
            return null;
        }

        code.CopyTo(new Span<byte>(mapped, code.Length));
        if (mprotect(mapped, size, ProtRead | ProtExec) != 0)
        {
            _ = munmap(mapped, size);
            return null;
        }

        return mapped;
    }

    const int ProtRead = 1;
    const int ProtWrite = 2;
    const int ProtExec = 4;
    const int MapPrivate = 2;
    static readonly int MapAnonymous = OperatingSystem.IsMacOS() ? 0x1000 : 0x20;
    static readonly void* MapFailed = (void*)-1;
    const uint AllocateAndReserve = 0x3000;
    const uint ReadWrite = 4;
    const uint ExecuteRead = 0x20;

    [LibraryImport("libc")]
    private static partial void* mmap(void* address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc")]
    private static partial int mprotect(void* address, nuint length, int protection);

    [LibraryImport("libc")]
    private static partial int munmap(void* address, nuint length);

    [LibraryImport("kernel32")]
    private static partial void* VirtualAlloc(void* address, nuint size, uint type, uint protection);

    [LibraryImport("kernel32")]
    private static partial int VirtualProtect(void* address, nuint size, uint protection, out uint old);
}
