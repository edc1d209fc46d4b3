using System.Numerics;

namespace VlmSharp.Text;

/// <summary>Pairs of tokens that merge, with the rank of the merge and the token it makes.</summary>
sealed class MergeTable
{
    /// <summary>What <see cref="Find"/> gives for a pair that does not merge; greater than every merge.</summary>
    public const long None = long.MaxValue;

    // Odd and random per process: a file cannot aim for collisions.
    static readonly ulong Multiplier = (ulong)Random.Shared.NextInt64() | 1;

    readonly (ulong Pair, long Merge)[] slots; // open addressing; Pair of all ones: free
    readonly int shift;

    /// <param name="capacity">The number of merges to come.</param>
    public MergeTable(int capacity)
    {
        int size = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(16, capacity + (capacity / 2)));
        slots = new (ulong, long)[size];
        Array.Fill(slots, (ulong.MaxValue, None));
        shift = 64 - BitOperations.Log2((uint)size);
    }

    /// <summary>Rank in the upper half and new token in the lower, so that the smaller value is the earlier merge; or <see cref="None"/>.</summary>
    public long Find(int left, int right)
    {
        ulong pair = Pair(left, right);
        int slot = (int)((pair * Multiplier) >> shift);
        while (true)
        {
            ref readonly (ulong Pair, long Merge) found = ref slots[slot];
            if (found.Pair == pair || found.Pair == ulong.MaxValue)
            {
                return found.Merge;
            }

            slot = (slot + 1) & (slots.Length - 1);
        }
    }

    /// <summary>Adds a merge; false if the pair has one already.</summary>
    public bool TryAdd(int left, int right, int rank, int merged)
    {
        ulong pair = Pair(left, right);
        int slot = (int)((pair * Multiplier) >> shift);
        for (; slots[slot].Pair != ulong.MaxValue; slot = (slot + 1) & (slots.Length - 1))
        {
            if (slots[slot].Pair == pair)
            {
                return false;
            }
        }

        slots[slot] = (pair, ((long)rank << 32) | (uint)merged);
        return true;
    }

    /// <summary>All pairs, in the order of their ranks.</summary>
    public IEnumerable<(int Left, int Right)> InOrder() =>
        slots
            .Where(slot => slot.Pair != ulong.MaxValue)
            .OrderBy(slot => slot.Merge)
            .Select(slot => ((int)(slot.Pair >> 32), (int)(uint)slot.Pair));

    static ulong Pair(int left, int right) => ((ulong)left << 32) | (uint)right;
}
