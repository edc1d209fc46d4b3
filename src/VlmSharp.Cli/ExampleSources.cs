using System.Globalization;
using VlmSharp.Datasets;
using VlmSharp.Formats;
using VlmSharp.Training.Synthesis;

namespace VlmSharp.Cli;

/// <summary>Opens examples by the names that options and recipes have for them.</summary>
/// <remarks>
/// A file of conversations, or <c>synth:</c> and a recipe of synthetic data, with <c>?seed=N</c> for other examples and <c>?held-out</c> for those in fonts
/// that nobody learns from: <c>synth:recipes/synth/4-words.json?seed=7&amp;held-out</c>.
/// </remarks>
sealed class ExampleSources : IDisposable
{
    /// <summary>What help texts say about a source.</summary>
    public const string Help =
        "a file of conversations (formats: vlm data check --help), or synth:RECIPE[?seed=N][&held-out] for synthetic data";

    const string Synthetic = "synth:";

    readonly List<IDisposable> opened = [];

    /// <summary>Opens a source.</summary>
    /// <exception cref="CheckpointException">It is not there, or broken.</exception>
    public IExampleSource Open(string source)
    {
        if (!source.StartsWith(Synthetic, StringComparison.Ordinal))
        {
            ExampleFile file = ExampleFile.Open(source);
            opened.Add(file);
            return file;
        }

        int mark = source.LastIndexOf('?');
        string path = source[Synthetic.Length..(mark < 0 ? source.Length : mark)];
        ulong seed = 0;
        bool heldOut = false;
        foreach (string option in mark < 0 ? [] : source[(mark + 1)..].Split('&'))
        {
            if (option == "held-out")
            {
                heldOut = true;
            }
            else if (
                !option.StartsWith("seed=", StringComparison.Ordinal)
                || !ulong.TryParse(option.AsSpan(5), NumberStyles.None, CultureInfo.InvariantCulture, out seed)
            )
            {
                throw new CheckpointException(source, $"asks for '{option}', expected seed=N or held-out");
            }
        }

        return new SyntheticSource(SynthesisRecipe.Open(path), seed, heldOut);
    }

    /// <summary>Closes files.</summary>
    public void Dispose() => opened.ForEach(source => source.Dispose());
}
