namespace VlmSharp.Text.Templates;

/// <summary>What a chat template made of a conversation.</summary>
/// <param name="Text">The prompt.</param>
/// <param name="UserText">
/// Which parts of <paramref name="Text"/> came from strings marked as user text: sorted, disjoint, half-open, in UTF-16 units.
/// Special tokens are not to be recognised there.
/// </param>
/// <param name="Generation">
/// The <c>{% generation %}</c> blocks, in the order they ended, half-open, in UTF-16 units of <paramref name="Text"/>. The positions are
/// those transformers computes: a block is placed where the template's own output stood when it ended (inside a macro or a captured
/// block that is before the captured text), and a block before any other output is not recorded.
/// </param>
public sealed record RenderedPrompt(string Text, IReadOnlyList<Range> UserText, IReadOnlyList<Range> Generation);

/// <summary>What rendering may cost. A template or an input that goes beyond ends in a <see cref="TemplateException"/>.</summary>
public sealed record RenderLimits
{
    /// <summary>The limits used where the caller gives none.</summary>
    public static RenderLimits Default { get; } = new();

    /// <summary>
    /// Units of work: one for each expression, statement, item visited and list element made, and one for every 16 characters made or
    /// searched. Published templates use tens for a message; ten million take about a second.
    /// </summary>
    public long MaxSteps { get; init; } = 10_000_000;

    /// <summary>The longest string, the prompt included, in UTF-16 units.</summary>
    public int MaxTextLength { get; init; } = 16 * 1024 * 1024;

    /// <summary>How deep calls of macros and recursive loops may nest. Python's own limit stops templates near this depth.</summary>
    public int MaxCallDepth { get; init; } = 200;

    /// <summary>The longest <c>range()</c>; jinja2's sandbox has the same limit.</summary>
    public int MaxRange { get; init; } = 100_000;
}
