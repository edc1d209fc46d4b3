using System.Text.Json;
using VlmSharp.Formats;
using VlmSharp.Testing;

namespace VlmSharp.Tests.Vision;

/// <summary>The vision goldens: the copied part always, the full set where it is there.</summary>
static class VisionGoldens
{
    /// <summary>"local" and, where there is one, "shared".</summary>
    public static IEnumerable<string> Sets => Goldens.HasShared("golden/vision") ? ["local", "shared"] : ["local"];

    public static string Path(string set, string relative) =>
        set == "local" ? Goldens.Local("vision/" + relative) : Goldens.SharedPath("golden/vision/" + relative);

    public static JsonElement Read(string set, string relative)
    {
        using var document = JsonDocument.Parse(File.ReadAllText(Path(set, relative)));
        return document.RootElement.Clone();
    }

    public static IEnumerable<JsonElement> Rows(string set, string relative) =>
        Read(set, relative).GetProperty("rows").EnumerateArray();

    public static int Int(this JsonElement row, string name) => row.GetProperty(name).GetInt32();

    public static string Text(this JsonElement row, string name) => row.GetProperty(name).GetString()!;

    public static int[] Ints(this JsonElement row) => [.. row.EnumerateArray().Select(e => e.GetInt32())];

    /// <summary>One tensor of a safetensors file.</summary>
    public static float[] Floats(string path, string name)
    {
        using SafetensorsFile file = SafetensorsFile.Open(path);
        return file.Floats(name);
    }
}
