using System.Text.Json;
using System.Text.Unicode;
using Microsoft.Win32.SafeHandles;
using VlmSharp.Formats;

namespace VlmSharp.Datasets;

/// <summary>How a file of examples is read.</summary>
public sealed record ExampleFileOptions
{
    /// <summary>The format; told from the first samples where not given.</summary>
    public ExampleFormat? Format { get; init; }

    /// <summary>What paths of media are relative to; the directory of the file where not given.</summary>
    public string? MediaRoot { get; init; }

    /// <summary>Whether a conversation without an answer is broken: it is for training, but can still be asked.</summary>
    public bool NeedAnswers { get; init; } = true;
}

/// <summary>Examples in a file of JSON lines, or of one JSON list.</summary>
/// <remarks>
/// The file is gone through once to find where samples begin and end; a sample is parsed when it is read, and its pictures are decoded when somebody opens
/// them. So a file may be larger than memory. JSON is strict: UTF-8, no NaN, no name twice, at most <see cref="JsonObjectReader.MaxDepth"/> levels. A field <c>task</c>
/// becomes <see cref="Example.Task"/> in every format.
/// </remarks>
/// <example>
/// <code>
/// using ExampleFile data = ExampleFile.Open("train.jsonl");
/// Example first = data.Read(0);
/// </code>
/// </example>
public sealed class ExampleFile : IExampleSource, IDisposable
{
    /// <summary>Longer samples are broken.</summary>
    public const int MaxSampleBytes = 256 << 20;

    const int DetectedSamples = 100;
    const int DetectedBytes = 16 << 20;

    readonly SafeFileHandle file;
    readonly List<SampleEntry> entries;
    readonly (int Line, string Message)? fault; // of the list as a whole; the last "sample" then
    readonly SampleReader reader;

    ExampleFile(string path, SafeFileHandle file, ExampleFileOptions options)
    {
        Name = path;
        this.file = file;
        long start = Start();
        long length = RandomAccess.GetLength(file);
        entries = IsList(start, length)
            ? SampleIndex.List(file, start, length - start, LineOf(start), out fault)
            : SampleIndex.Lines(file, Bom());
        Format = options.Format ?? ExampleFormats.Detect(FirstSamples());
        if (Format == ExampleFormat.Qwen)
        {
            entries = Unpack(entries);
        }

        string root = options.MediaRoot ?? Path.GetDirectoryName(Path.GetFullPath(path))!;
        reader = SampleReader.For(Format, root, options.NeedAnswers);
    }

    /// <summary>Finds the samples of a file.</summary>
    /// <param name="path">A file of JSON lines, or of one JSON list; which one is told from its first character.</param>
    /// <param name="options">How it is read.</param>
    /// <exception cref="CheckpointException">The file is missing, empty or cannot be read.</exception>
    public static ExampleFile Open(string path, ExampleFileOptions? options = null)
    {
        CheckpointFile.Length(path);
        SafeFileHandle? opened = null;
        try
        {
            opened = File.OpenHandle(path);
            return new ExampleFile(path, opened, options ?? new());
        }
        catch (Exception e)
        {
            opened?.Dispose();
            if (e is IOException or UnauthorizedAccessException)
            {
                throw CheckpointFile.Unreadable(path, e);
            }

            throw;
        }
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <summary>How its samples are written.</summary>
    public ExampleFormat Format { get; }

    /// <summary>How many samples there are, broken ones too.</summary>
    public long? Count => Samples;

    /// <inheritdoc cref="Count"/>
    public int Samples => entries.Count + (fault is null ? 0 : 1);

    /// <summary>Which pack of the file a sample belongs to, from 0; -1 for none.</summary>
    public int Pack(long index) => index < entries.Count ? entries[(int)index].Pack : -1;

    /// <summary>The line on which a sample begins, from 1.</summary>
    public int Line(long index) => index < entries.Count ? entries[(int)index].Line : fault!.Value.Line;

    /// <inheritdoc/>
    public Example Read(long index) =>
        TryRead(index, out ExampleFault? wrong)
        ?? throw new CheckpointException($"{Name}:{wrong!.Line}", wrong.Message);

    /// <summary>One of the samples, or what is wrong with it.</summary>
    /// <param name="index">From 0, below <see cref="Samples"/>.</param>
    /// <param name="wrong">Null where nothing is.</param>
    /// <returns>Null where it is broken.</returns>
    /// <exception cref="CheckpointException">The file cannot be read any more.</exception>
    public Example? TryRead(long index, out ExampleFault? wrong) => TryRead(index, reader.Read, out wrong);

    /// <summary>As <see cref="TryRead(long, out ExampleFault?)"/>, with somebody else's view of what a sample is.</summary>
    internal T? TryRead<T>(long index, Func<JsonElement, string, T> read, out ExampleFault? wrong)
        where T : class
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, Samples);
        if (index == entries.Count)
        {
            wrong = new ExampleFault(FaultReason.Json, fault!.Value.Line, fault.Value.Message);
            return null;
        }

