using System.Text.RegularExpressions;
using System.Xml.Linq;
using VlmSharp.Testing;
using Xunit;

namespace VlmSharp.Tests;

/// <summary>Who may name whom; see docs/architecture.md.</summary>
public sealed partial class ArchitectureTests
{
    static readonly Dictionary<string, string[]> Projects = new()
    {
        ["VlmSharp.Kernels"] = [],
        ["VlmSharp.Media"] = [],
        ["VlmSharp"] = ["VlmSharp.Kernels", "VlmSharp.Media"],
        ["VlmSharp.Training"] = ["VlmSharp"],
        ["VlmSharp.Cli"] = ["VlmSharp", "VlmSharp.Training"],
    };

    // Each folder may name those of earlier rows and of its own.
    static readonly string[][] Rooms =
    [
        ["Formats", "Text", "Vision", "Tensors"],
        ["Grounding"],
        ["Models"],
        ["Adapters", "Conversion", "Generation"],
        ["Engine"],
        ["Chat"],
        ["Documents", "Tiling", "Datasets"],
        ["Calibration", "Evaluation", "Verification"],
    ];

    [Fact]
    public void Projects_reference_only_what_stands_below_them()
    {
        foreach (
            string file in Directory.GetFiles(
                Path.Combine(Goldens.Repository, "src"),
                "*.csproj",
                SearchOption.AllDirectories
            )
        )
        {
            string project = Path.GetFileNameWithoutExtension(file);
            Assert.True(Projects.ContainsKey(project), $"{project} has no row in the table");
            foreach (XElement reference in XDocument.Load(file).Descendants("ProjectReference"))
            {
                string name = Path.GetFileNameWithoutExtension(reference.Attribute("Include")!.Value);
                Assert.True(Projects[project].Contains(name), $"{project} must not reference {name}");
            }
        }
    }

    [Fact]
    public void Folders_of_the_library_name_only_what_stands_below_them()
    {
        string root = Path.Combine(Goldens.Repository, "src", "VlmSharp");
        foreach (string directory in Directory.GetDirectories(root))
        {
            string room = Path.GetFileName(directory);
            if (room is "bin" or "obj")
            {
                continue;
            }

            int level = Array.FindIndex(Rooms, row => row.Contains(room));
            Assert.True(level >= 0, $"{room} has no row in the table");
            HashSet<string> above = [.. Rooms.Skip(level + 1).SelectMany(row => row)];
            foreach (string file in Directory.GetFiles(directory, "*.cs", SearchOption.AllDirectories))
            {
                foreach (Match match in RoomNamed().Matches(File.ReadAllText(file)))
                {
                    string named = match.Groups["room"].Value;
                    Assert.False(above.Contains(named), $"{Path.GetRelativePath(root, file)} names {named}");
                }
            }
        }
    }

    [Fact]
    public void The_engine_knows_no_concrete_model()
    {
        string engine = Path.Combine(Goldens.Repository, "src", "VlmSharp", "Engine");
        string[] models = [.. VlmSharp.Models.ModelRegistry.ModelTypes.Select(t => t.Name)];
        Assert.NotEmpty(models);
        foreach (string file in Directory.GetFiles(engine, "*.cs", SearchOption.AllDirectories))
        {
            string text = File.ReadAllText(file);
            Assert.DoesNotContain(models, model => Regex.IsMatch(text, $@"\b{model}\b"));
        }
    }

    [Fact]
    public void Only_kernels_and_the_picture_library_s_binding_may_be_unsafe()
    {
        string[] allowed =
        [
            .. Directory
                .GetFiles(Path.Combine(Goldens.Repository, "src"), "*.csproj", SearchOption.AllDirectories)
                .Where(file => XDocument.Load(file).Descendants("AllowUnsafeBlocks").Any(e => e.Value == "true"))
                .Select(file => Path.GetFileNameWithoutExtension(file)!)
                .Order(),
        ];
        Assert.Equal(["VlmSharp.Kernels", "VlmSharp.Media"], allowed);
    }

    [GeneratedRegex(
        @"(?:using VlmSharp\.|^|[^\w.""/])(?<room>Grounding|Formats|Text|Vision|Tensors|Models|Adapters|Conversion|Generation|Engine|Chat|Documents|Tiling|Datasets|Calibration|Evaluation|Verification)(?:;|\.[A-Z])",
        RegexOptions.Multiline
    )]
    private static partial Regex RoomNamed();
}
