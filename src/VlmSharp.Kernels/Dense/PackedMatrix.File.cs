using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;

namespace VlmSharp.Kernels;

/// <summary>Panels in files, as they lie in memory: read again without packing.</summary>
public sealed unsafe partial class PackedMatrix
{
    /// <summary>Bytes before the panels in a file: magic number, version, format, rows and columns, then zeros.</summary>
    public const int HeaderBytes = 64;

    // Rises with every change of the layout of any format.
    const int LayoutVersion = 1;
    const uint Magic = 0x4C4E4150; // "PANL"
    const long ReadBytes = 4 << 20;

    /// <summary>Writes header and panels: <see cref="HeaderBytes"/> + <see cref="Bytes"/> bytes.</summary>
    public void Save(Stream stream)
    {
        Span<byte> header = stackalloc byte[HeaderBytes];
        header.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(header, Magic);
        BinaryPrimitives.WriteInt32LittleEndian(header[4..], LayoutVersion);
        BinaryPrimitives.WriteInt32LittleEndian(header[8..], (int)Storage);
        BinaryPrimitives.WriteInt32LittleEndian(header[12..], Rows);
        BinaryPrimitives.WriteInt32LittleEndian(header[16..], Columns);
        stream.Write(header);
        for (long done = 0; done < Bytes; done += ReadBytes)
        {
            stream.Write(new ReadOnlySpan<byte>(Panels + done, (int)Math.Min(ReadBytes, Bytes - done)));
        }

        GC.KeepAlive(this);
    }

    /// <summary>What the header of saved panels says.</summary>
    /// <param name="header"><see cref="HeaderBytes"/> bytes.</param>
    /// <param name="length">Bytes of header and panels.</param>
    /// <exception cref="InvalidDataException">It is no such header, or one of another version, or does not fit the length.</exception>
    public static (int Rows, int Columns, WeightFormat Storage) ReadHeader(ReadOnlySpan<byte> header, long length)
    {
        if (header.Length < HeaderBytes || BinaryPrimitives.ReadUInt32LittleEndian(header) != Magic)
        {
            throw new InvalidDataException("has no packed panels where they should begin");
        }

        int version = BinaryPrimitives.ReadInt32LittleEndian(header[4..]);
        if (version != LayoutVersion)
        {
            throw new InvalidDataException(
                $"has panels of layout {version}, this build reads {LayoutVersion}: pack the weights again"
            );
        }

        var storage = (WeightFormat)BinaryPrimitives.ReadInt32LittleEndian(header[8..]);
        int rows = BinaryPrimitives.ReadInt32LittleEndian(header[12..]);
        int columns = BinaryPrimitives.ReadInt32LittleEndian(header[16..]);
        bool valid = Enum.IsDefined(storage) && rows >= 0 && columns >= 0 && columns % storage.BlockColumns() == 0;
        return valid && HeaderBytes + ((Int128)PanelsOf(rows) * BytesOfPanel(columns, storage)) == length
            ? (rows, columns, storage)
            : throw new InvalidDataException(
                $"has {length} bytes of panels, which is no matrix of {rows} x {columns} in format {(int)storage}"
            );
    }

    /// <summary>Reads saved panels, on all threads.</summary>
    /// <param name="file">Open for reading.</param>
    /// <param name="offset">Where the header begins.</param>
    /// <param name="length">Bytes of header and panels.</param>
    /// <param name="pool">Threads to read with.</param>
    /// <exception cref="InvalidDataException">As <see cref="ReadHeader"/>, or the file ends early.</exception>
    public static PackedMatrix Load(SafeFileHandle file, long offset, long length, WorkerPool pool)
    {
        Span<byte> header = stackalloc byte[HeaderBytes];
        int got = RandomAccess.Read(file, header, offset);
        (int rows, int columns, WeightFormat storage) = ReadHeader(header[..got], length);
        PackedMatrix matrix = new(rows, columns, storage);
        var body = new ReadBody(file, offset + HeaderBytes, matrix);
        try
        {
            pool.Run((int)((matrix.Bytes + ReadBytes - 1) / ReadBytes), ref body);
        }
        catch
        {
            matrix.Dispose();
            throw;
        }

        return matrix;
    }

    readonly struct ReadBody(SafeFileHandle file, long offset, PackedMatrix matrix) : IParallelBody
    {
        public void Run(int part, int worker)
        {
            long start = part * ReadBytes;
            Span<byte> left = new(matrix.Panels + start, (int)Math.Min(ReadBytes, matrix.Bytes - start));
            for (long at = offset + start; !left.IsEmpty; )
            {
                int read = RandomAccess.Read(file, left, at);
                if (read == 0)
                {
                    throw new InvalidDataException("ends within packed panels");
                }

                left = left[read..];
                at += read;
            }
        }
    }
}
