using System.Text.Json;
using VlmSharp.Kernels;

namespace VlmSharp.Formats;

/// <summary>Reads the small files of a checkpoint whole, with a limit, maps the large ones, and turns what the system reports into errors that name the file.</summary>
internal static class CheckpointFile
{
    /// <summary>The bytes of a regular file of 1 .. <paramref name="maxBytes"/> bytes.</summary>
    /// <exception cref="CheckpointException">The file is missing, empty, too large, no regular file, or cannot be read.</exception>
    public static byte[] Read(string path, long maxBytes)
    {
        long length = Length(path);
        if (length > maxBytes)
        {
            throw new CheckpointException(
                Name(path),
                $"has {length} bytes, at most {maxBytes} are read from such a file"
            );
        }

        try
        {
            using FileStream stream = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            byte[] bytes = new byte[length];
            int read = stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
            return read == bytes.Length
                ? bytes
                : throw new CheckpointException(
                    Name(path),
                    $"ended after {read} bytes while it was read, expected {length}"
                );
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(path, e);
        }
    }

    /// <summary>The size in bytes of what the path (or the symbolic link there) leads to; never 0.</summary>
    /// <remarks>
    /// Pipes and devices report a size of 0, so that they are refused here and never opened: opening a pipe would wait for a writer.
    /// </remarks>
    /// <exception cref="CheckpointException">The file is missing, empty, or a directory.</exception>
    public static long Length(string path)
    {
        try
        {
            if (Directory.Exists(path))
            {
                throw new CheckpointException(Name(path), "is a directory, expected a file");
            }

            // Caches of downloaded checkpoints are made of symbolic links.
            FileSystemInfo file = File.ResolveLinkTarget(path, returnFinalTarget: true) ?? new FileInfo(path);
            if (!file.Exists)
            {
                throw new CheckpointException(Name(path), $"does not exist ({Path.GetFullPath(path)})");
            }

            long length = ((FileInfo)file).Length;
            return length > 0 ? length : throw new CheckpointException(Name(path), "is empty or not a regular file");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(path, e);
        }
    }

    /// <summary>Maps a regular file, and unmaps it again where what is read of it fails.</summary>
    /// <exception cref="CheckpointException">The file is missing, empty, no regular file, or cannot be read.</exception>
    public static T Map<T>(string path, Func<MappedFile, T> read)
    {
        Length(path);
        MappedFile mapped;
        try
        {
            mapped = MappedFile.Open(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(path, e);
        }

        try
        {
            return read(mapped);
        }
        catch
        {
            mapped.Dispose();
            throw;
        }
    }

    /// <summary>How messages name a file: without its directory, which the user gave.</summary>
    public static string Name(string path) => Path.GetFileName(path);

    /// <summary>What the JSON reader found, with lines and bytes counted from 1 and without its advice to programmers.</summary>
    /// <param name="file">The file's name.</param>
    /// <param name="what">What is no JSON, with its verb: <c>the header is</c>.</param>
    /// <param name="e">
    /// A <see cref="JsonException"/>, or the InvalidOperationException of an escape such as \ud800 that is no character.
    /// </param>
    public static CheckpointException InvalidJson(string file, string what, Exception e)
    {
        string reason = e.Message.Split(" LineNumber:")[0].Replace(" Change the reader options.", "");
        return e is JsonException { LineNumber: { } line, BytePositionInLine: { } at }
            ? new CheckpointException(file, $"{what} not valid JSON at line {line + 1}, byte {at + 1}: {reason}", e)
            : new CheckpointException(file, $"{what} not valid JSON: {reason}", e);
    }

    /// <summary>An error of the file system, with the whole path where nothing is there.</summary>
    public static CheckpointException Unreadable(string path, Exception e) =>
        e is FileNotFoundException or DirectoryNotFoundException
            ? new CheckpointException(Name(path), $"does not exist ({Path.GetFullPath(path)})", e)
            : new CheckpointException(Name(path), $"cannot be read: {e.Message}", e);
}
