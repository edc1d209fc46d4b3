namespace VlmSharp.Formats;

/// <summary>
/// How pictures or videos become patches: <c>preprocessor_config.json</c> or <c>video_preprocessor_config.json</c> of the Qwen2-VL line.
/// </summary>
/// <remarks>
/// Limits come in two published spellings, <c>min_pixels</c>/<c>max_pixels</c> and <c>size.shortest_edge</c>/<c>size.longest_edge</c>, both pixel
/// counts; where a file has both, the first wins, as in transformers. There are two published defaults for them, so none is assumed: the
/// file must name its limits. Switches that would change the pixels in a way not implemented (<c>do_normalize: false</c>, another
/// <c>resample</c>) are refused rather than passed over.
/// </remarks>
/// <param name="PatchSize">Side of a patch in pixels.</param>
/// <param name="TemporalPatchSize">Frames per patch.</param>
/// <param name="MergeSize">Patches per side that become one token.</param>
/// <param name="Mean">[3], subtracted from each channel after rescaling.</param>
/// <param name="Std">[3], then divided by; more than 0.</param>
/// <param name="RescaleFactor">Multiplies the 8-bit levels first, 1/255 as a rule.</param>
/// <param name="MinPixels">Smaller pictures are enlarged to this many pixels.</param>
/// <param name="MaxPixels">Larger ones are shrunk to this many; at least <paramref name="MinPixels"/>.</param>
/// <param name="Fps">Frames per second to sample from a video, where the file says.</param>
/// <param name="MinFrames">Least number of frames to sample, where the file says.</param>
/// <param name="MaxFrames">Largest number of frames to sample, where the file says.</param>
public sealed record ProcessorConfig(
    int PatchSize,
    int TemporalPatchSize,
    int MergeSize,
    float[] Mean,
    float[] Std,
    double RescaleFactor,
    long MinPixels,
    long MaxPixels,
    double? Fps,
    int? MinFrames,
    int? MaxFrames
)
{
    // Far above anything published (2^24 .. 2^25) and far below what would overflow a count of bytes.
    const long PixelLimit = 1L << 40;

    // Pillow's number for bicubic.
    const int Bicubic = 3;

    /// <summary>Reads one processor file.</summary>
    /// <exception cref="CheckpointException">A field is missing, has the wrong type or range, or asks for something not implemented.</exception>
    public static ProcessorConfig Read(JsonObjectReader json)
    {
        foreach (string step in (ReadOnlySpan<string>)["do_resize", "do_rescale", "do_normalize", "do_convert_rgb"])
        {
            if (!json.Bool(step, true))
            {
                throw json.Error(step, "is false; leaving that step out is not implemented");
            }
        }

        if (json.Int("resample", 0, 5, Bicubic) is not Bicubic and int filter)
        {
            throw json.Error("resample", $"is {filter}, only {Bicubic} (bicubic) is implemented");
        }

        (long minPixels, long maxPixels) = ReadLimits(json);
        bool minFrames = json.Has("min_frames");
        bool maxFrames = json.Has("max_frames");
        ProcessorConfig config = new(
            json.Int("patch_size", 1, 1024),
            json.Int("temporal_patch_size", 1, 64),
            json.Int("merge_size", 1, 64),
            Channels(json, "image_mean", -1e3, 1e3),
            Channels(json, "image_std", 1e-6, 1e3),
            json.Number("rescale_factor", 1e-9, 1e3, 1.0 / 255),
            minPixels,
            maxPixels,
            json.Has("fps") ? json.Number("fps", 1e-3, 1e3) : null,
            minFrames ? json.Int("min_frames", 1, int.MaxValue) : null,
            maxFrames ? json.Int("max_frames", 1, int.MaxValue) : null
        );
        return config.MinFrames > config.MaxFrames
            ? throw json.Error("max_frames", $"is {config.MaxFrames}, less than min_frames {config.MinFrames}")
            : config;
    }

    static (long Min, long Max) ReadLimits(JsonObjectReader json)
    {
        JsonObjectReader? size = json.OptionalObject("size");
        (JsonObjectReader minFrom, string minName) = Choose("min_pixels", "shortest_edge");
        (JsonObjectReader maxFrom, string maxName) = Choose("max_pixels", "longest_edge");
        long min = minFrom.Long(minName, 1, PixelLimit);
        long max = maxFrom.Long(maxName, 1, PixelLimit);
        return min <= max ? (min, max) : throw maxFrom.Error(maxName, $"is {max}, less than {minName} {min}");

        (JsonObjectReader From, string Name) Choose(string flat, string nested) =>
            json.Has(flat) || size is null ? (json, flat) : (size, nested);
    }

    static float[] Channels(JsonObjectReader json, string name, double min, double max)
    {
        double[] values = json.Numbers(name, 3, min, max);
        return values.Length == 3
            ? Array.ConvertAll(values, static v => (float)v)
            : throw json.Error(name, $"has {values.Length} numbers, expected 3, one per channel");
    }
}
