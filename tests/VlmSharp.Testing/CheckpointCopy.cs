using System.Text;
using System.Text.Json.Nodes;

namespace VlmSharp.Testing;

/// <summary>A copy of a checkpoint directory that can be damaged: made of links to the original's files until one is written.</summary>
public sealed class CheckpointCopy : IDisposable
{
    readonly TemporaryDirectory directory = new();
    readonly HashSet<string> changed = [];
    readonly string original;

    /// <summary>Links all files of a directory.</summary>
    public CheckpointCopy(string original)
    {
        this.original = System.IO.Path.GetFullPath(original);
        foreach (string file in Directory.EnumerateFiles(this.original))
        {
            Link(System.IO.Path.GetFileName(file));
        }
    }

    /// <summary>Where the copy is.</summary>
    public string Path => directory.Path;

    /// <summary>A file's bytes.</summary>
    public byte[] Read(string file) => File.ReadAllBytes(directory[file]);

    /// <summary>Removes a file.</summary>
    public void Delete(string file)
    {
        changed.Add(file);
        File.Delete(directory[file]);
    }

    /// <summary>Undoes all changes.</summary>
    public void Restore()
    {
        foreach (string file in changed)
        {
            if (Directory.Exists(directory[file]))
            {
                Directory.Delete(directory[file]);
            }

            File.Delete(directory[file]);
            if (File.Exists(System.IO.Path.Combine(original, file)))
            {
                Link(file);
            }
        }

        changed.Clear();
    }

    /// <summary>Replaces or creates a file.</summary>
    public void Write(string file, ReadOnlySpan<byte> bytes)
    {
        Delete(file); // the link, so that the original is never written to
        File.WriteAllBytes(directory[file], bytes);
    }

    /// <summary>Replaces or creates a text file.</summary>
    public void Write(string file, string text) => Write(file, Encoding.UTF8.GetBytes(text));

    /// <summary>Replaces a file by one that has only a size: its zeros take no space.</summary>
    public void WriteSparse(string file, long length)
    {
        Delete(file);
        using FileStream stream = File.Create(directory[file]);
        stream.SetLength(length);
    }

    /// <summary>Replaces a file by a directory of its name.</summary>
    public void MakeDirectory(string file)
    {
        Delete(file);
        Directory.CreateDirectory(directory[file]);
    }

    /// <summary>Replaces a file by a link to a file that does not exist.</summary>
    public void MakeDanglingLink(string file)
    {
        Delete(file);
        File.CreateSymbolicLink(directory[file], directory["no-such-file"]);
    }

    /// <summary>Cuts a file to the first bytes.</summary>
    public void Truncate(string file, long length) => Write(file, Read(file).AsSpan(0, (int)length));

    /// <summary>Changes a text file as text.</summary>
    public void Text(string file, Func<string, string> change) =>
        Write(file, change(Encoding.UTF8.GetString(Read(file))));

    /// <summary>Changes a JSON file as a tree.</summary>
    public void Json(string file, Action<JsonObject> change) => Text(file, text => Changed(text, change));

    /// <summary>Changes the header of a safetensors file as text; the length field follows, the data stays.</summary>
    public void HeaderText(string file, Func<string, string> change)
    {
        (string header, byte[] data) = SafetensorsWriter.Split(Read(file));
        Write(file, SafetensorsWriter.Join(change(header), data));
    }

    /// <summary>Changes the header of a safetensors file as a tree.</summary>
    public void Header(string file, Action<JsonObject> change) => HeaderText(file, text => Changed(text, change));

    /// <inheritdoc/>
    public void Dispose() => directory.Dispose();

    void Link(string file) => File.CreateSymbolicLink(directory[file], System.IO.Path.Combine(original, file));

    static string Changed(string text, Action<JsonObject> change)
    {
        JsonObject root = JsonNode.Parse(text)!.AsObject();
        change(root);
        return root.ToJsonString();
    }
}
