namespace VlmSharp.Kernels;

/// <summary>One kernel and the variants it exists in, best first.</summary>
/// <remarks>
/// The first variant this machine supports is used, unless the environment variable <c>VLM_ISA</c> says otherwise:
/// <c>portable</c> chooses that variant for every kernel, <c>matmul=avx2,rms_norm=portable</c> for single ones, and both may be
/// combined (<c>avx2,matmul=portable</c>). It is read once, when the first kernel runs.
/// </remarks>
public abstract class KernelTable
{
    private protected KernelTable(string name) => Name = name;

    /// <summary>The kernel's name in <c>VLM_ISA</c>, in tests and in benchmarks.</summary>
    public string Name { get; }

    /// <summary>Names of all variants, best first; the last one runs on every machine.</summary>
    public abstract IReadOnlyList<string> VariantNames { get; }

    /// <summary>Names of the variants this machine can run.</summary>
    public abstract IReadOnlyList<string> SupportedNames { get; }

    /// <summary>The variant in use.</summary>
    /// <exception cref="InvalidOperationException"><c>VLM_ISA</c> names something that does not exist or does not run here.</exception>
    public abstract string ActiveName { get; }
}

/// <summary>One way to compute a kernel.</summary>
/// <param name="Name">The instruction set it needs (<c>avx512</c>, <c>avx2</c>, <c>portable</c>), or another short word.</param>
/// <param name="Supported">Whether this machine can run it.</param>
/// <param name="Run">The code.</param>
internal sealed record KernelVariant<TDelegate>(string Name, bool Supported, TDelegate Run)
    where TDelegate : Delegate
{
    public override string ToString() => Name;
}

/// <summary>The variants of one kernel with their code: <c>static readonly KernelTable&lt;Signature&gt; Variants = new("rms_norm", ("avx512", ...), ...)</c>.</summary>
internal sealed class KernelTable<TDelegate> : KernelTable
    where TDelegate : Delegate
{
    KernelVariant<TDelegate>? active;

    /// <summary>Names the variants, best first. The last one must be supported everywhere.</summary>
    public KernelTable(string name, params ReadOnlySpan<(string Name, bool Supported, TDelegate Run)> variants)
        : base(name)
    {
        var all = new KernelVariant<TDelegate>[variants.Length];
        for (int i = 0; i < all.Length; i++)
        {
            all[i] = new(variants[i].Name, variants[i].Supported, variants[i].Run);
        }

        if (all.Length == 0 || !all[^1].Supported)
        {
            throw new ArgumentException(
                $"kernel '{name}': the last variant must run on every machine",
                nameof(variants)
            );
        }

        Variants = all;
        Supported = [.. all.Where(v => v.Supported)];
        VariantNames = [.. all.Select(v => v.Name)];
        SupportedNames = [.. Supported.Select(v => v.Name)];
    }

    /// <summary>All variants, best first.</summary>
    public IReadOnlyList<KernelVariant<TDelegate>> Variants { get; }

    /// <summary>The variants this machine can run, best first.</summary>
    public IReadOnlyList<KernelVariant<TDelegate>> Supported { get; }

    /// <summary>The code in use; chosen at the first use.</summary>
    public TDelegate Active => (active ?? Choose()).Run;

    /// <inheritdoc/>
    public override IReadOnlyList<string> VariantNames { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<string> SupportedNames { get; }

    /// <inheritdoc/>
    public override string ActiveName => (active ?? Choose()).Name;

    KernelVariant<TDelegate> Choose()
    {
        // Two threads may both come here; they choose the same variant.
        string chosen = KernelTables.Selection.For(this);
        return active = Supported.First(v => v.Name == chosen);
    }
}
