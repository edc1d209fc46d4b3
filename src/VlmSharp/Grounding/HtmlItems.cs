namespace VlmSharp.Grounding;

/// <summary>Reads <c>data-bbox</c> and <c>data-polygon</c> of QwenVL HTML, and <c>&lt;points x1 y1 x2 y2 alt&gt;phrase&lt;/points&gt;</c>.</summary>
/// <remarks>Every element with coordinates counts except <c>&lt;ol&gt;</c>, as in the published notebook; an element that the text does not close was cut off.</remarks>
static class HtmlItems
{
    const string Points = "points";

    internal static Findings Read(string text, int start, bool points)
    {
        Findings findings = new();
        if (text.IndexOf('<', start) < 0)
        {
            return findings;
        }

        HtmlDocument document = QwenVLHtml.Parse(text, start);
        foreach (HtmlNode top in document.Root.Children)
        {
            if (top is not HtmlElement element)
            {
                continue;
            }

            int before = findings.Items.Count + findings.Errors.Count;
            bool open = !element.IsClosed && element.Name is "html" or "body";
            foreach (HtmlElement inner in element.Descendants.Prepend(element))
            {
                if (points && inner.Name == Points)
                {
                    ReadPoints(text, inner, findings);
                }
                else
                {
                    ReadShapes(text, inner, findings);
                }
            }

            if (findings.Items.Count + findings.Errors.Count > before)
            {
                findings.Regions.Add(element.Range);
                open |= !element.IsClosed;
            }

            if (open)
            {
                findings.Errors.Add((element.Range.Start, GroundingError.Truncated));
            }
        }

        if (document.UnfinishedTag is { } tag && (findings.Regions.Count > 0 || PromisesItem(text.AsSpan(tag), points)))
        {
            findings.Errors.Add((tag, GroundingError.Truncated));
        }

        return findings;
    }

    /// <summary>Whether a tag that is cut off would have had coordinates.</summary>
    static bool PromisesItem(ReadOnlySpan<char> tag, bool points) =>
        tag.Contains("data-bbox", StringComparison.OrdinalIgnoreCase)
        || tag.Contains("data-polygon", StringComparison.OrdinalIgnoreCase)
        || (points && tag.StartsWith("<" + Points, StringComparison.OrdinalIgnoreCase));

    static void ReadShapes(string text, HtmlElement element, Findings findings)
    {
        if (element.Name == "ol")
        {
            return;
        }

        string? label = null;
        foreach (string name in (string[])["data-bbox", "data-polygon"])
        {
            if (element.Attribute(name) is not { } attribute)
            {
                continue;
            }

            bool box = name == "data-bbox";
            if (!element.IsClosed)
            {
                findings.Errors.Add((element.Range.Start, GroundingError.Truncated));
            }
            else if (
                ReadNumbers(attribute.Value) is { } numbers
                && (box ? numbers.Count == 4 : numbers.Count >= 6 && numbers.Count % 2 == 0)
            )
            {
                label ??= element.StrippedText;
                findings.Items.Add(
                    new(
                        label,
                        box ? GroundedKind.Box : GroundedKind.Polygon,
                        numbers,
                        element.Range,
                        Trim(text, attribute.ValueRange)
                    )
                );
            }
            else
            {
                findings.Errors.Add((element.Range.Start, GroundingError.Malformed));
            }
        }
    }

    static void ReadPoints(string text, HtmlElement element, Findings findings)
    {
        if (!element.IsClosed)
        {
            findings.Errors.Add((element.Range.Start, GroundingError.Truncated));
            return;
        }

        string phrase = element.InnerText.Trim();
        Dictionary<string, HtmlAttribute> attributes = [];
        foreach (HtmlAttribute attribute in element.Attributes)
        {
            attributes[attribute.Name] = attribute;
        }

        for (int i = 1; ; i++)
        {
            HtmlAttribute? x = attributes.GetValueOrDefault($"x{i}");
            HtmlAttribute? y = attributes.GetValueOrDefault($"y{i}");
            if (x is null && y is null)
            {
                if (i == 1)
                {
                    findings.Errors.Add((element.Range.Start, GroundingError.Malformed));
                }

                return;
            }

            if (
                x is not null
                && y is not null
                && Decimals.Read(x.Value.AsSpan().Trim()) is { } left
                && Decimals.Read(y.Value.AsSpan().Trim()) is { } top
            )
            {
                TextRange range = new(
                    Math.Min(x.ValueRange.Start, y.ValueRange.Start),
                    Math.Max(x.ValueRange.End, y.ValueRange.End)
                );
                findings.Items.Add(
                    new(phrase.Length > 0 ? phrase : null, GroundedKind.Point, [left, top], element.Range, range)
                );
            }
            else
            {
                findings.Errors.Add((element.Range.Start, GroundingError.Malformed));
            }
        }
    }

    static List<double>? ReadNumbers(string value)
    {
        List<double> numbers = [];
        foreach (
            string word in value.Split(
                (char[])[' ', ',', '\t', '\n', '\r', '\f'],
                StringSplitOptions.RemoveEmptyEntries
            )
        )
        {
            if (Decimals.Read(word) is not { } number)
            {
                return null;
            }

            numbers.Add(number);
        }

        return numbers;
    }

    static TextRange Trim(string text, TextRange range)
    {
        int leading = range.Length - range.Of(text).TrimStart().Length;
        return new(range.Start + leading, range.Start + leading + range.Of(text).Trim().Length);
    }
}
