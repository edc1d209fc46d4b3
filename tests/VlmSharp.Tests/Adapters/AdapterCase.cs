using System.Text.Json;
using VlmSharp.Adapters;
using VlmSharp.Formats;
using VlmSharp.Testing;

namespace VlmSharp.Tests.Adapters;

/// <summary>An adapter of the golden case, with what the reference computed.</summary>
sealed class AdapterCase(string name) : IDisposable
{
    const string Case = "golden/lora-qwen2-vl";

    public static readonly string[] Names = ["plain", "plain-old-names", "rslora", "dora", "layers", "modules"];

    readonly JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(Goldens.Shared($"{Case}/case.json")));
    readonly JsonDocument losses = JsonDocument.Parse(
        File.ReadAllBytes(Goldens.Shared($"{Case}/expected/losses.json"))
    );

    public string Name { get; } = name;

    public string Directory => Goldens.Shared($"{Case}/{Name}");

    public Adapter Adapter => Adapter.Open(Directory);

    public string CheckpointDirectory => Goldens.Shared("golden/train-qwen2-vl/checkpoint");

    public Checkpoint Checkpoint => Checkpoint.Open(CheckpointDirectory);

    JsonElement Entry => json.RootElement.GetProperty("adapters").GetProperty(Name);

    public SafetensorsFile Expected() =>
        SafetensorsFile.Open(Goldens.Shared($"{Case}/{Entry.GetProperty("expected").GetString()}"));

    public JsonElement HyperParameters => json.RootElement.GetProperty("hyper_parameters");

    public JsonElement Losses => losses.RootElement.GetProperty(Name == "plain-old-names" ? "plain" : Name);

    public double Tolerance(string what) => json.RootElement.GetProperty("tolerance").GetProperty(what).GetDouble();

    public void Dispose()
    {
        json.Dispose();
        losses.Dispose();
    }
}
