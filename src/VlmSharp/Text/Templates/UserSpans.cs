using System.Text;

namespace VlmSharp.Text.Templates;

/// <summary>Which parts of a string are user text: sorted, disjoint, half-open ranges of UTF-16 units.</summary>
/// <remarks>Most strings are wholly of one kind, so that nothing and everything need no memory of their own.</remarks>
internal readonly struct UserSpans
{
    // Bounds are flattened (start, end) pairs. The last end may lie beyond the string; readers clip it.
    static readonly int[] WholeBounds = [0, int.MaxValue];

    readonly int[]? bounds;

    UserSpans(int[]? bounds) => this.bounds = bounds;

    /// <summary>The whole string, whatever its length.</summary>
    public static UserSpans Whole => new(WholeBounds);

    /// <summary>Whether anything is user text.</summary>
    public bool Any => bounds is not null;

    public bool IsWhole => ReferenceEquals(bounds, WholeBounds);

    public static UserSpans From(List<int>? flattened, int length)
    {
        if (flattened is null || flattened.Count == 0)
        {
            return default;
        }

        return flattened is [0, var end] && end >= length ? Whole : new UserSpans([.. flattened]);
    }

    /// <summary>The spans of the first string followed by the second.</summary>
    public static UserSpans Concat(UserSpans left, int leftLength, UserSpans right, int rightLength)
    {
        if (rightLength == 0 || leftLength == 0)
        {
            return rightLength == 0 ? left : right;
        }

        if (ReferenceEquals(left.bounds, right.bounds) && (left.IsWhole || !left.Any))
        {
            return left;
        }

        List<int> spans = [];
        left.AddTo(spans, 0, leftLength, 0);
        right.AddTo(spans, 0, rightLength, leftLength);
        return From(spans, leftLength + rightLength);
    }

    /// <summary>The spans of a part of the string.</summary>
    public UserSpans Slice(int start, int length)
    {
        if (bounds is null || IsWhole)
        {
            return this;
        }

        List<int> spans = [];
        AddTo(spans, start, length, 0);
        return From(spans, length);
    }

    /// <summary>Appends the spans of [start, start + length) to a sorted list, moved so that start becomes <paramref name="target"/>.</summary>
    public void AddTo(List<int> spans, int start, int length, int target)
    {
        if (bounds is null)
        {
            return;
        }

        int end = start + length;
        for (int i = 0; i < bounds.Length; i += 2)
        {
            int from = Math.Max(bounds[i], start);
            int to = Math.Min(bounds[i + 1], end);
            if (from < to)
            {
                Add(spans, from - start + target, to - start + target);
            }
        }
    }

    /// <summary>Adds a span at the end of a sorted list and merges it with its neighbour.</summary>
    public static void Add(List<int> spans, int start, int end)
    {
        if (spans.Count > 0 && spans[^1] == start)
        {
            spans[^1] = end;
        }
        else
        {
            spans.Add(start);
            spans.Add(end);
        }
    }
}

/// <summary>Builds a string that remembers which parts are user text, up to a maximal length.</summary>
internal sealed class TextBuilder(int maxLength)
{
    readonly StringBuilder text = new();
    List<int>? spans;

    public int Length => text.Length;

    public void Append(char character, bool user)
    {
        Reserve(1);
        Mark(1, user);
        text.Append(character);
    }

    public void Append(ReadOnlySpan<char> characters, bool user)
    {
        Reserve(characters.Length);
        Mark(characters.Length, user);
        text.Append(characters);
    }

    public void Append(char character, long count, bool user)
    {
        if (count > 0)
        {
            Reserve(count);
            Mark((int)count, user);
            text.Append(character, (int)count);
        }
    }

    public void Append(TextValue value) => Append(value, 0, value.Text.Length);

    /// <summary>Appends a part of a string, given in UTF-16 units.</summary>
    public void Append(TextValue value, int start, int length)
    {
        Reserve(length);
        if (value.Spans.Any)
        {
            value.Spans.AddTo(spans ??= [], start, length, text.Length);
        }

        text.Append(value.Text, start, length);
    }

    void Mark(int length, bool user)
    {
        if (user && length > 0)
        {
            UserSpans.Add(spans ??= [], text.Length, text.Length + length);
        }
    }

    void Reserve(long length)
    {
        if (text.Length + length > maxLength)
        {
            throw new EvaluationException($"the text grows beyond the limit of {maxLength} characters");
        }
    }

    public override string ToString() => text.ToString();

    public TextValue ToValue() => TextValue.Create(text.ToString(), UserSpans.From(spans, text.Length));

    public IReadOnlyList<Range> UserRanges()
    {
        if (spans is null)
        {
            return [];
        }

        Range[] ranges = new Range[spans.Count / 2];
        for (int i = 0; i < ranges.Length; i++)
        {
            ranges[i] = spans[2 * i]..spans[2 * i + 1];
        }

        return ranges;
    }
}
