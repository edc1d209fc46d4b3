using System.Buffers;
using System.Net;

namespace VlmSharp.Grounding;

/// <summary>Reads the HTML in which Qwen2.5-VL and later models write documents: <c>&lt;p data-bbox="x1 y1 x2 y2"&gt;...&lt;/p&gt;</c>.</summary>
/// <remarks>
/// The tree is the one the published notebooks get from BeautifulSoup with html.parser, not a browser's: elements nest as they are
/// written, an end tag closes the nearest open element of its name and all within, one without such an element is passed over, and
/// nothing is added. Any text is accepted, in time proportional to its length: text around the HTML is text. Stray
/// <c>&lt;</c> are text, too.
/// </remarks>
public static class QwenVLHtml
{
    /// <summary>Elements nested deeper than this lie side by side instead.</summary>
    public const int MaxDepth = 200;

    /// <summary>Reads HTML; never fails.</summary>
    /// <param name="text">HTML, with or without other text around it.</param>
    /// <param name="start">The first character to read. Ranges count from the beginning of the text all the same.</param>
    public static HtmlDocument Parse(string text, int start = 0)
    {
        ArgumentNullException.ThrowIfNull(text);
        return new Reader(text).Read(start);
    }

    sealed class Reader(string text)
    {
        const string Space = " \t\n\r\f";

        static readonly HashSet<string> Void =
        [
            "area",
            "base",
            "basefont",
            "bgsound",
            "br",
            "col",
            "command",
            "embed",
            "frame",
            "hr",
            "image",
            "img",
            "input",
            "isindex",
            "keygen",
            "link",
            "menuitem",
            "meta",
            "nextid",
            "param",
            "source",
            "spacer",
            "track",
            "wbr",
        ];

        static readonly SearchValues<char> NameEnd = SearchValues.Create(Space + "/>");
        static readonly SearchValues<char> AttributeNameEnd = SearchValues.Create(Space + "/=>");
        static readonly SearchValues<char> ValueEnd = SearchValues.Create(Space + ">");

        readonly HtmlElement root = new("", [], null) { IsClosed = true };

        readonly List<HtmlElement> open = [];
        readonly Dictionary<string, int> openByName = [];

        // Elements beyond the depth limit, by name: their end tags must not close others.
        readonly Dictionary<string, int> flattened = [];

        // Once a search has come to the end in vain, later ones would, too.
        readonly Dictionary<string, bool> absent = [];

        int at;

        internal HtmlDocument Read(int start)
        {
            at = start;
            open.Add(root);
            int textStart = at;
            int? unfinished = null;
            while (at < text.Length)
            {
                int tag = text.IndexOf('<', at);
                if (tag < 0)
                {
                    break;
                }

                at = tag;
                char next = tag + 1 < text.Length ? text[tag + 1] : '\0';
                bool endTag = next == '/' && tag + 2 < text.Length;
                if (!char.IsAsciiLetter(next) && next is not ('!' or '?') && !endTag)
                {
                    at++; // a stray < is text
                    continue;
                }

                AddText(textStart, tag);
                bool whole =
                    endTag ? ReadEndTag()
                    : next == '!' ? Skip(text.AsSpan(tag).StartsWith("<!--") ? "-->" : ">")
                    : next == '?' ? Skip(">")
                    : ReadStartTag();
                textStart = at;
                if (!whole)
                {
                    unfinished = tag;
                    textStart = text.Length;
                    break;
                }
            }

            AddText(textStart, text.Length);
            foreach (HtmlElement element in open)
            {
                element.Range = element.Range with { End = text.Length };
            }

            root.Range = new(start, text.Length);
            return new(root, unfinished);
        }

        void AddText(int from, int to)
        {
            if (from < to)
            {
                open[^1]
                    .Add(
                        new HtmlText
                        {
                            Parent = open[^1],
                            Range = new(from, to),
                            Text = WebUtility.HtmlDecode(text[from..to]),
                        }
                    );
            }
        }

