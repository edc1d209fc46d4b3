using VlmSharp.Media.Images;

namespace VlmSharp.Media.Processes;

/// <summary>A program of the machine that does work for this library.</summary>
/// <param name="Name">What it is called: <c>ffprobe</c>.</param>
/// <param name="Package">The Debian package that has it.</param>
public sealed record ExternalProgram(string Name, string Package)
{
    // For users whose search path leaves them out.
    static readonly string[] UsualDirectories = ["/usr/local/bin", "/usr/bin", "/bin"];

    /// <summary>Whether it is on this machine.</summary>
    public bool IsInstalled => Find(Name) is not null;

    /// <summary>Its absolute path.</summary>
    /// <exception cref="MediaException">It is not on this machine; the message names the package.</exception>
    public string Path =>
        Find(Name)
        ?? throw new MediaException(
            Name,
            $"this program is needed but neither in PATH nor in {string.Join(", ", UsualDirectories)}; install the package {Package} (apt-get install {Package})"
        );

    /// <summary>The first executable file of this name in PATH or the usual directories.</summary>
    internal static string? Find(string name)
    {
        string path = Environment.GetEnvironmentVariable("PATH") ?? "";
        return path.Split(System.IO.Path.PathSeparator)
            .Where(System.IO.Path.IsPathFullyQualified) // a relative entry would run what lies in the working directory
            .Concat(UsualDirectories)
            .Select(directory => System.IO.Path.Combine(directory, name))
            .FirstOrDefault(IsExecutable);
    }

    static bool IsExecutable(string file) =>
        File.Exists(file)
        && (
            OperatingSystem.IsWindows()
            || (
                File.GetUnixFileMode(file)
                & (UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute)
            ) != UnixFileMode.None
        );
}
