using System.Runtime.Intrinsics.X86;
using VlmSharp.Kernels;
using Xunit;

namespace VlmSharp.Tests.Kernels;

/// <summary>The suite is run again with instruction sets switched off; these rules make sure that they really are.</summary>
public sealed class InstructionSetTests
{
    const string NoAvx512 = "DOTNET_EnableAVX512";
    const string NoIntrinsics = "DOTNET_EnableHWIntrinsic";

    [Fact]
    public void Avx512_kernels_are_off_when_avx512_is_switched_off()
    {
        Assert.SkipUnless(SwitchedOff(NoAvx512), $"needs {NoAvx512}=0");
        Assert.False(Avx512F.IsSupported);
        Assert.All(
            KernelTables.All.SelectMany(t => t.SupportedNames.Append(t.ActiveName)),
            name => Assert.DoesNotContain("avx512", name)
        );
    }

    [Fact]
    public void Only_portable_kernels_run_when_all_intrinsics_are_switched_off()
    {
        Assert.SkipUnless(SwitchedOff(NoIntrinsics), $"needs {NoIntrinsics}=0");
        Assert.False(Avx2.IsSupported);
        Assert.False(Avx512F.IsSupported);
        Assert.All(KernelTables.All, t => Assert.Equal(t.VariantNames[^1], t.ActiveName));
    }

    [Fact]
    public void The_widest_variant_the_processor_has_runs_when_nothing_is_switched_off()
    {
        Assert.SkipWhen(
            SwitchedOff(NoAvx512)
                || SwitchedOff(NoIntrinsics)
                || Variable(KernelTables.EnvironmentVariable) is not null,
            "variants were chosen by the environment"
        );
        Assert.SkipUnless(File.Exists("/proc/cpuinfo"), "needs /proc/cpuinfo");
        string[] flags = File.ReadAllText("/proc/cpuinfo")
            .Split([' ', '\n', '\t'], StringSplitOptions.RemoveEmptyEntries);
        string widest =
            flags.Contains("avx512_bf16") || flags.Contains("avx512_vnni") ? "avx512dot"
            : flags.Contains("avx512f") && flags.Contains("avx512vl") ? "avx512"
            : flags.Contains("avx2") && flags.Contains("fma") ? "avx2"
            : "portable";
        Assert.Equal(widest, KernelTables.All.Single(t => t.Name == "matmul").ActiveName);
    }

    static bool SwitchedOff(string name) => Variable(name) is "0" or "00" or "0x0";

    static string? Variable(string name) => Environment.GetEnvironmentVariable(name);
}
