using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace VlmSharp.Kernels;

public sealed unsafe partial class PackedMatrix
{
    // The source is almost in the order of the panels: the values of 32 rows at one column stand side by side.
    readonly struct TransposeBody(PackedMatrix matrix, byte* source, ElementType sourceType, int firstRow, int endRow)
        : IParallelBody
    {
        // One part is one panel, so that two threads never write into the same one.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)] // loading packs each matrix once: there is no later call
        public void Run(int part, int worker)
        {
            int panel = firstRow / PanelRows + part;
            int start = Math.Max(firstRow, panel * PanelRows);
            int end = Math.Min(endRow, panel * PanelRows + PanelRows);
            byte* to = matrix.Panels + panel * matrix.PanelBytes;
            long columnBytes = (long)PanelRows * matrix.Storage.Size();
            byte* from = source + (long)(start - firstRow) * sourceType.Size();
            long step = (long)(endRow - firstRow) * sourceType.Size();
            bool interleave = Sse2.IsSupported && end - start == PanelRows && matrix.Storage != ElementType.F32;
            for (int column = 0; column < matrix.Columns; column++, from += step, to += columnBytes)
            {
                if (interleave)
                {
                    Interleave((ushort*)from, (ushort*)to);
                }
                else
                {
                    Copy(from, to, start % PanelRows, end - start);
                }
            }
        }

        // 16-bit values of rows r and r + 16 become one word.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static void Interleave(ushort* from, ushort* to)
        {
            for (int row = 0; row < PanelRows / 2; row += 8, to += 16)
            {
                Vector128<ushort> low = Vector128.Load(from + row);
                Vector128<ushort> high = Vector128.Load(from + row + PanelRows / 2);
                Sse2.UnpackLow(low, high).Store(to);
                Sse2.UnpackHigh(low, high).Store(to + 8);
            }
        }

        // count consecutive values to consecutive rows of one column
        void Copy(byte* from, byte* to, int row, int count)
        {
            for (int i = 0; i < count; i++)
            {
                byte* value = to + matrix.OffsetInColumn(row + i);
                switch (sourceType)
                {
                    case ElementType.F32:
                        *(uint*)value = Unsafe.ReadUnaligned<uint>(from + i * 4);
                        break;
                    case ElementType.BF16 when matrix.Storage == ElementType.F32:
                        *(float*)value = Widen.BF16(Unsafe.ReadUnaligned<ushort>(from + i * 2));
                        break;
                    case ElementType.F16 when matrix.Storage == ElementType.F32:
                        *(float*)value = Widen.F16(Unsafe.ReadUnaligned<ushort>(from + i * 2));
                        break;
                    default:
                        *(ushort*)value = Unsafe.ReadUnaligned<ushort>(from + i * 2);
                        break;
                }
            }
        }
    }
}
