using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace VlmSharp.Kernels;

public static unsafe partial class MatMul
{
    static void Portable(in Call call)
    {
        switch (call.W.Storage)
        {
            case WeightFormat.F32:
                Drive<PortableKernels<F32Weights>>(call);
                break;
            case WeightFormat.BF16:
                Drive<PortableKernels<BF16Weights>>(call);
                break;
            case WeightFormat.F16:
                Drive<PortableKernels<F16Weights>>(call);
                break;
            case WeightFormat.F8:
                DriveFloat8<PortableKernels<F32Weights>>(call);
                break;
            default:
                DriveUnpacked<PortableKernels<F32Weights>>(call);
                break;
        }
    }

    /// <summary>Scalar loops; products are rounded before they are added, because not every machine can fuse the two.</summary>
    readonly struct PortableKernels<TWeights> : IPanelKernels
        where TWeights : struct, IWeightFormat
    {
        public int TileRows => int.MaxValue; // x is read in place

        public bool TilesReadUnpacked => false;

        public bool RowsReadUnpacked => false;

        public bool ReadsWeightsOnce(int rows) => true;

        public void Pack(float* x, nint stride, int columns, float* packed) => throw new UnreachableException();

        public void Unpack(byte* panel, int depth, byte* unpacked) => throw new UnreachableException();

        public void Tile(float* packed, byte* panel, int depth, float* sums, nint sumsStride) =>
            throw new UnreachableException();

        [SkipLocalsInit]
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Rows(
            float* x,
            nint stride,
            int rows,
            byte* panel,
            nint panelBytes,
            int panelCount,
            int depth,
            float* sums,
            nint sumsStride
        )
        {
            float* column = stackalloc float[PanelRows];
            for (int p = 0; p < panelCount; p++, panel += panelBytes, sums += PanelRows)
            {
                for (int k = 0; k < depth; k++)
                {
                    byte* stored = panel + TWeights.Offset(k);
                    for (int c = 0; c < PanelRows; c++)
                    {
                        column[c] = TWeights.One(stored, c);
                    }

                    for (int r = 0; r < rows; r++)
                    {
                        float a = x[r * stride + k];
                        float* row = sums + r * sumsStride;
                        for (int c = 0; c < PanelRows; c += 4)
                        {
                            row[c] += a * column[c];
                            row[c + 1] += a * column[c + 1];
                            row[c + 2] += a * column[c + 2];
                            row[c + 3] += a * column[c + 3];
                        }
                    }
                }
            }
        }
    }
}
