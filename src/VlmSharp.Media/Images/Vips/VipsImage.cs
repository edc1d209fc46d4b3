using System.Runtime.InteropServices;

namespace VlmSharp.Media.Images.Vips;

/// <summary>A reference to a VipsImage: its header, with the pixels computed when they are asked for.</summary>
/// <remarks>libvips decodes from the caller's array, which stays pinned until the image is released, or from a file.</remarks>
internal sealed unsafe class VipsImage : SafeHandle
{
    static readonly Lock TextGate = new();

    GCHandle pinned;

    VipsImage(nint image, GCHandle pinned = default)
        : base(0, ownsHandle: true)
    {
        SetHandle(image);
        this.pinned = pinned;
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    internal int Width => Native.vips_image_get_width(this);

    /// <summary>Rows; of all frames one below the other when several were asked for.</summary>
    internal int Height => Native.vips_image_get_height(this);

    internal int Bands => Native.vips_image_get_bands(this);

    internal VipsFormat Format => (VipsFormat)Native.vips_image_get_format(this);

    internal VipsInterpretation Interpretation => (VipsInterpretation)Native.vips_image_get_interpretation(this);

    /// <summary>Whether pixels are stored as the format says; some colour spaces of TIFF are packed otherwise.</summary>
    internal bool IsPlain => Native.vips_image_get_coding(this) == 0;

    /// <summary>1 to 8, 1 where the file says nothing or nonsense.</summary>
    internal int Orientation => Native.vips_image_get_orientation(this);

    /// <summary>Reads the header.</summary>
    /// <param name="loader">A libvips operation, such as <c>jpegload_buffer</c>.</param>
    /// <param name="bytes">The file; must not change while the image lives.</param>
    /// <param name="options">As libvips writes them: <c>page=2,n=1</c>.</param>
    /// <returns>Null if the header cannot be read; <see cref="VipsLibrary.TakeError"/> says why.</returns>
    internal static VipsImage? Open(string loader, byte[] bytes, string options)
    {
        VipsLibrary.EnsureLoaded();
        nint operation = Native.vips_operation_new(loader);
        if (operation == 0)
        {
            return null;
        }

        GCHandle pin = GCHandle.Alloc(bytes, GCHandleType.Pinned);
        nint image = 0;
        try
        {
            nint blob = Native.vips_blob_new(0, (byte*)pin.AddrOfPinnedObject(), (nuint)bytes.Length);
            Native.GValue value = default;
            Native.g_value_init(ref value, Native.vips_blob_get_type());
            Native.g_value_set_boxed(ref value, blob);
            Native.g_object_set_property(operation, "buffer", ref value);
            Native.g_value_unset(ref value);
            Native.vips_area_unref(blob);

            image = Build(ref operation, options) ? TakeObject(operation, "out") : 0;
        }
        finally
        {
            Release(operation);
            if (image == 0)
            {
                pin.Free();
            }
        }

        return image == 0 ? null : new VipsImage(image, pin);
    }

    /// <summary>Reads the header; pixels are read from the file when they are asked for.</summary>
    /// <param name="loader">A libvips operation, such as <c>tiffload_source</c>.</param>
    /// <param name="path">The file; must not change while the image lives.</param>
    /// <param name="options">As libvips writes them: <c>page=2,n=1</c>.</param>
    /// <returns>Null if the header cannot be read; <see cref="VipsLibrary.TakeError"/> says why.</returns>
    internal static VipsImage? OpenFile(string loader, string path, string options)
    {
        VipsLibrary.EnsureLoaded();
        nint source = Native.vips_source_new_from_file(path);
        if (source == 0)
        {
            return null;
        }

        nint operation = Native.vips_operation_new(loader);
        if (operation == 0)
        {
            Native.g_object_unref(source);
            return null;
        }

        try
        {
            Native.GValue value = default;
            Native.g_value_init(ref value, Native.vips_source_get_type());
            Native.g_value_set_object(ref value, source);
            Native.g_object_set_property(operation, "source", ref value);
            Native.g_value_unset(ref value);
            nint image = Build(ref operation, options) ? TakeObject(operation, "out") : 0;
            return image == 0 ? null : new VipsImage(image);
        }
        finally
        {
            Release(operation);
            Native.g_object_unref(source);
        }
    }

    /// <summary>An image of 8-bit samples; the pixels are copied.</summary>
    /// <param name="pixels">[height, width, bands].</param>
    /// <param name="width">Pixels in a row.</param>
    /// <param name="height">Rows.</param>
    /// <param name="bands">Samples of a pixel.</param>
    internal static VipsImage FromPixels(ReadOnlySpan<byte> pixels, int width, int height, int bands)
    {
        VipsLibrary.EnsureLoaded();
        fixed (byte* data = pixels)
        {
            nint image = Native.vips_image_new_from_memory_copy(
                data,
                (nuint)pixels.Length,
                width,
                height,
                bands,
                (int)VipsFormat.UInt8
            );
            return image != 0 ? new VipsImage(image) : throw new MediaException("libvips", VipsLibrary.TakeError());
        }
    }

    /// <summary>Text set in one line: 8-bit coverage, one band, as large as what is visible of it.</summary>
    /// <param name="markup">In Pango's markup language.</param>
    /// <param name="font">As Pango writes it, such as <c>sans 12</c>; the size is in pixels.</param>
    /// <returns>Null on failure; <see cref="VipsLibrary.TakeError"/> says why.</returns>
    internal static VipsImage? Text(string markup, string font)
    {
        VipsLibrary.EnsureLoaded();

        // libvips locks Pango while it sets text, but not while it makes and frees what belongs to it: two threads at once crash.
        lock (TextGate)
        {
            nint operation = Native.vips_operation_new("text");
            if (operation == 0)
            {
                return null;
            }

            try
            {
                SetString(operation, "text", markup);
                SetString(operation, "font", font);
                // At 72 dots an inch a point is a pixel.
                return Build(ref operation, "dpi=72") && TakeObject(operation, "out") is not 0 and nint image
                    ? new VipsImage(image)
                    : null;
            }
            finally
            {
                Release(operation);
            }
        }
    }

    /// <summary>A field of the header, or null where the file has none.</summary>
    internal int? GetInt(string name) =>
        Native.vips_image_get_typeof(this, name) != 0 && Native.vips_image_get_int(this, name, out int value) == 0
            ? value
            : null;

    /// <summary>A field of the header, empty where the file has none.</summary>
    internal int[] GetInts(string name) =>
        Native.vips_image_get_typeof(this, name) != 0
        && Native.vips_image_get_array_int(this, name, out int* values, out int count) == 0
            ? new ReadOnlySpan<int>(values, count).ToArray()
            : [];

    /// <summary>Encodes into memory.</summary>
    /// <param name="saver">A libvips operation, such as <c>pngsave_buffer</c>.</param>
    /// <param name="options">As libvips writes them: <c>Q=90,strip=true</c>.</param>
    /// <returns>Null on failure; <see cref="VipsLibrary.TakeError"/> says why.</returns>
    internal byte[]? Save(string saver, string options)
    {
        nint operation = Native.vips_operation_new(saver);
        if (operation == 0)
        {
            return null;
        }

        try
        {
            Native.GValue value = default;
            Native.g_value_init(ref value, Native.vips_image_get_type());
            Native.g_value_set_object(ref value, this);
            Native.g_object_set_property(operation, "in", ref value);
            Native.g_value_unset(ref value);
            return Build(ref operation, options) ? TakeBlob(operation, "buffer") : null;
        }
        finally
        {
            Release(operation);
        }
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        Native.g_object_unref(handle);
        if (pinned.IsAllocated)
        {
            pinned.Free();
        }

        return true;
    }

    static bool Build(ref nint operation, string options) =>
        (options.Length == 0 || Native.vips_object_set_from_string(operation, options) == 0)
        && Native.vips_cache_operation_buildp(ref operation) == 0;

    static void SetString(nint operation, string property, string text)
    {
        Native.GValue value = default;
        Native.g_value_init(ref value, Native.StringType);
        Native.g_value_set_string(ref value, text);
        Native.g_object_set_property(operation, property, ref value);
        Native.g_value_unset(ref value);
    }

    static void Release(nint operation)
    {
        Native.vips_object_unref_outputs(operation);
        Native.g_object_unref(operation);
    }

    static nint TakeObject(nint operation, string property)
    {
        Native.GValue value = default;
        Native.g_value_init(ref value, Native.vips_image_get_type());
        Native.g_object_get_property(operation, property, ref value);
        nint instance = Native.g_object_ref(Native.g_value_get_object(ref value));
        Native.g_value_unset(ref value);
        return instance;
    }

    static byte[] TakeBlob(nint operation, string property)
    {
        Native.GValue value = default;
        Native.g_value_init(ref value, Native.vips_blob_get_type());
        Native.g_object_get_property(operation, property, ref value);
        byte* data = Native.vips_blob_get(Native.g_value_get_boxed(ref value), out nuint length);
        byte[] bytes = new ReadOnlySpan<byte>(data, checked((int)length)).ToArray();
        Native.g_value_unset(ref value);
        return bytes;
    }
}

/// <summary>VipsBandFormat: the type of a sample.</summary>
internal enum VipsFormat
{
    UInt8 = 0,
    Int8 = 1,
    UInt16 = 2,
    Int16 = 3,
    UInt32 = 4,
    Int32 = 5,
    Float = 6,
    Complex = 7,
    Double = 8,
    DoubleComplex = 9,
}

/// <summary>VipsInterpretation: the colour spaces that are read; others keep their number.</summary>
internal enum VipsInterpretation
{
    Multiband = 0,
    Grey = 1,
    Cmyk = 15,
    Rgb = 17,
    Srgb = 22,
    Rgb16 = 25,
    Grey16 = 26,
}
