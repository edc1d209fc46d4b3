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

        void* pages = Posix.Allocate(size);
        if (pages is null)
        {
            return null;
        }

        code.CopyTo(new Span<byte>(pages, code.Length));
        if (!Posix.Protect(pages, size, Posix.ProtRead | Posix.ProtExec))
        {
            Posix.Free(pages, size);
            return null;
        }

        return pages;
    }

    const uint AllocateAndReserve = 0x3000;
    const uint ReadWrite = 4;
    const uint ExecuteRead = 0x20;

    [LibraryImport("kernel32")]
    private static partial void* VirtualAlloc(void* address, nuint size, uint type, uint protection);

    [LibraryImport("kernel32")]
    private static partial int VirtualProtect(void* address, nuint size, uint protection, out uint old);
}
