using System.Runtime.InteropServices;

namespace VlmSharp.Media.Images.Vips;

/// <summary>The C functions of libvips and GObject that are used. None is variadic, so the calls are right under every ABI.</summary>
/// <remarks>
/// Names and signatures are those of the C headers. <see cref="VipsLibrary.EnsureLoaded"/> comes before any call: it finds the
/// libraries and reports their absence in words.
/// </remarks>
internal static unsafe partial class Native
{
    internal const string Vips = "vips";
    internal const string GObject = "gobject";
    internal const string GLib = "glib";

    /// <summary>G_TYPE_STRING, a constant of GObject's ABI.</summary>
    internal const nuint StringType = 16 << 2;

    /// <summary>GValue of GObject: a type and two 64-bit words of data.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct GValue
    {
        nuint type;
        ulong data0;
        ulong data1;
    }

    [LibraryImport(Vips, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int vips_init(string argv0);

    [LibraryImport(Vips)]
    internal static partial int vips_version(int flag);

    [LibraryImport(Vips)]
    internal static partial byte* vips_error_buffer_copy();

    [LibraryImport(Vips)]
    internal static partial void vips_cache_set_max(int max);

    [LibraryImport(Vips)]
    internal static partial nuint vips_tracked_get_mem();

    [LibraryImport(Vips, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial void vips_operation_block_set(string name, int state);

    [LibraryImport(Vips, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial nint vips_operation_new(string name);

    [LibraryImport(Vips)]
    internal static partial int vips_cache_operation_buildp(ref nint operation);

    [LibraryImport(Vips)]
    internal static partial void vips_object_unref_outputs(nint operation);

    [LibraryImport(Vips, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int vips_object_set_from_string(nint operation, string options);

    [LibraryImport(Vips)]
    internal static partial nint vips_blob_new(nint free, byte* data, nuint length);

    [LibraryImport(Vips)]
    internal static partial byte* vips_blob_get(nint blob, out nuint length);

    [LibraryImport(Vips)]
    internal static partial nuint vips_blob_get_type();

    [LibraryImport(Vips)]
    internal static partial void vips_area_unref(nint area);

    [LibraryImport(Vips, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial nint vips_source_new_from_file(string path);

    [LibraryImport(Vips)]
    internal static partial nuint vips_source_get_type();

    [LibraryImport(Vips)]
    internal static partial nuint vips_image_get_type();

    [LibraryImport(Vips)]
    internal static partial nint vips_image_new_from_memory_copy(
        byte* data,
        nuint length,
        int width,
        int height,
        int bands,
        int format
    );

    [LibraryImport(Vips)]
    internal static partial int vips_image_get_width(VipsImage image);

    [LibraryImport(Vips)]
    internal static partial int vips_image_get_height(VipsImage image);

    [LibraryImport(Vips)]
    internal static partial int vips_image_get_bands(VipsImage image);

    [LibraryImport(Vips)]
    internal static partial int vips_image_get_format(VipsImage image);

    [LibraryImport(Vips)]
    internal static partial int vips_image_get_coding(VipsImage image);

    [LibraryImport(Vips)]
    internal static partial int vips_image_get_interpretation(VipsImage image);

    [LibraryImport(Vips)]
    internal static partial int vips_image_get_orientation(VipsImage image);

    /// <summary>The GType of a metadata field, 0 where the image has no such field.</summary>
    [LibraryImport(Vips, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial nuint vips_image_get_typeof(VipsImage image, string name);

    [LibraryImport(Vips, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int vips_image_get_int(VipsImage image, string name, out int value);

    [LibraryImport(Vips, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int vips_image_get_array_int(VipsImage image, string name, out int* values, out int count);

    [LibraryImport(Vips)]
    internal static partial nint vips_region_new(VipsImage image);

    /// <summary>Computes the pixels of a rectangle into new memory (g_free); null on error.</summary>
    [LibraryImport(Vips)]
    internal static partial byte* vips_region_fetch(
        nint region,
        int left,
        int top,
        int width,
        int height,
        out nuint length
    );

    [LibraryImport(GObject)]
    internal static partial nint g_object_ref(nint instance);

    [LibraryImport(GObject)]
    internal static partial void g_object_unref(nint instance);

    [LibraryImport(GObject, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial void g_object_set_property(nint instance, string name, ref GValue value);

    [LibraryImport(GObject, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial void g_object_get_property(nint instance, string name, ref GValue value);

    [LibraryImport(GObject)]
    internal static partial nint g_value_init(ref GValue value, nuint type);

    [LibraryImport(GObject)]
    internal static partial void g_value_unset(ref GValue value);

    [LibraryImport(GObject)]
    internal static partial void g_value_set_object(ref GValue value, VipsImage instance);

    [LibraryImport(GObject)]
    internal static partial void g_value_set_object(ref GValue value, nint instance);

    [LibraryImport(GObject)]
    internal static partial nint g_value_get_object(ref GValue value);

    [LibraryImport(GObject, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial void g_value_set_string(ref GValue value, string text);

    [LibraryImport(GObject)]
    internal static partial void g_value_set_boxed(ref GValue value, nint boxed);

    [LibraryImport(GObject)]
    internal static partial nint g_value_get_boxed(ref GValue value);

    [LibraryImport(GLib)]
    internal static partial void g_free(void* memory);

    [LibraryImport(GLib, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial uint g_log_set_handler(
        string domain,
        int levels,
        delegate* unmanaged[Cdecl]<nint, int, nint, nint, void> handler,
        nint data
    );
}
