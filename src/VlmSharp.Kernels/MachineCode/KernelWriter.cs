namespace VlmSharp.Kernels.MachineCode;

/// <summary>The frame of a generated kernel: a function that takes one pointer to its arguments and returns nothing.</summary>
/// <remarks>
/// The pointer is in RAX when the body begins. The body may use RAX, RCX, RDX, RSI, RDI, R8 to R11 and all vector registers, whichever
/// calling convention the system has. Generated kernels never call, allocate or block, so that the runtime may enter them
/// without a transition.
/// </remarks>
internal static unsafe class KernelWriter
{
    // Windows keeps XMM6 to XMM15, RSI and RDI for the caller.
    const int FirstKept = 6;
    const int LastKept = 15;
    const int KeptBytes = (LastKept - FirstKept + 1) * 16;

    /// <summary>Generates a kernel and makes it callable.</summary>
    /// <param name="body">Writes the code between prologue and epilogue.</param>
    /// <returns>A <c>delegate* unmanaged[SuppressGCTransition]&lt;void*, void&gt;</c>, or null where the system refuses executable pages.</returns>
    public static delegate* unmanaged[SuppressGCTransition]<void*, void> Publish(Action<Assembler> body)
    {
        Assembler code = new();
        bool windows = OperatingSystem.IsWindows();
        if (windows)
        {
            code.Push(Gpr.Rsi);
            code.Push(Gpr.Rdi);
            code.Sub(Gpr.Rsp, KeptBytes);
            for (int i = FirstKept; i <= LastKept; i++)
            {
                code.Vmovups(new Mem(Gpr.Rsp, (i - FirstKept) * 16), Vec.Xmm(i));
            }
        }

        code.Mov(Gpr.Rax, windows ? Gpr.Rcx : Gpr.Rdi);
        body(code);
        code.Vzeroupper();
        if (windows)
        {
            for (int i = FirstKept; i <= LastKept; i++)
            {
                code.Vmovups(Vec.Xmm(i), new Mem(Gpr.Rsp, (i - FirstKept) * 16));
            }

            code.Add(Gpr.Rsp, KeptBytes);
            code.Pop(Gpr.Rdi);
            code.Pop(Gpr.Rsi);
        }

        code.Ret();
        return (delegate* unmanaged[SuppressGCTransition]<void*, void>)ExecutableMemory.Publish(code.ToArray());
    }
}
