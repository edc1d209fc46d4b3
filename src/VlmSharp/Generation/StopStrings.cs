using System.Text;

namespace VlmSharp.Generation;

/// <summary>Finds stop strings in a text that arrives in pieces, and holds back only what may still become one.</summary>
/// <remarks>
/// What is emitted does not depend on where the text is divided: the answer ends where the first stop string is complete, and where several
/// are complete at once, before the longest of them. Time is linear in the text (Aho-Corasick 1975). Comparison is ordinal, by UTF-16 unit.
/// </remarks>
public sealed class StopStrings
{
    // Nodes of the trie of all stop strings; node 0 is the empty prefix.
    readonly Dictionary<(int Node, char Next), int> children = [];
    readonly List<int> depth = [0];
    readonly List<int> fallback = [0]; // the longest proper suffix of a node's prefix that is a node
    readonly List<int> match = [0]; // length of the longest stop string a node's prefix ends with, 0 for none
    readonly StringBuilder held = new();
    int node;
    bool finished;

    /// <summary>A search for these strings.</summary>
    /// <exception cref="ArgumentException">A string is empty.</exception>
    public StopStrings(IReadOnlyList<string> stops)
    {
        ArgumentNullException.ThrowIfNull(stops);
        List<(int Parent, char Next, int Node)> added = [];
        foreach (string stop in stops)
        {
            if (string.IsNullOrEmpty(stop))
            {
                throw new ArgumentException("A stop string is empty; it needs at least one character.", nameof(stops));
            }

            int at = 0;
            foreach (char next in stop)
            {
                if (!children.TryGetValue((at, next), out int child))
                {
                    child = depth.Count;
                    children.Add((at, next), child);
                    depth.Add(depth[at] + 1);
                    fallback.Add(0);
                    match.Add(0);
                    added.Add((at, next, child));
                }

                at = child;
            }

            match[at] = stop.Length;
        }

        // Shorter prefixes first: a fallback is always shorter than its node.
        foreach ((int parent, char next, int child) in added.OrderBy(entry => depth[entry.Node]))
        {
            fallback[child] = parent == 0 ? 0 : Follow(fallback[parent], next);
            match[child] = Math.Max(match[child], match[fallback[child]]);
        }
    }

    /// <summary>Takes the next piece of text.</summary>
    /// <param name="piece">Any length, also empty.</param>
    /// <param name="stopped">A stop string is complete. Nothing comes after it: later pieces are dropped.</param>
    /// <returns>What can be shown now: text that is certain to stand before any stop string.</returns>
    public string Push(string piece, out bool stopped)
    {
        ArgumentNullException.ThrowIfNull(piece);
        for (int i = 0; i < piece.Length && !finished; i++)
        {
            node = Follow(node, piece[i]);
            if (match[node] > 0)
            {
                finished = true;
                stopped = true;
                string before = Release(piece.AsSpan(0, i + 1), match[node]);
                held.Clear();
                return before;
            }
        }

        stopped = finished;
        if (finished)
        {
            return "";
        }

        return held.Length == 0 && depth[node] == 0 ? piece : Release(piece, depth[node]);
    }

    /// <summary>The text is over: returns what was held back.</summary>
    public string Flush()
    {
        string rest = held.ToString();
        held.Clear();
        node = 0;
        return rest;
    }

    /// <summary>The held text and the piece without their last units, which are held from now on.</summary>
    string Release(ReadOnlySpan<char> piece, int keptBack)
    {
        held.Append(piece);
        string released = held.ToString(0, held.Length - keptBack);
        held.Remove(0, released.Length);
        return released;
    }

    int Follow(int from, char next)
    {
        for (; ; from = fallback[from])
        {
            if (children.TryGetValue((from, next), out int child))
            {
                return child;
            }

            if (from == 0)
            {
                return 0;
            }
        }
    }
}
