using System.Globalization;
using VlmSharp.Formats;
using VlmSharp.Kernels;

namespace VlmSharp.Training.Recipes;

/// <summary>Checkpoints of a run in a directory: one for each number of updates, whole or not there at all.</summary>
/// <remarks>
/// A checkpoint is written beside the others under another name, goes to the disk, and is then renamed; only when that has gone to the
/// disk as well are the earlier ones deleted. So there is a whole one at any moment, whatever ends the program.
/// </remarks>
/// <param name="directory">Where they are.</param>
public sealed class CheckpointStore(string directory)
{
    const string Prefix = "updates-";
    const string Unfinished = ".writing";
    const string Old = ".old";

    /// <summary>The newest checkpoint; null where there is none.</summary>
    public string? Latest => Whole().Select(found => found.Path).LastOrDefault();

    IEnumerable<(int Updates, string Path)> Whole() =>
        Directory.Exists(directory)
            ? Directory
                .GetDirectories(directory, $"{Prefix}*")
                .Select(path => (Text: Path.GetFileName(path)[Prefix.Length..], Path: path))
                .Where(found => found.Text.All(char.IsAsciiDigit) && int.TryParse(found.Text, out _))
                .Select(found => (int.Parse(found.Text, CultureInfo.InvariantCulture), found.Path))
                .OrderBy(found => found.Item1)
            : [];

    /// <summary>Writes a checkpoint and deletes the earlier ones.</summary>
    /// <param name="updates">Its number; one that is there already stays as it is.</param>
    /// <param name="write">Writes files into a directory, each to the disk.</param>
    /// <exception cref="IOException">It cannot be written; the earlier ones are still there.</exception>
    public void Save(int updates, Action<string> write)
    {
        ArgumentNullException.ThrowIfNull(write);
        string path = Path.Combine(directory, string.Create(CultureInfo.InvariantCulture, $"{Prefix}{updates:d9}"));
        if (!Directory.Exists(path))
        {
            string unfinished = path + Unfinished;
            Directory.CreateDirectory(directory);
            Delete(unfinished);
            Directory.CreateDirectory(unfinished);
            write(unfinished);
            DirectoryEntries.Sync(unfinished);
            Directory.Move(unfinished, path);
            DirectoryEntries.Sync(directory);
        }

        Clean(path);
    }

    // Under another name first: what is half deleted must not look whole.
    void Clean(string kept)
    {
        foreach ((_, string path) in Whole().Where(found => found.Path != kept))
        {
            Delete(path + Old);
            Directory.Move(path, path + Old);
        }

        foreach (string path in Directory.GetDirectories(directory, $"{Prefix}*"))
        {
            if (path.EndsWith(Unfinished, StringComparison.Ordinal) || path.EndsWith(Old, StringComparison.Ordinal))
            {
                Delete(path);
            }
        }
    }

    static void Delete(string path)
    {
        if (Directory.Exists(path))
        {
            Directory.Delete(path, recursive: true);
        }
    }
}
