namespace VlmSharp.Kernels;

/// <summary>Every kernel that exists in variants: what tests, benchmarks and <c>vlm inspect</c> list.</summary>
public static class KernelTables
{
    /// <summary>The environment variable that overrides the choice of variants, see <see cref="KernelTable"/>.</summary>
    public const string EnvironmentVariable = "VLM_ISA";

    static KernelSelection? selection;

    // A family of kernels adds one line.
    /// <summary>All tables. A property, not a field: the order in which static fields are initialised does not matter then.</summary>
    public static IReadOnlyList<KernelTable> All =>
        [
            MatMul.Variants,
            Attention.Variants,
            KeyValueStore.Variants,
            RmsNorm.Variants,
            LayerNorm.Variants,
            Rope.Variants,
            SwiGlu.Variants,
            Gelu.Variants,
            QuickGelu.Variants,
            GeluTanh.Variants,
            Add.Variants,
            WeightedRows.Variants,
            MatMul.TransposedVariants,
            TileProduct.Variants,
            QuickGeluBackward.Variants,
            GeluBackward.Variants,
            GeluTanhBackward.Variants,
            SwiGluBackward.Variants,
            CrossEntropy.Variants,
            Imaging.HorizontalPass.Variants,
            Imaging.VerticalPass.Variants,
        ];

    /// <summary>What the environment asks for, read at the first use.</summary>
    internal static KernelSelection Selection =>
        selection ??= KernelSelection.Parse(Environment.GetEnvironmentVariable(EnvironmentVariable), All);
}

/// <summary>A parsed <c>VLM_ISA</c>: for each kernel the variant to use.</summary>
internal sealed class KernelSelection
{
    readonly Dictionary<string, string> chosen = [];

    /// <summary>The variant to use for this kernel.</summary>
    public string For(KernelTable table) => chosen.GetValueOrDefault(table.Name) ?? table.SupportedNames[0];

    /// <summary>Reads a comma-separated list of <c>variant</c> and <c>kernel=variant</c>.</summary>
    /// <remarks>
    /// A bare variant applies to the kernels that have it; the others then use their last variant, so that <c>avx2</c> never
    /// lets anything wider run. <c>kernel=variant</c> wins over it.
    /// </remarks>
    /// <exception cref="InvalidOperationException">A kernel or variant does not exist, or does not run on this machine.</exception>
    public static KernelSelection Parse(string? text, IReadOnlyList<KernelTable> tables)
    {
        var selection = new KernelSelection();
        string[] entries = (text ?? "").Split(
            ',',
            StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries
        );
        foreach (string variant in entries.Where(e => !e.Contains('=')))
        {
            if (!tables.Any(t => t.VariantNames.Contains(variant)))
            {
                throw Unknown($"no kernel has a variant '{variant}'", text, tables);
            }

            foreach (KernelTable table in tables)
            {
                bool has = table.VariantNames.Contains(variant);
                selection.Choose(table, has ? variant : table.VariantNames[^1], text, tables);
            }
        }

        foreach (string entry in entries.Where(e => e.Contains('=')))
        {
            int equals = entry.IndexOf('=');
            string kernel = entry[..equals].TrimEnd();
            string variant = entry[(equals + 1)..].TrimStart();
            KernelTable table =
                tables.FirstOrDefault(t => t.Name == kernel)
                ?? throw Unknown($"there is no kernel '{kernel}'", text, tables);
            if (!table.VariantNames.Contains(variant))
            {
                throw Unknown($"kernel '{kernel}' has no variant '{variant}'", text, tables);
            }

            selection.Choose(table, variant, text, tables);
        }

        return selection;
    }

    void Choose(KernelTable table, string variant, string? text, IReadOnlyList<KernelTable> tables)
    {
        if (!table.SupportedNames.Contains(variant))
        {
            throw Unknown($"variant '{variant}' of kernel '{table.Name}' does not run on this machine", text, tables);
        }

        chosen[table.Name] = variant;
    }

    static InvalidOperationException Unknown(string problem, string? text, IReadOnlyList<KernelTable> tables)
    {
        var lines = tables.Select(t =>
            $"{t.Name}: {string.Join(", ", t.VariantNames.Select(v => t.SupportedNames.Contains(v) ? v : $"{v} (not on this machine)"))}"
        );
        return new InvalidOperationException(
            $"{KernelTables.EnvironmentVariable}={text}: {problem}. These exist: {string.Join("; ", lines)}"
        );
    }
}
