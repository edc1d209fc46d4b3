using System.Text.Json.Nodes;

namespace VlmSharp.Formats.Gguf;

/// <summary>A language model and its projector as llama.cpp publishes them, read as the checkpoint they were made from.</summary>
sealed class GgufModel
{
    const string Suffix = ".gguf";

    GgufModel(GgufFile file, GgufFile projector)
    {
        File = file;
        Projector = projector;
        GgufConfig config = new(file, projector);
        Architecture = config.Architecture;
        Config = config.Model();
        Generation = GenerationConfig.Read(config.Generation(), Config);
        Processor = config.Processor(video: false);
        VideoProcessor = config.Processor(video: true);
        ChatTemplate = file.Keys.Has(GgufConfig.Template) ? file.Keys.Text(GgufConfig.Template) : null;
        Weights = new GgufNames(config.Family, file, projector, config.DeepStack).Weights;
        HashSet<string> names = new(StringComparer.Ordinal);
        foreach ((TensorInfo info, _) in Weights)
        {
            if (!names.Add(info.Name))
            {
                throw new CheckpointException(info.File, $"has two tensors for the weight {Quote.Name(info.Name)}");
            }
        }
    }

    /// <summary>The language model.</summary>
    public GgufFile File { get; }

    /// <summary>Tower and merger.</summary>
    public GgufFile Projector { get; }

    /// <summary>The class of the published checkpoint.</summary>
    public string Architecture { get; }

    /// <summary>What its <c>config.json</c> says.</summary>
    public JsonObjectReader Config { get; }

    /// <summary>Stop tokens and sampling.</summary>
    public GenerationConfig Generation { get; }

    /// <summary>What its <c>preprocessor_config.json</c> says.</summary>
    public JsonObjectReader Processor { get; }

    /// <summary>What its <c>video_preprocessor_config.json</c> says.</summary>
    public JsonObjectReader VideoProcessor { get; }

    /// <summary>The chat template; null where the file has none.</summary>
    public string? ChatTemplate { get; }

    /// <summary>All weights under their published names.</summary>
    public IReadOnlyList<(TensorInfo Info, GgufWeight Weight)> Weights { get; }

    /// <summary>Whether a path is meant as a GGUF file: it is no directory and ends so.</summary>
    public static bool IsFile(string path) =>
        path.EndsWith(Suffix, StringComparison.OrdinalIgnoreCase) && !Directory.Exists(path);

    /// <summary>Opens both files.</summary>
    /// <param name="path">The language model.</param>
    /// <param name="projector">Tower and merger; where not given, the one beside the language model that is named after it, or the only <c>mmproj*.gguf</c> there.</param>
    /// <exception cref="CheckpointException">A file is missing, damaged, contradicts the other or is of a model this build does not know.</exception>
    public static GgufModel Open(string path, string? projector)
    {
        GgufFile file = GgufFile.Open(path);
        GgufFile? other = null;
        try
        {
            if (GgufConfig.IsProjector(file))
            {
                throw new CheckpointException(
                    file.Name,
                    "is the projector (general.architecture 'clip'); name the language model, the projector beside it is found"
                );
            }

            // Refused before a projector is looked for, which such a model may not have.
            GgufConfig.CheckArchitecture(file);
            other = GgufFile.Open(projector ?? FindProjector(file));
            return new GgufModel(file, other);
        }
        catch
        {
            other?.Dispose();
            file.Dispose();
            throw;
        }
    }

    static string FindProjector(GgufFile file)
    {
        string directory = Path.GetDirectoryName(file.FullPath)!;
        // As vlm convert names it; a directory may hold a model in several types.
        string own = Path.Combine(directory, $"mmproj-{Path.GetFileName(file.FullPath)}");
        if (System.IO.File.Exists(own))
        {
            return own;
        }

        string[] found =
        [
            .. Directory
                .EnumerateFiles(directory)
                .Where(other => Path.GetFileName(other).StartsWith("mmproj", StringComparison.OrdinalIgnoreCase))
                .Where(other => other.EndsWith(Suffix, StringComparison.OrdinalIgnoreCase))
                .Order(StringComparer.Ordinal),
        ];
        return found switch
        {
            [string only] => only,
            [] => throw new CheckpointException(
                file.Name,
                $"has no projector beside it: no mmproj*.gguf is in {directory}; name it (--mmproj)"
            ),
            _ => throw new CheckpointException(
                file.Name,
                $"has {found.Length} projectors beside it ({string.Join(", ", found.Take(4).Select(Path.GetFileName))}); name one (--mmproj)"
            ),
        };
    }
}
