namespace VlmSharp.Testing;

/// <summary>A new empty directory that is deleted with everything in it.</summary>
public sealed class TemporaryDirectory : IDisposable
{
    /// <summary>Where it is.</summary>
    public string Path { get; } = Directory.CreateTempSubdirectory("vlmsharp-").FullName;

    /// <summary>A copy of a directory with everything in it.</summary>
    public static TemporaryDirectory CopyOf(string source)
    {
        TemporaryDirectory copy = new();
        foreach (string file in Directory.GetFiles(source, "*", SearchOption.AllDirectories))
        {
            string target = copy[System.IO.Path.GetRelativePath(source, file)];
            Directory.CreateDirectory(System.IO.Path.GetDirectoryName(target)!);
            File.Copy(file, target);
            File.SetAttributes(target, FileAttributes.Normal); // a read-only original makes a read-only copy
        }

        return copy;
    }

    /// <summary>A path inside it.</summary>
    public string this[string name] => System.IO.Path.Combine(Path, name);

    /// <summary>Writes a file and returns its path.</summary>
    public string Write(string name, string text)
    {
        File.WriteAllText(this[name], text);
        return this[name];
    }

    /// <summary>Writes a file and returns its path.</summary>
    public string Write(string name, byte[] bytes)
    {
        File.WriteAllBytes(this[name], bytes);
        return this[name];
    }

    /// <summary>Deletes it; symbolic links are removed, not followed.</summary>
    public void Dispose() => Directory.Delete(Path, recursive: true);
}
