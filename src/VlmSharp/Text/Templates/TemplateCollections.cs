using System.Collections;
using System.Diagnostics.CodeAnalysis;

namespace VlmSharp.Text.Templates;

/// <summary>A Python list (or tuple) of template values.</summary>
public sealed class TemplateList : TemplateValue, IReadOnlyList<TemplateValue>
{
    internal enum SequenceKind
    {
        List,
        Tuple,

        /// <summary>A tuple of two with the names <c>grouper</c> and <c>list</c>, from the groupby filter.</summary>
        Group,
    }

    readonly List<TemplateValue> items;

    /// <summary>An empty list.</summary>
    public TemplateList()
        : this([]) { }

    /// <summary>A list of the given values.</summary>
    public TemplateList(IEnumerable<TemplateValue> items)
        : this([.. items], SequenceKind.List) { }

    internal TemplateList(List<TemplateValue> items, SequenceKind kind = SequenceKind.List)
    {
        this.items = items;
        Kind = kind;
    }

    internal static TemplateList Tuple(params List<TemplateValue> items) => new(items, SequenceKind.Tuple);

    internal SequenceKind Kind { get; }

    internal bool IsTuple => Kind != SequenceKind.List;

    internal List<TemplateValue> Items => items;

    /// <summary>Adds a value at the end.</summary>
    public void Add(TemplateValue item)
    {
        ArgumentNullException.ThrowIfNull(item);
        items.Add(item);
    }

    /// <inheritdoc/>
    public TemplateValue this[int index] => items[index];

    /// <inheritdoc cref="IReadOnlyCollection{T}.Count"/>
    public int Length => items.Count;

    int IReadOnlyCollection<TemplateValue>.Count => items.Count;

    internal override int Count => items.Count;

    internal override bool IsTrue => items.Count > 0;

    internal override string TypeName => IsTuple ? "tuple" : "list";

    internal override TemplateValue? Attribute(string name) =>
        Kind == SequenceKind.Group && name is "grouper" or "list" && items.Count == 2
            ? items[name == "grouper" ? 0 : 1]
            : Methods.Find(this, name);

    /// <inheritdoc/>
    public IEnumerator<TemplateValue> GetEnumerator() => items.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}

/// <summary>A Python dictionary; keys keep the order they were first set in.</summary>
[SuppressMessage(
    "Naming",
    "CA1710",
    Justification = "Named after JSON's object, as its sibling is after JSON's array."
)]
public sealed class TemplateObject : TemplateValue, IEnumerable<KeyValuePair<string, TemplateValue>>
{
    // Messages have a handful of keys: those are found faster by looking at each than by hashing.
    const int LinearLimit = 8;

    readonly List<(TemplateValue Key, TemplateValue Value)> entries = [];
    Dictionary<TemplateValue, int>? index;

    /// <summary>The value under a key.</summary>
    /// <exception cref="KeyNotFoundException">There is no such key.</exception>
    public TemplateValue this[string key]
    {
        get => Find(key) ?? throw new KeyNotFoundException($"no key '{key}'");
        set => SetKey(TextValue.Create(key), value);
    }

    /// <summary>Adds or replaces the value under a key.</summary>
    public void Add(string key, TemplateValue value) => this[key] = value;

    /// <summary>Whether there is a value under the key.</summary>
    public bool ContainsKey(string key) => Find(key) is not null;

    /// <summary>The number of keys.</summary>
    public int Length => entries.Count;

    internal override int Count => entries.Count;

    internal override bool IsTrue => entries.Count > 0;

    internal override string TypeName => "dict";

    /// <summary>Entries in the order of the keys; keys need not be strings.</summary>
    internal List<(TemplateValue Key, TemplateValue Value)> Entries => entries;

    internal override TemplateValue? Attribute(string name) => Methods.Find(this, name);

    internal void SetKey(TemplateValue key, TemplateValue value)
    {
        ArgumentNullException.ThrowIfNull(value);
        int at = IndexOf(key);
        if (at >= 0)
        {
            entries[at] = (entries[at].Key, value);
            return;
        }

        index?.Add(key, entries.Count);
        entries.Add((key, value));
    }

    /// <summary>The value under a text key, or null.</summary>
    internal TemplateValue? Find(string key)
    {
        if (entries.Count <= LinearLimit)
        {
            foreach ((TemplateValue candidate, TemplateValue value) in entries)
            {
                if (candidate is TextValue text && text.Text == key)
                {
                    return value;
                }
            }

            return null;
        }

        return Find(TextValue.Create(key));
    }

    /// <summary>The value under a key of any hashable type, or null.</summary>
    internal TemplateValue? Find(TemplateValue key) => IndexOf(key) is >= 0 and var at ? entries[at].Value : null;

    int IndexOf(TemplateValue key)
    {
        if (entries.Count <= LinearLimit)
        {
            for (int i = 0; i < entries.Count; i++)
            {
                if (Python.AreEqual(entries[i].Key, key))
                {
                    return i;
                }
            }

            return -1;
        }

        if (index is null)
        {
            // Several renders may read one object at once: the index is only shown when it is whole.
            Dictionary<TemplateValue, int> built = new(Python.KeyComparer);
            for (int i = 0; i < entries.Count; i++)
            {
                built.Add(entries[i].Key, i);
            }

            index = built;
        }

        return index.TryGetValue(key, out int found) ? found : -1;
    }

    internal TemplateObject Copy()
    {
        TemplateObject copy = [];
        foreach ((TemplateValue key, TemplateValue value) in entries)
        {
            copy.SetKey(key, value);
        }

        return copy;
    }

    /// <summary>The entries, keys as text.</summary>
    public IEnumerator<KeyValuePair<string, TemplateValue>> GetEnumerator()
    {
        foreach ((TemplateValue key, TemplateValue value) in entries)
        {
            yield return new(key.ToString(), value);
        }
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
