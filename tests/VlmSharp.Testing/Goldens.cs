using System.Runtime.CompilerServices;
using Xunit;

namespace VlmSharp.Testing;

/// <summary>Finds golden cases: the copies in <c>tests/goldens</c>, and the full set in <c>../shared</c> beside the checkout.</summary>
public static class Goldens
{
    /// <summary>The root of the checkout.</summary>
    public static string Repository { get; } = FindRepository();

    /// <summary>A path below <c>tests/goldens</c>; it is part of the repository, so its absence is a failure.</summary>
    public static string Local(string relative) => Path.Combine(Repository, "tests", "goldens", relative);

    /// <summary>A path below <c>../shared</c>; the running test is skipped where it is not there.</summary>
    public static string Shared(string relative)
    {
        string path = SharedPath(relative);
        Assert.SkipUnless(Path.Exists(path), $"needs ../shared/{relative}");
        return path;
    }

    /// <summary>Whether <c>../shared</c> has this path. For member data, which cannot skip.</summary>
    public static bool HasShared(string relative) => Path.Exists(SharedPath(relative));

    /// <summary>The path below <c>../shared</c>, whether it exists or not.</summary>
    public static string SharedPath(string relative) => Path.Combine(Repository, "..", "shared", relative);

    static string FindRepository([CallerFilePath] string thisFile = "")
    {
        // Tests run from bin/; walk up from there first, because a deterministic build may map source paths away.
        for (DirectoryInfo? at = new(AppContext.BaseDirectory); at is not null; at = at.Parent)
        {
            if (File.Exists(Path.Combine(at.FullName, "VlmSharp.slnx")))
            {
                return at.FullName;
            }
        }

        return Path.GetFullPath(Path.Combine(Path.GetDirectoryName(thisFile)!, "..", ".."));
    }
}
