using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace VlmSharp.Media.Images.Vips;

/// <summary>Finds libvips, starts it once, and shuts everything in it that untrusted bytes have no business reaching.</summary>
/// <remarks>
/// The block list is libvips' own and therefore holds for the whole process: other users of libvips in it can open no files
/// through it either.
/// </remarks>
internal static unsafe class VipsLibrary
{
    /// <summary>Names one self-contained libvips, where the system's is absent: npm's @img/sharp-libvips-linux-x64 has such a file.</summary>
    internal const string PathVariable = "VLM_LIBVIPS";

    /// <summary>
    /// The only loaders that stay open: those that read these formats from memory or from a stream that the caller opened,
    /// never from what a name or an address leads to.
    /// </summary>
    internal static readonly string[] AllowedLoaders =
    [
        "VipsForeignLoadJpegBuffer",
        "VipsForeignLoadPngBuffer",
        "VipsForeignLoadWebpBuffer",
        "VipsForeignLoadNsgifBuffer",
        "VipsForeignLoadTiffBuffer",
        "VipsForeignLoadHeifBuffer",
        "VipsForeignLoadJpegSource",
        "VipsForeignLoadPngSource",
        "VipsForeignLoadTiffSource",
    ];

    static readonly Lock Gate = new();
    static nint vips;
    static nint gobject;
    static nint glib;
    static bool resolverIsSet;
    static volatile bool started;

    /// <summary>Call before anything of <see cref="Native"/>. Costs one read once it has succeeded; tries again after a failure.</summary>
    /// <exception cref="MediaException">The library is not there, too old, or does not start; the message says what to do.</exception>
    internal static void EnsureLoaded()
    {
        if (started)
        {
            return;
        }

        lock (Gate)
        {
            if (!started)
            {
                string? path = Environment.GetEnvironmentVariable(PathVariable);
                (vips, gobject, glib) = Load(string.IsNullOrEmpty(path) ? null : path, SystemNames());
                if (!resolverIsSet)
                {
                    NativeLibrary.SetDllImportResolver(typeof(VipsLibrary).Assembly, Resolve);
                    resolverIsSet = true;
                }

                Start();
                started = true;
            }
        }
    }

    /// <summary>The address of a function of libvips that <see cref="Native"/> does not declare.</summary>
    internal static nint Export(string function)
    {
        EnsureLoaded();
        return NativeLibrary.GetExport(vips, function);
    }

    /// <summary>What libvips had to say since the last call, in one line; the call clears it.</summary>
    /// <remarks>libvips keeps one such text for the whole process: pictures that fail at the same moment may read each other's.</remarks>
    internal static string TakeError()
    {
        byte* text = Native.vips_error_buffer_copy();
        string message = Marshal.PtrToStringUTF8((nint)text) ?? "";
        Native.g_free(text);
        // Parts of it come from the file.
        string line = string.Concat(message.Trim().Select(c => char.IsControl(c) ? ' ' : c));
        return line switch
        {
            "" => "no further message",
            // The end is the latest: what stands before it may be another picture's.
            { Length: > 300 } => "..." + line[^300..],
            _ => line,
        };
    }

    /// <summary>Loads one self-contained library, or the three of the system.</summary>
    /// <param name="path">The self-contained one, or null.</param>
    /// <param name="names">File names of libvips, GObject and GLib, and where else to look for them.</param>
    internal static (nint Vips, nint GObject, nint GLib) Load(string? path, in LibraryNames names)
    {
        if (path is not null)
        {
            return
                NativeLibrary.TryLoad(path, out nint one)
                && NativeLibrary.TryGetExport(one, "vips_init", out _)
                && NativeLibrary.TryGetExport(one, "g_log_set_handler", out _)
                ? (one, one, one)
                : throw new MediaException(
                    "libvips",
                    $"{PathVariable} names {path}, which is not there or cannot be loaded; it must be one library with libvips and GLib inside, for this processor"
                );
        }

        if (
            names.TryLoad(names.Vips, out nint loadedVips)
            && names.TryLoad(names.GObject, out nint loadedGObject)
            && names.TryLoad(names.GLib, out nint loadedGLib)
        )
        {
            return (loadedVips, loadedGObject, loadedGLib);
        }

        throw new MediaException(
            "libvips",
            $"{names.Vips} is not on this machine, and pictures are decoded with it. Install the package libvips42 "
                + "(Debian, Ubuntu: sudo apt-get install libvips42; macOS: brew install vips), "
                + $"or let {PathVariable} name one self-contained libvips"
        );
    }

    internal static LibraryNames SystemNames() =>
        OperatingSystem.IsWindows() ? new("libvips-42.dll", "libgobject-2.0-0.dll", "libglib-2.0-0.dll", [])
        : OperatingSystem.IsMacOS()
            ? new(
                "libvips.42.dylib",
                "libgobject-2.0.0.dylib",
                "libglib-2.0.0.dylib",
                ["/opt/homebrew/lib", "/usr/local/lib"]
            )
        : new("libvips.so.42", "libgobject-2.0.so.0", "libglib-2.0.so.0", []);

    static nint Resolve(string name, Assembly assembly, DllImportSearchPath? searchPath) =>
        name switch
        {
            Native.Vips => vips,
            Native.GObject => gobject,
            Native.GLib => glib,
            _ => 0,
        };

    static void Start()
    {
        (int major, int minor) = (Native.vips_version(0), Native.vips_version(1));
        if ((major, minor).CompareTo((8, 13)) < 0)
        {
            throw new MediaException(
                "libvips",
                $"version {major}.{minor} is installed, at least 8.13 is needed: older ones cannot be restricted to safe loaders"
            );
        }

        if (Native.vips_init("vlm") != 0)
        {
            throw new MediaException("libvips", $"does not start ({TakeError()})");
        }

        Native.vips_operation_block_set("VipsForeignLoad", 1);
        foreach (string loader in AllowedLoaders)
        {
            Native.vips_operation_block_set(loader, 0);
        }

        // Pictures of strangers are not kept for the next one, and a cached operation would outlive the bytes it reads.
        Native.vips_cache_set_max(0);

        // Damaged pictures make libvips print warnings; what is wrong is said in exceptions.
        const int Warning = 1 << 4;
        Native.g_log_set_handler("VIPS", Warning, &Silent, 0);
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static void Silent(nint domain, int level, nint message, nint data) { }

    /// <summary>File names of the three libraries, and directories to look in besides the system's.</summary>
    internal readonly record struct LibraryNames(string Vips, string GObject, string GLib, string[] Directories)
    {
        internal bool TryLoad(string name, out nint handle)
        {
            if (NativeLibrary.TryLoad(name, out handle))
            {
                return true;
            }

            foreach (string directory in Directories)
            {
                if (NativeLibrary.TryLoad(Path.Combine(directory, name), out handle))
                {
                    return true;
                }
            }

            return false;
        }
    }
}
