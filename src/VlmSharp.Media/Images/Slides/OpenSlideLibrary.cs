using System.Runtime.InteropServices;

namespace VlmSharp.Media.Images.Slides;

/// <summary>The functions of OpenSlide that are used, where it is installed; nothing else needs it.</summary>
/// <remarks>Names and signatures are those of <c>openslide.h</c>, the same in versions 3.4 and 4.</remarks>
internal static unsafe class OpenSlideLibrary
{
    /// <summary>Tells people what to do where it is missing.</summary>
    internal const string Install =
        "slides of microscopes are read with OpenSlide, which is not on this machine: install the package libopenslide0 (Debian, Ubuntu: sudo apt-get install libopenslide0; macOS: brew install openslide)";

    static readonly string[] Names =
        OperatingSystem.IsWindows() ? ["libopenslide-1.dll", "libopenslide-0.dll"]
        : OperatingSystem.IsMacOS()
            ?
            [
                "libopenslide.1.dylib",
                "libopenslide.0.dylib",
                "/opt/homebrew/lib/libopenslide.1.dylib",
                "/usr/local/lib/libopenslide.1.dylib",
            ]
        : ["libopenslide.so.1", "libopenslide.so.0"];

    static readonly Lazy<nint> Library = new(() =>
    {
        foreach (string name in Names)
        {
            if (NativeLibrary.TryLoad(name, out nint handle))
            {
                return handle;
            }
        }

        return 0;
    });

    internal static bool IsInstalled => Library.Value != 0;

    /// <summary>Which vendor's format a file is in, as OpenSlide names it: "aperio", "hamamatsu", ...; null for none.</summary>
    internal static string? DetectVendor(string path)
    {
        var detect = (delegate* unmanaged[Cdecl]<byte*, byte*>)Export("openslide_detect_vendor");
        return WithUtf8(path, text => Text(detect(text)));
    }

    /// <summary>A handle, or 0 where no reader takes the file.</summary>
    internal static nint Open(string path)
    {
        var open = (delegate* unmanaged[Cdecl]<byte*, nint>)Export("openslide_open");
        return WithUtf8(path, text => open(text));
    }

    internal static void Close(nint slide) =>
        ((delegate* unmanaged[Cdecl]<nint, void>)Export("openslide_close"))(slide);

    /// <summary>What went wrong, null if nothing did. After the first error every call fails.</summary>
    internal static string? Error(nint slide) =>
        Text(((delegate* unmanaged[Cdecl]<nint, byte*>)Export("openslide_get_error"))(slide));

    internal static int LevelCount(nint slide) =>
        ((delegate* unmanaged[Cdecl]<nint, int>)Export("openslide_get_level_count"))(slide);

    internal static (long Width, long Height, double Downsample) Level(nint slide, int level)
    {
        (long width, long height) = (0, 0);
        ((delegate* unmanaged[Cdecl]<nint, int, long*, long*, void>)Export("openslide_get_level_dimensions"))(
            slide,
            level,
            &width,
            &height
        );
        double downsample = ((delegate* unmanaged[Cdecl]<nint, int, double>)Export("openslide_get_level_downsample"))(
            slide,
            level
        );
        return (width, height, downsample);
    }

    internal static string? Property(nint slide, string name)
    {
        var get = (delegate* unmanaged[Cdecl]<nint, byte*, byte*>)Export("openslide_get_property_value");
        return WithUtf8(name, text => Text(get(slide, text)));
    }

    /// <summary>Fills pixels of 32 bits: alpha, red, green, blue from the highest byte, colours multiplied by alpha.</summary>
    /// <param name="slide">The handle.</param>
    /// <param name="pixels">[height, width].</param>
    /// <param name="x">In pixels of the full picture.</param>
    /// <param name="y">In pixels of the full picture.</param>
    /// <param name="level">Whose pixels are read.</param>
    /// <param name="width">In pixels of the level.</param>
    /// <param name="height">In pixels of the level.</param>
    internal static void ReadRegion(nint slide, Span<uint> pixels, long x, long y, int level, long width, long height)
    {
        fixed (uint* to = pixels)
        {
            (
                (delegate* unmanaged[Cdecl]<nint, uint*, long, long, int, long, long, void>)Export(
                    "openslide_read_region"
                )
            )(slide, to, x, y, level, width, height);
        }
    }

    static nint Export(string function) => NativeLibrary.GetExport(Library.Value, function);

    static string? Text(byte* text) => Marshal.PtrToStringUTF8((nint)text);

    delegate T Call<T>(byte* text);

    static T WithUtf8<T>(string text, Call<T> call)
    {
        nint copy = Marshal.StringToCoTaskMemUTF8(text);
        try
        {
            return call((byte*)copy);
        }
        finally
        {
            Marshal.FreeCoTaskMem(copy);
        }
    }
}
