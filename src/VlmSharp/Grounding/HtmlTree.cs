using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace VlmSharp.Grounding;

/// <summary>What stands in the HTML a model wrote: an element or text.</summary>
public abstract class HtmlNode
{
    /// <summary>Where it stands; of an element from its start tag to its end tag, or to where it was closed without one.</summary>
    public TextRange Range { get; internal set; }

    /// <summary>The element around it; null only for the root.</summary>
    public HtmlElement? Parent { get; internal init; }
}

/// <summary>A run of text with its entities decoded. Tags and comments, even those that change nothing, part runs.</summary>
public sealed class HtmlText : HtmlNode
{
    /// <summary>The text; line breaks and blanks are kept as they are.</summary>
    public required string Text { get; init; }
}

/// <summary>An attribute; its name in lower case, its value with entities decoded, "" where none is given.</summary>
/// <param name="Name">In lower case.</param>
/// <param name="Value">Without quotes.</param>
/// <param name="ValueRange">Where the value stands, without quotes; empty where there is none.</param>
[SuppressMessage("Naming", "CA1711", Justification = "That is what HTML calls it.")]
public sealed record HtmlAttribute(string Name, string Value, TextRange ValueRange);

/// <summary>An element and what it holds.</summary>
public sealed class HtmlElement : HtmlNode
{
    // Their text is not part of what surrounds them, as in BeautifulSoup.
    static readonly HashSet<string> Apart = ["script", "style", "template", "rt", "rp"];

    readonly List<HtmlNode> children = [];
    readonly string? container; // the innermost element, from this one outwards, whose text stands apart

    internal HtmlElement(string name, IReadOnlyList<HtmlAttribute> attributes, HtmlElement? parent)
    {
        Name = name;
        Attributes = attributes;
        Parent = parent;
        container = Apart.Contains(name) ? name : parent?.container;
    }

    /// <summary>The tag in lower case; "" for the root.</summary>
    public string Name { get; }

    /// <summary>In the order of the text; of several with one name the last counts.</summary>
    public IReadOnlyList<HtmlAttribute> Attributes { get; }

    /// <summary>Elements and text in the order of the text.</summary>
    public IReadOnlyList<HtmlNode> Children => children;

    /// <summary>Whether an end tag, its own or one around it, or its being void ended it; false where the text did.</summary>
    public bool IsClosed { get; internal set; }

    /// <summary>Elements below, in the order of the text.</summary>
    public IEnumerable<HtmlElement> Descendants => Nodes().OfType<HtmlElement>();

    /// <summary>The last attribute of this name, null if there is none.</summary>
    /// <param name="name">In lower case.</param>
    public HtmlAttribute? Attribute(string name) => Attributes.LastOrDefault(a => a.Name == name);

    /// <summary>Whether <c>class</c> has this word.</summary>
    public bool HasClass(string word) =>
        Attribute("class")?.Value.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Contains(word) ?? false;

    /// <summary>All text below, as it stands.</summary>
    public string InnerText => Join(strip: false);

    /// <summary>All text below, each run stripped and joined without blanks: BeautifulSoup's <c>get_text(strip=True)</c>.</summary>
    public string StrippedText => Join(strip: true);

    internal void Add(HtmlNode node) => children.Add(node);

    string Join(bool strip)
    {
        string? own = Apart.Contains(Name) ? Name : null;
        StringBuilder joined = new();
        foreach (HtmlText text in Nodes().OfType<HtmlText>())
        {
            if (text.Parent!.container == own)
            {
                joined.Append(strip ? text.Text.Trim() : text.Text);
            }
        }

        return joined.ToString();
    }

    IEnumerable<HtmlNode> Nodes()
    {
        Stack<HtmlNode> pending = new();
        Push(this);
        while (pending.TryPop(out HtmlNode? node))
        {
            yield return node;
            if (node is HtmlElement element)
            {
                Push(element);
            }
        }

        void Push(HtmlElement element)
        {
            for (int i = element.children.Count - 1; i >= 0; i--)
            {
                pending.Push(element.children[i]);
            }
        }
    }
}

/// <summary>HTML that a model wrote, read.</summary>
/// <param name="Root">Nameless; holds what stands at the top, text around the HTML included.</param>
/// <param name="UnfinishedTag">Where the text ends inside a tag or comment, the tag's beginning; nothing from there on is in the tree.</param>
public sealed record HtmlDocument(HtmlElement Root, int? UnfinishedTag);
