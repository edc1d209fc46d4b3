using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace VlmSharp.Formats;

/// <summary>Reads and checks the JSON header of a safetensors file.</summary>
/// <remarks>
/// A file is <c>u64 N (little endian), N bytes of JSON, data</c>. The JSON maps tensor names to <c>dtype</c>, <c>shape</c> and
/// <c>data_offsets</c> [begin, end) into the data; <c>__metadata__</c> maps strings to strings. The rules and limits are those of the
/// reference implementation (huggingface/safetensors): the tensors tile the data without gap or overlap, and the file ends with the last.
/// The header is read in place, token by token, so that memory grows only with the tensors that are really described.
/// </remarks>
ref struct SafetensorsHeader
{
    /// <summary>The reference implementation's limit.</summary>
    public const int MaxBytes = 100_000_000;

    /// <summary>The length field before the header.</summary>
    public const int LengthBytes = 8;

    const int MaxRank = 16;

    // Of a list that may be empty.
    const int Absent = -1;

    readonly string file;
    readonly long dataStart;
    readonly long dataLength;
    readonly Dictionary<string, TensorInfo> tensors = new(StringComparer.Ordinal);
    readonly Dictionary<string, string> metadata = new(StringComparer.Ordinal);
    Utf8JsonReader json;
    bool hasMetadata;

    SafetensorsHeader(string file, ReadOnlySpan<byte> header, long fileLength)
    {
        this.file = file;
        dataStart = LengthBytes + header.Length;
        dataLength = fileLength - dataStart;
        json = new Utf8JsonReader(header, new JsonReaderOptions { MaxDepth = 8 });
    }

    /// <summary>Checks the length field: how many bytes of header follow it.</summary>
    public static int CheckLength(string file, ulong length, long fileLength)
    {
        if (length > MaxBytes)
        {
            throw new CheckpointException(
                file,
                $"the first 8 bytes announce a header of {length} bytes, at most {MaxBytes} are allowed; this is no safetensors file, or it is damaged"
            );
        }

        long end = LengthBytes + (long)length;
        return end <= fileLength
            ? (int)length
            : throw new CheckpointException(
                file,
                $"the header ends at byte {end}, the file has {fileLength}; it is truncated or damaged: copy or download it again"
            );
    }

    /// <summary>Reads the header and checks every tensor against the file's length and the other tensors.</summary>
    public static (Dictionary<string, TensorInfo> Tensors, Dictionary<string, string> Metadata) Read(
        string file,
        ReadOnlySpan<byte> header,
        long fileLength
    )
    {
        if (header.IsEmpty || header[0] != (byte)'{')
        {
            throw new CheckpointException(file, $"the header of {header.Length} bytes does not start with '{{'");
        }

        if (!Utf8.IsValid(header))
        {
            throw new CheckpointException(file, "the header is not UTF-8 text");
        }

        SafetensorsHeader reader = new(file, header, fileLength);
        try
        {
            reader.ReadObject();
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw CheckpointFile.InvalidJson(file, "the header is", e);
        }

        reader.CheckLayout();
        return (reader.tensors, reader.metadata);
    }

    void ReadObject()
    {
        json.Read();
        while (NextName() is { } name)
        {
            if (name == "__metadata__")
            {
                ReadMetadata();
            }
            else if (!tensors.TryAdd(name, ReadTensor(name)))
            {
                throw Error(name, "is described twice");
            }
        }

        // A well-formed document ends here; anything but blanks after it makes the reader throw.
        json.Read();
    }

    void ReadMetadata()
    {
        if (hasMetadata)
        {
            throw new CheckpointException(file, "the header has two '__metadata__' objects");
        }

        hasMetadata = true;
        Expect(JsonTokenType.StartObject, "the header's", "__metadata__", "an object");
        while (NextName() is { } key)
        {
            Expect(JsonTokenType.String, "the metadata entry", key, "a string");
            if (!metadata.TryAdd(key, json.GetString()!))
            {
                throw new CheckpointException(file, $"the header's '__metadata__' has {Quote.Name(key)} twice");
            }
        }
    }

    TensorInfo ReadTensor(string name)
    {
        Expect(JsonTokenType.StartObject, "tensor", name, "an object");
        SafetensorsType? type = null;
        Span<long> shape = stackalloc long[MaxRank];
        Span<long> offsets = stackalloc long[2];
        int rank = Absent;
        int ends = Absent;
        while (NextName() is { } field)
        {
            switch (field)
            {
                case "dtype" when type is null:
                    type = ReadType(name);
                    break;
                case "shape" when rank == Absent:
                    rank = ReadNumbers("shape of tensor", name, shape);
                    break;
                case "data_offsets" when ends == Absent:
                    ends = ReadNumbers("data_offsets of tensor", name, offsets);
                    break;
                case "dtype" or "shape" or "data_offsets":
                    throw Error(name, $"has '{field}' twice");
                default:
                    // The reference implementation passes over fields it does not know.
                    json.Read();
                    json.Skip();
                    break;
            }
        }

        return Check(
            name,
            type ?? throw Error(name, "has no 'dtype'"),
            rank != Absent ? shape[..rank] : throw Error(name, "has no 'shape'"),
            ends != Absent ? offsets[..ends] : throw Error(name, "has no 'data_offsets'")
        );
    }

    SafetensorsType ReadType(string name)
    {
        Expect(JsonTokenType.String, "dtype of tensor", name, "a string");
        string text = json.GetString()!;
        return SafetensorsTypes.TryParse(text, out SafetensorsType type)
            ? type
            : throw Error(name, $"has dtype {Quote.Name(text)}, which safetensors does not define");
    }

    int ReadNumbers(string place, string name, scoped Span<long> numbers)
    {
        Expect(JsonTokenType.StartArray, place, name, "a list of integers");
        int count = 0;
        while (json.Read() && json.TokenType != JsonTokenType.EndArray)
        {
            if (json.TokenType != JsonTokenType.Number || !json.TryGetInt64(out long number) || number < 0)
            {
                throw new CheckpointException(
                    file,
                    $"{place} {Quote.Name(name)} has the item {Found()}, expected an integer of 0 or more"
                );
            }

            if (count == numbers.Length)
            {
                throw new CheckpointException(file, $"{place} {Quote.Name(name)} has more than {numbers.Length} items");
            }

            numbers[count++] = number;
        }

        return count;
    }

    readonly TensorInfo Check(
        string name,
        SafetensorsType type,
        scoped ReadOnlySpan<long> shape,
        scoped ReadOnlySpan<long> offsets
    )
    {
        if (offsets.Length != 2)
        {
            throw Error(name, $"has {offsets.Length} data_offsets, expected 2");
        }

        (long begin, long end) = (offsets[0], offsets[1]);
        if (begin > end)
        {
            throw Error(name, $"has data_offsets that end at {end} before they start at {begin}");
        }

        if (end > dataLength)
        {
            throw Error(
                name,
                $"ends at byte {(Int128)dataStart + end} of the file, which has {dataStart + dataLength}; it is truncated or damaged: copy or download it again"
            );
        }

        int[] dimensions = new int[shape.Length];
        Int128 count = 1;
        for (int i = 0; i < shape.Length; i++)
        {
            // Each factor is below 2^31, so the product of one more cannot overflow 128 bits while it stays below 2^63.
            dimensions[i] = shape[i] <= int.MaxValue ? (int)shape[i] : throw TooLarge(name, shape);
            count *= dimensions[i];
            if (count > long.MaxValue)
            {
                throw TooLarge(name, shape);
            }
        }

        Int128 bits = count * type.Bits();
        if (bits != (Int128)(end - begin) * 8)
        {
            string size = bits % 8 == 0 ? $"{bits / 8} bytes" : $"{bits} bits";
            throw Error(
                name,
                $"is {type} {TensorInfo.Text(dimensions)}, which takes {size}, but its data_offsets [{begin}, {end}] hold {end - begin} bytes"
            );
        }

        return new TensorInfo(name, type, dimensions, (long)count, dataStart + begin, end - begin, file);
    }

    readonly void CheckLayout()
    {
        TensorInfo[] order = [.. tensors.Values];
        Array.Sort(order, static (a, b) => (a.Offset, a.Size).CompareTo((b.Offset, b.Size)));
        long end = dataStart;
        TensorInfo? last = null;
        foreach (TensorInfo tensor in order)
        {
            if (tensor.Offset != end)
            {
                string conflict = tensor.Offset < end ? "they overlap" : "a gap";
                throw Error(tensor.Name, $"starts at byte {tensor.Offset}, {Place(last)} ends at {end}: {conflict}");
            }

            end += tensor.Size;
            last = tensor;
        }

        long length = dataStart + dataLength;
        if (end != length)
        {
            throw new CheckpointException(
                file,
                $"has {length} bytes, {Place(last)} ends at {end}: the rest belongs to no tensor"
            );
        }

        static string Place(TensorInfo? tensor) => tensor is null ? "the header" : $"tensor {Quote.Name(tensor.Name)}";
    }

    // The next field's name, or null at the end of the object.
    string? NextName() => json.Read() && json.TokenType == JsonTokenType.PropertyName ? json.GetString() : null;

    void Expect(JsonTokenType token, string place, string name, string expected)
    {
        json.Read();
        if (json.TokenType != token)
        {
            throw new CheckpointException(file, $"{place} {Quote.Name(name)} is {Found()}, expected {expected}");
        }
    }

    readonly string Found() =>
        json.TokenType switch
        {
            JsonTokenType.StartObject => "an object",
            JsonTokenType.StartArray => "a list",
            JsonTokenType.String => $"the string {Quote.Name(json.GetString()!)}",
            JsonTokenType.Number => Encoding.ASCII.GetString(json.ValueSpan[..Math.Min(json.ValueSpan.Length, 40)]),
            _ => json.TokenType.ToString().ToLowerInvariant(),
        };

    readonly CheckpointException TooLarge(string name, scoped ReadOnlySpan<long> shape) =>
        Error(
            name,
            $"has the shape [{string.Join(", ", shape.ToArray())}], which is more than the {dataLength} bytes of data in the file"
        );

    readonly CheckpointException Error(string name, string message) =>
        new(file, $"tensor {Quote.Name(name)} {message}");
}