        SampleEntry entry = entries[(int)index];
        try
        {
            wrong = null;
            return read(Parse(entry), $"{Name}:{entry.Line}");
        }
        catch (SampleException e)
        {
            wrong = new ExampleFault(e.Reason, entry.Line + e.Lines, e.Message);
        }
        catch (InvalidOperationException e) when (e is not ObjectDisposedException)
        {
            wrong = new ExampleFault(FaultReason.Json, entry.Line, $"is not valid JSON: {e.Message}"); // half of a surrogate pair
        }

        return null;
    }

    /// <summary>The format's own view of a sample.</summary>
    internal Example ReadSample(JsonElement json, string name) => reader.Read(json, name);

    JsonElement Parse(SampleEntry entry)
    {
        if (entry.Length > MaxSampleBytes)
        {
            throw new SampleException(
                FaultReason.Json,
                $"has {entry.Length} bytes, at most {MaxSampleBytes} are read; is every sample on a line of its own?"
            );
        }

        byte[] bytes = Bytes(entry);
        if (!Utf8.IsValid(bytes))
        {
            throw new SampleException(FaultReason.Encoding, "is not UTF-8 text");
        }

        try
        {
            return JsonElement.Parse(
                bytes,
                new JsonDocumentOptions { MaxDepth = JsonObjectReader.MaxDepth, AllowDuplicateProperties = false }
            );
        }
        catch (JsonException e)
        {
            string reason = e.Message.Split(" LineNumber:")[0].Replace(" Change the reader options.", "");
            throw new SampleException(
                FaultReason.Json,
                $"is not valid JSON at byte {e.BytePositionInLine + 1} of the line: {reason}",
                (int)(e.LineNumber ?? 0)
            );
        }
    }

    byte[] Bytes(SampleEntry entry)
    {
        byte[] bytes = new byte[entry.Length];
        for (int at = 0; at < bytes.Length; )
        {
            int read;
            try
            {
                read = RandomAccess.Read(file, bytes.AsSpan(at), entry.Offset + at);
            }
            catch (IOException e)
            {
                throw CheckpointFile.Unreadable(Name, e);
            }

            at += read > 0 ? read : throw new CheckpointException(Name, "has become shorter since it was opened");
        }

        return bytes;
    }

    // Behind a byte order mark.
    long Bom()
    {
        Span<byte> first = stackalloc byte[3];
        return RandomAccess.Read(file, first, 0) == 3 && first.SequenceEqual("\uFEFF"u8) ? 3 : 0;
    }

    // The first character that is no white space.
    long Start()
    {
        byte[] buffer = new byte[4096];
        for (long at = Bom(); ; at += buffer.Length)
        {
            ReadOnlySpan<byte> read = buffer.AsSpan(0, RandomAccess.Read(file, buffer, at));
            int found = read.IndexOfAnyExcept(" \t\r\n"u8);
            if (found >= 0 || read.Length < buffer.Length)
            {
                return found >= 0 ? at + found : RandomAccess.GetLength(file);
            }
        }
    }

    int LineOf(long offset)
    {
        byte[] before = Bytes(new SampleEntry(0, Math.Min(offset, MaxSampleBytes), 1));
        return 1 + before.AsSpan().Count((byte)'\n');
    }

    // A list, unless its first line is one by itself and more follow, as packs on lines do.
    bool IsList(long start, long length)
    {
        Span<byte> first = stackalloc byte[1];
        if (RandomAccess.Read(file, first, start) == 0 || first[0] != '[')
        {
            return false;
        }

        byte[] head = Bytes(new SampleEntry(start, Math.Min(length - start, DetectedBytes), 1));
        int end = head.AsSpan().IndexOf((byte)'\n');
        int next = end < 0 ? -1 : head.AsSpan(end).IndexOfAnyExcept(" \t\r\n"u8);
        if (next < 0 || head[end + next] is not ((byte)'[' or (byte)'{'))
        {
            return true;
        }

        try
        {
            Parse(new SampleEntry(start, end, 1));
            return false;
        }
        catch (SampleException)
        {
            return true; // it goes on behind its first line
        }
    }

    IEnumerable<JsonElement> FirstSamples()
    {
        long bytes = 0;
        foreach (SampleEntry entry in entries.Take(DetectedSamples))
        {
            bytes += entry.Length;
            if (bytes > DetectedBytes)
            {
                yield break;
            }

            JsonElement json;
            try
            {
                json = Parse(entry);
            }
            catch (SampleException)
            {
                continue;
            }

            yield return json;
        }
    }

    List<SampleEntry> Unpack(List<SampleEntry> packed)
    {
        List<SampleEntry> unpacked = new(packed.Count);
        int packs = 0;
        Span<byte> first = stackalloc byte[1];
        foreach (SampleEntry entry in packed)
        {
            List<SampleEntry> samples = [];
            if (RandomAccess.Read(file, first, entry.Offset) == 1 && first[0] == '[')
            {
                samples = SampleIndex.List(file, entry.Offset, entry.Length, entry.Line, out var broken);
                samples = broken is null ? samples : [];
            }

            if (samples.Count == 0)
            {
                unpacked.Add(entry); // no pack, or one whose own error says what is wrong with it
                continue;
            }

            unpacked.AddRange(samples.Select(sample => sample with { Pack = packs }));
            packs++;
        }

        return unpacked;
    }

    /// <summary>Closes the file.</summary>
    public void Dispose() => file.Dispose();
}
