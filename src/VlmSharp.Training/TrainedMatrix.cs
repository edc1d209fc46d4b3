using System.Buffers;
using System.Runtime.InteropServices;
using VlmSharp.Kernels;

namespace VlmSharp.Training;

/// <summary>A matrix W [rows, columns] that products read, with the master values it is packed from, its gradient, and its transpose.</summary>
/// <param name="matrix">What the forward pass reads, or a stack of which it reads some rows.</param>
/// <param name="firstRow">First row in the stack.</param>
/// <param name="rows">Outputs.</param>
/// <param name="values">Holds the master values; null where the matrix is frozen and holds them itself.</param>
/// <param name="gradient">Holds the gradient, likewise.</param>
/// <param name="offset">Where both begin.</param>
/// <param name="turned">Whether they are [columns, rows] there.</param>
sealed class TrainedMatrix(
    PackedMatrix matrix,
    int firstRow,
    int rows,
    float[]? values,
    float[] gradient,
    int offset,
    bool turned
) : IDisposable
{
    readonly List<Parameter> parameters = [];
    readonly Copy transpose = new();
    readonly Copy rounded = new();
    readonly Copy turnedRounded = new();

    /// <summary>Values packed in another way than the forward pass of inference has them; made when somebody asks for them after a change.</summary>
    sealed class Copy
    {
        public PackedMatrix? Matrix { get; set; }

        public bool IsStale { get; set; } = true;
    }

    /// <summary>A matrix that stays as it is, however it is stored.</summary>
    public static TrainedMatrix Frozen(PackedMatrix matrix, int firstRow, int rows) =>
        new(matrix, firstRow, rows, null, [], 0, turned: false);

    public int Columns => matrix.Columns;

    public int Rows => rows;

    public bool Trained => parameters.Exists(p => p.Trained);

    public void Add(Parameter parameter) => parameters.Add(parameter);

    /// <summary>The gradient as a table of rows, to add to.</summary>
    public Span<float> GradientRows =>
        turned
            ? throw new InvalidOperationException($"{parameters[0]} holds a transpose and no rows.")
            : gradient.AsSpan(offset, rows * Columns);

    /// <summary>W rounded to bf16, packed: [rows, columns]; as it is stored where that is less. Made when it is first asked for after a change.</summary>
    public PackedMatrix Rounded(WorkerPool pool) =>
        values is null && matrix.Storage != WeightFormat.F32
            ? matrix
            : Get(rounded, rows, Columns, turned, ElementType.BF16, pool);

    /// <summary>W^T, packed: [columns, rows]. Made when it is first asked for after a change.</summary>
    /// <param name="pool">Threads to pack with.</param>
    /// <param name="round">Whether it is rounded to bf16; what is frozen in bf16 or less is never more.</param>
    public PackedMatrix Transpose(WorkerPool pool, bool round = false) =>
        round || (values is null && matrix.Storage is not (WeightFormat.F32 or WeightFormat.F16))
            ? Get(turnedRounded, Columns, rows, !turned, ElementType.BF16, pool)
            : Get(transpose, Columns, rows, !turned, ElementType.F32, pool);

    PackedMatrix Get(Copy copy, int outputs, int inputs, bool turn, ElementType type, WorkerPool pool)
    {
        PackedMatrix packed = copy.Matrix ??= new PackedMatrix(outputs, inputs, type);
        if (!copy.IsStale)
        {
            return packed;
        }

        ReadOnlySpan<float> current = values is null ? Unpack() : values.AsSpan(offset, rows * Columns);
        if (type == ElementType.F32)
        {
            Pack(packed, 0, turn, MemoryMarshal.AsBytes(current), type, pool);
        }
        else
        {
            ushort[] halves = ArrayPool<ushort>.Shared.Rent(rows * Columns);
            Span<ushort> used = halves.AsSpan(0, rows * Columns);
            Narrow.ToBF16(current, used, pool);
            Pack(packed, 0, turn, MemoryMarshal.AsBytes(used), type, pool);
            ArrayPool<ushort>.Shared.Return(halves);
        }

        copy.IsStale = false;
        return packed;
    }

    static void Pack(
        PackedMatrix packed,
        int first,
        bool turn,
        ReadOnlySpan<byte> bytes,
        ElementType type,
        WorkerPool pool,
        int? count = null
    )
    {
        if (turn)
        {
            packed.PackTransposed(first, count ?? packed.Rows, bytes, type, pool);
        }
        else
        {
            packed.PackRows(first, count ?? packed.Rows, bytes, type, pool);
        }
    }

    float[] Unpack()
    {
        float[] unpacked = GC.AllocateUninitializedArray<float>(rows * Columns);
        for (int row = 0; row < rows; row++)
        {
            matrix.UnpackRow(firstRow + row, unpacked.AsSpan(row * Columns, Columns));
        }

        return unpacked;
    }

    /// <summary>Hands the master values to the forward pass.</summary>
    public void Repack(WorkerPool pool)
    {
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(values.AsSpan(offset, rows * Columns));
        Pack(matrix, firstRow, turned, bytes, ElementType.F32, pool, rows);
        transpose.IsStale = rounded.IsStale = turnedRounded.IsStale = true;
    }

    /// <summary>Adds what the rows of x and of the gradient of W x tell about W.</summary>
    /// <param name="x">[n, columns]</param>
    /// <param name="dy">[n, rows]</param>
    /// <param name="pool">Threads.</param>
    /// <param name="round">Whether both may be rounded to bf16.</param>
    public void AddGradient(Tensors.Tensor x, Tensors.Tensor dy, WorkerPool pool, bool round = false)
    {
        (Tensors.Tensor a, Tensors.Tensor b) = turned ? (x, dy) : (dy, x);
        MatMul.ApplyTransposed(
            a.Data,
            a.Stride,
            b.Data,
            b.Stride,
            gradient.AsSpan(offset, rows * Columns),
            b.Width,
            a.Rows,
            a.Width,
            b.Width,
            pool,
            accumulate: true,
            mayRound: round
        );
    }

    public void Dispose()
    {
        foreach (Copy copy in (Copy[])[transpose, rounded, turnedRounded])
        {
            copy.Matrix?.Dispose();
        }
    }
}
