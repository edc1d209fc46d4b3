namespace VlmSharp.Formats;

/// <summary>A mapped file of a checkpoint.</summary>
interface ICheckpointFile : IDisposable
{
    /// <summary>Gives back the memory of the pages that were read; see <see cref="Kernels.MappedFile.ReleasePages"/>.</summary>
    void ReleasePages();
}
