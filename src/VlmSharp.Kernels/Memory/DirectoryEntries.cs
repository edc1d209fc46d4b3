namespace VlmSharp.Kernels;

/// <summary>What a directory lists, kept through a loss of power.</summary>
public static class DirectoryEntries
{
    /// <summary>Has files that were created, renamed or deleted in a directory written to the disk, where the system can do that.</summary>
    /// <remarks>Their contents are written by <see cref="FileStream.Flush(bool)"/>; a name may still be missing afterwards without this.</remarks>
    public static void Sync(string directory)
    {
        if (!OperatingSystem.IsWindows())
        {
            // A file system that has no such call keeps names in order by other means.
            _ = Posix.SyncDirectory(directory);
        }
    }
}