        bool ReadStartTag()
        {
            int tag = at++;
            string name = Take(NameEnd).ToLowerInvariant();
            List<HtmlAttribute> attributes = [];
            bool selfClosing = false;
            while (true)
            {
                SkipSpace();
                if (at >= text.Length)
                {
                    return false;
                }

                if (text[at] == '>')
                {
                    at++;
                    break;
                }

                if (text[at] == '/')
                {
                    at++;
                    selfClosing = at < text.Length && text[at] == '>';
                    continue;
                }

                if (ReadAttribute() is not { } attribute)
                {
                    return false;
                }

                attributes.Add(attribute);
            }

            HtmlElement element = new(name, attributes, open[^1]) { Range = new(tag, at) };
            open[^1].Add(element);
            if (selfClosing || Void.Contains(name))
            {
                element.IsClosed = true;
            }
            else if (name is "script" or "style")
            {
                ReadRaw(element);
            }
            else if (open.Count >= MaxDepth)
            {
                element.IsClosed = true;
                flattened[name] = flattened.GetValueOrDefault(name) + 1;
            }
            else
            {
                open.Add(element);
                openByName[name] = openByName.GetValueOrDefault(name) + 1;
            }

            return true;
        }

        HtmlAttribute? ReadAttribute()
        {
            int nameStart = at++; // the first character may even be =
            int nameEnd = at = NextOf(AttributeNameEnd);
            SkipSpace();
            string name = text[nameStart..nameEnd].ToLowerInvariant();
            if (at >= text.Length || text[at] != '=')
            {
                return new(name, "", new(nameEnd, nameEnd));
            }

            at++;
            SkipSpace();
            if (at >= text.Length)
            {
                return null;
            }

            TextRange range;
            if (text[at] is '"' or '\'' && Find(text[at] == '"' ? "\"" : "'", at + 1) is >= 0 and int close)
            {
                range = new(at + 1, close);
                at = close + 1;
            }
            else
            {
                // A quote that is never closed: the value ends with the word, so that the tag does not swallow the rest.
                int from = at;
                at = NextOf(ValueEnd);
                range = new(from, at);
            }

            return new(name, WebUtility.HtmlDecode(text[range.Start..range.End]), range);
        }

        /// <summary>Text up to the end tag: no tags are read in it.</summary>
        void ReadRaw(HtmlElement element)
        {
            int close = text.IndexOf($"</{element.Name}", at, StringComparison.OrdinalIgnoreCase);
            int end = close < 0 ? text.Length : close;
            if (end > at)
            {
                element.Add(
                    new HtmlText
                    {
                        Parent = element,
                        Range = new(at, end),
                        Text = text[at..end],
                    }
                );
            }

            at = end;
            element.IsClosed = close >= 0 && Skip(">");
            element.Range = element.Range with { End = at };
        }

        bool ReadEndTag()
        {
            at += 2;
            string name = char.IsAsciiLetter(text[at]) ? Take(NameEnd).ToLowerInvariant() : "";
            if (!Skip(">"))
            {
                return false;
            }

            if (flattened.TryGetValue(name, out int beyond) && beyond > 0)
            {
                flattened[name] = beyond - 1;
                return true;
            }

            if (openByName.GetValueOrDefault(name) == 0)
            {
                return true;
            }

            HtmlElement closed;
            do
            {
                closed = open[^1];
                open.RemoveAt(open.Count - 1);
                openByName[closed.Name]--;
                closed.IsClosed = true;
                closed.Range = closed.Range with { End = at };
            } while (closed.Name != name);
            flattened.Clear();
            return true;
        }

        /// <summary>Goes behind the next mark; false, and to the end, where there is none.</summary>
        bool Skip(string mark)
        {
            int found = Find(mark, at);
            at = found < 0 ? text.Length : found + mark.Length;
            return found >= 0;
        }

        int Find(string mark, int from)
        {
            if (absent.ContainsKey(mark))
            {
                return -1;
            }

            int found = text.IndexOf(mark, from, StringComparison.Ordinal);
            if (found < 0)
            {
                absent[mark] = true;
            }

            return found;
        }

        string Take(SearchValues<char> end)
        {
            int from = at;
            at = NextOf(end);
            return text[from..at];
        }

        int NextOf(SearchValues<char> characters)
        {
            int found = text.AsSpan(at).IndexOfAny(characters);
            return found < 0 ? text.Length : at + found;
        }

        void SkipSpace()
        {
            while (at < text.Length && Space.Contains(text[at]))
            {
                at++;
            }
        }
    }
}
