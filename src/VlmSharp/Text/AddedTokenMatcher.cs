using System.Buffers;

namespace VlmSharp.Text;

/// <summary>Finds added tokens in text: the leftmost, and of those that start there the longest.</summary>
/// <remarks>
/// A trie over UTF-16 units. Contents are bounded (<see cref="MaxContentLength"/>), and with them the work per character of any text.
/// </remarks>
sealed class AddedTokenMatcher
{
    /// <summary>The longest content a file may have, in UTF-16 units; published ones stay below 50.</summary>
    public const int MaxContentLength = 256;

    readonly SearchValues<char> firsts;
    readonly Dictionary<long, int> edges = []; // from a node by a unit to a node
    readonly List<AddedToken?> nodes = [null];

    /// <param name="tokens">The tokens with the text to look for; of two with the same text the first counts.</param>
    public AddedTokenMatcher(IEnumerable<(string Text, AddedToken Token)> tokens)
    {
        HashSet<char> starts = [];
        foreach ((string text, AddedToken token) in tokens)
        {
            int node = 0;
            foreach (char unit in text)
            {
                if (!edges.TryGetValue(Edge(node, unit), out int next))
                {
                    next = nodes.Count;
                    edges.Add(Edge(node, unit), next);
                    nodes.Add(null);
                }

                node = next;
            }

            nodes[node] ??= token;
            starts.Add(text[0]);
        }

        firsts = SearchValues.Create([.. starts]);
    }

    /// <summary>Whether there is nothing to find.</summary>
    public bool IsEmpty => nodes.Count == 1;

    /// <summary>Finds the first token within <c>text[from..to]</c>.</summary>
    public AddedToken? Find(ReadOnlySpan<char> text, int from, int to, out int start, out int end)
    {
        start = from;
        while (true)
        {
            int skip = text[start..to].IndexOfAny(firsts);
            if (skip < 0)
            {
                end = to;
                return null;
            }

            start += skip;
            end = start;
            AddedToken? longest = null;
            int node = 0;
            for (int i = start; i < to && edges.TryGetValue(Edge(node, text[i]), out node); i++)
            {
                if (nodes[node] is { } token)
                {
                    (longest, end) = (token, i + 1);
                }
            }

            if (longest is not null)
            {
                return longest;
            }

            start++;
        }
    }

    static long Edge(int node, char unit) => ((long)node << 16) | unit;
}
