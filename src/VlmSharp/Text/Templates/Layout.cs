namespace VlmSharp.Text.Templates;

/// <summary>Where a variable lives: how many functions outwards, and the slot there.</summary>
internal readonly record struct VariableReference(int Hops, int Slot);

/// <summary>What a scope does to one of its variables when it is entered.</summary>
/// <param name="Slot">The variable, in the function that holds the scope.</param>
/// <param name="Source">The variable of an outer scope it starts from, if any.</param>
/// <param name="Name">The template's input or global it starts from, if any. With neither the variable starts undefined.</param>
internal readonly record struct ScopeEntry(int Slot, VariableReference? Source, string? Name);

/// <summary>The variables that a scope initialises.</summary>
internal sealed class ScopeLayout(ScopeEntry[] entries)
{
    public static readonly ScopeLayout Empty = new([]);

    public ScopeEntry[] Entries { get; } = entries;
}

/// <summary>How many variables a function (the template itself, a macro, a recursive loop, a block) has in all of its scopes.</summary>
internal sealed class FunctionLayout
{
    public int SlotCount { get; set; }
}

/// <summary>The variables of one activation of a function.</summary>
internal sealed class Locals(int slotCount, Locals? parent)
{
    /// <summary>null stands for undefined.</summary>
    public TemplateValue?[] Slots { get; } = new TemplateValue?[slotCount];

    public Locals? Parent { get; } = parent;

    public Locals Outward(int hops)
    {
        Locals at = this;
        for (; hops > 0; hops--)
        {
            at = at.Parent!;
        }

        return at;
    }
}
