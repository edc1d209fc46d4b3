using VlmSharp.Kernels;

namespace VlmSharp.Tensors;

/// <summary>Memory for the intermediate tensors of one step: allocation is an addition, freeing is going back to a mark.</summary>
/// <remarks>
/// Blocks are added when they are needed and kept; nothing ever moves while it is in use. A step of a shape that was seen
/// before allocates nothing. In Debug builds released memory is filled with NaN, so that a stale view shows itself.
/// </remarks>
public sealed class Arena : IDisposable
{
    const int Alignment = 16; // floats: one cache line, one 512-bit register
    const long SmallestBlock = 4L << 20; // floats

    readonly List<AlignedBuffer> blocks = [];
    int block;
    long used; // floats of blocks[block]

    /// <summary>A position to return to.</summary>
    public readonly record struct Mark(int Block, long Used);

    /// <summary>An uninitialised tensor of <c>[rows, width]</c>.</summary>
    public Tensor Allocate(int rows, int width)
    {
        long floats = ((long)rows * width + Alignment - 1) / Alignment * Alignment;
        while (block < blocks.Count && used + floats > blocks[block].Bytes / sizeof(float))
        {
            block++;
            used = 0;
        }

        if (block == blocks.Count)
        {
            // Doubling keeps the number of blocks, and so the waste at their ends, small.
            long size = Math.Max(
                Math.Max(floats, SmallestBlock),
                blocks.Count == 0 ? 0 : blocks[^1].Bytes / sizeof(float)
            );
            blocks.Add(new AlignedBuffer(size * sizeof(float)));
        }

        Tensor tensor = new(blocks[block], used, rows, width, width);
        used += floats;
        return tensor;
    }

    /// <summary>The current position; everything allocated from here on is freed by <see cref="Release(Mark)"/>.</summary>
    public Mark Position => new(block, used);

    /// <summary>Frees what was allocated since the mark.</summary>
    public void Release(Mark mark)
    {
        Poison(mark);
        block = mark.Block;
        used = mark.Used;
    }

    /// <summary>Frees what was allocated since the mark except one tensor, which moves down to it.</summary>
    /// <returns>The tensor at its new place; where it was already if that is below the mark.</returns>
    public Tensor Release(Mark mark, Tensor keep)
    {
        int home = blocks.IndexOf(keep.Buffer);
        if (home < mark.Block || (home == mark.Block && keep.Offset < mark.Used))
        {
            Release(mark);
            return keep;
        }

        block = mark.Block;
        used = mark.Used;
        Tensor moved = Allocate(keep.Rows, keep.Width);
        moved.CopyFrom(keep); // moves towards lower addresses or to another block: rows in ascending order are safe
        return moved;
    }

    [System.Diagnostics.Conditional("DEBUG")]
    void Poison(Mark from)
    {
        for (int b = from.Block; b <= block && b < blocks.Count; b++)
        {
            long start = b == from.Block ? from.Used : 0;
            long end = b == block ? used : blocks[b].Bytes / sizeof(float);
            for (; start < end; start += 1 << 20)
            {
                blocks[b].Span<float>(start, (int)Math.Min(1 << 20, end - start)).Fill(float.NaN);
            }
        }
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        foreach (AlignedBuffer buffer in blocks)
        {
            buffer.Dispose();
        }

        blocks.Clear();
        block = 0;
        used = 0;
    }
}
