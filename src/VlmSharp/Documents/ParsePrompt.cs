using VlmSharp.Grounding;

namespace VlmSharp.Documents;

/// <summary>What a document becomes.</summary>
public enum DocumentFormat
{
    /// <summary>A page of its own for browsers, with <c>data-bbox</c> in points.</summary>
    Html,

    /// <summary>CommonMark with pipe tables and LaTeX between dollar signs.</summary>
    Markdown,

    /// <summary>Pages, their elements, their boxes.</summary>
    Json,
}

/// <summary>What a model answers in.</summary>
public enum PageSyntax
{
    /// <summary>QwenVL HTML.</summary>
    Html,

    /// <summary>Markdown, possibly with Qwen3-VL's comments about places.</summary>
    Markdown,
}

/// <summary>The question that makes a model write down a page; the picture comes before <paramref name="Text"/>.</summary>
/// <param name="System">The system prompt; null for none.</param>
/// <param name="Text">The user's words.</param>
/// <param name="Syntax">What the answer comes in.</param>
public sealed record ParsePrompt(string? System, string Text, PageSyntax Syntax)
{
    /// <summary>The published prompt of a family of models, or a plain instruction for those that have none.</summary>
    /// <remarks>
    /// Sources: QwenLM/Qwen2.5-VL and QwenLM/Qwen3-VL, <c>cookbooks/document_parsing.ipynb</c>. Qwen2.5-VL writes only HTML, Qwen3-VL
    /// also Markdown, and gets no system prompt.
    /// </remarks>
    /// <param name="dialect">How the model writes places; null if it writes none.</param>
    /// <param name="format">What the answer will be turned into.</param>
    public static ParsePrompt For(GroundingDialect? dialect, DocumentFormat format) =>
        dialect switch
        {
            GroundingDialect.Qwen25VL => new(
                "You are an AI specialized in recognizing and extracting text from images. Your mission is to analyze the image document "
                    + "and generate the result in QwenVL Document Parser HTML format using specified tags while maintaining user privacy and "
                    + "data integrity.",
                "QwenVL HTML ",
                PageSyntax.Html
            ),
            GroundingDialect.Qwen3VL when format == DocumentFormat.Markdown => new(
                null,
                "qwenvl markdown",
                PageSyntax.Markdown
            ),
            GroundingDialect.Qwen3VL => new(null, "qwenvl html", PageSyntax.Html),
            _ => new(
                null,
                "Write down everything on this page as Markdown, in reading order: headings, paragraphs, lists, tables and formulas. "
                    + "Add nothing of your own.",
                PageSyntax.Markdown
            ),
        };
}
