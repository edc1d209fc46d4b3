using System.Runtime.CompilerServices;

namespace VlmSharp.Kernels.Imaging;

/// <summary>Turns rows of resized pixels into patches of normalised floats.</summary>
static unsafe class PatchRows
{
    /// <summary>Writes one row of groups.</summary>
    /// <param name="band">[grid.BandRows] rows in <paramref name="layout"/></param>
    /// <param name="layout">three planes of the grid's width</param>
    /// <param name="grid">the cut</param>
    /// <param name="levels">[3, 256]: what each 8-bit level becomes in each channel</param>
    /// <param name="firstFrame">the first frame slot of the patches to fill; the band is written to [firstFrame, endFrame)</param>
    /// <param name="endFrame">one past the last slot</param>
    /// <param name="patches">[columns / merge, merge, merge, 3, temporal, patch, patch]: column of groups, then the row and column within the group</param>
    public static void Write(
        ReadOnlySpan<byte> band,
        PlanarRows layout,
        PatchGrid grid,
        ReadOnlySpan<float> levels,
        int firstFrame,
        int endFrame,
        Span<float> patches
    )
    {
        int side = grid.PatchSize;
        int merge = grid.MergeSize;
        int frameLength = side * side;
        if (
            band.Length < (long)grid.BandRows * layout.RowStride
            || layout.Channels != PatchGrid.Channels
            || layout.Width != grid.Width
            || patches.Length != grid.BandLength
            || levels.Length != PatchGrid.Channels * 256
            || firstFrame < 0
            || endFrame <= firstFrame
            || endFrame > grid.TemporalSize
        )
        {
            throw new ArgumentException(
                $"{band.Length} bytes in {layout} do not make {patches.Length} values of {grid}, frames [{firstFrame}, {endFrame})"
            );
        }

        fixed (byte* pixels = band)
        fixed (float* table = levels)
        fixed (float* start = patches)
        {
            float* target = start;
            for (int groupColumn = 0; groupColumn < grid.Columns; groupColumn += merge)
            {
                for (int row = 0; row < merge; row++)
                {
                    for (int column = groupColumn; column < groupColumn + merge; column++)
                    {
                        byte* corner = pixels + (nint)row * side * layout.RowStride + column * side;
                        for (int c = 0; c < PatchGrid.Channels; c++, target += grid.TemporalSize * frameLength)
                        {
                            float* frame = target + firstFrame * frameLength;
                            Plane(corner + c * layout.PlaneStride, layout.RowStride, table + c * 256, frame, side);
                            for (int again = firstFrame + 1; again < endFrame; again++)
                            {
                                new ReadOnlySpan<float>(frame, frameLength).CopyTo(
                                    new Span<float>(target + again * frameLength, frameLength)
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Plane(byte* pixels, nint stride, float* table, float* target, int side)
    {
        for (int y = 0; y < side; y++, pixels += stride, target += side)
        {
            int x = 0;
            for (; x <= side - 4; x += 4)
            {
                uint four = Unsafe.ReadUnaligned<uint>(pixels + x);
                target[x] = table[(byte)four];
                target[x + 1] = table[(byte)(four >> 8)];
                target[x + 2] = table[(byte)(four >> 16)];
                target[x + 3] = table[four >> 24];
            }

            for (; x < side; x++)
            {
                target[x] = table[pixels[x]];
            }
        }
    }
}
