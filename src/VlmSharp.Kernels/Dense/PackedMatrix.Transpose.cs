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
        [MethodImpl(MethodImplOptions.AggressiveOptimization)] // loading packs each matrix once: there is no later call
        public void Run(int part, int worker)
        {
            int panel = firstRow / PanelRows + part;
            int start = Math.Max(firstRow, panel * PanelRows);
            int end = Math.Min(endRow, panel * PanelRows + PanelRows);
            byte* to = matrix.Panels + panel * matrix.PanelBytes;
            byte* from = source + (long)(start - firstRow) * sourceType.Size();
            long step = (long)(endRow - firstRow) * sourceType.Size();
            int column = 0;
            if (Sse2.IsSupported && end - start == PanelRows && matrix.Storage != WeightFormat.F32)
            {
                for (; column < matrix.Columns - 1; column += 2, from += 2 * step)
                {
                    Interleave((ushort*)from, (ushort*)(from + step), (ushort*)(to + matrix.OffsetInPanel(0, column)));
                }
            }

            for (; column < matrix.Columns; column++, from += step)
            {
                for (int row = 0; row < end - start; row++)
                {
                    Copy(from + row * sourceType.Size(), to + matrix.OffsetInPanel(start % PanelRows + row, column));
                }
            }
        }

        // 16-bit values of two columns become words.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static void Interleave(ushort* even, ushort* odd, ushort* to)
        {
            for (int row = 0; row < PanelRows; row += 8, to += 16)
            {
                Vector128<ushort> low = Vector128.Load(even + row);
                Vector128<ushort> high = Vector128.Load(odd + row);
                Sse2.UnpackLow(low, high).Store(to);
                Sse2.UnpackHigh(low, high).Store(to + 8);
            }
        }

        void Copy(byte* from, byte* to)
        {
            switch (sourceType)
            {
                case ElementType.F32:
                    *(uint*)to = Unsafe.ReadUnaligned<uint>(from);
                    break;
                case ElementType.BF16 when matrix.Storage == WeightFormat.F32:
                    *(float*)to = Widen.BF16(Unsafe.ReadUnaligned<ushort>(from));
                    break;
                case ElementType.F16 when matrix.Storage == WeightFormat.F32:
                    *(float*)to = Widen.F16(Unsafe.ReadUnaligned<ushort>(from));
                    break;
                default:
                    *(ushort*)to = Unsafe.ReadUnaligned<ushort>(from);
                    break;
            }
        }
    }
}
