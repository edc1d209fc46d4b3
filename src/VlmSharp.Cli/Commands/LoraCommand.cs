using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Nodes;
using VlmSharp.Formats;
using VlmSharp.Training.Recipes;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm lora</c>: trains an adapter without a recipe file.</summary>
sealed class LoraCommand
{
    readonly CommonOptions common = new();
    readonly Argument<DirectoryInfo> model = CommonOptions.Directory(
        "MODEL",
        "A checkpoint directory in Hugging Face layout; its weights stay as they are."
    );
    readonly Argument<string> data = new("DATA") { Description = "Examples, as vlm data check reads them." };

    readonly Option<string> output = new("--out")
    {
        Description = "The directory for adapter, checkpoints, log and report.",
        HelpName = "DIR",
        Required = true,
    };

    readonly Option<string[]> targets = new("--target")
    {
        Description =
            "A linear layer that gets a product: a name or its end behind a dot, q_proj; may be repeated (default: queries, values and the merger).",
        HelpName = "NAME",
    };

    readonly Option<int?> rank = CommonOptions.Number<int>("--rank", "R", "Rank of the products (default: 16).");

    readonly Option<double?> alpha = CommonOptions.Number<double>(
        "--alpha",
        "A",
        "Products are multiplied by A / R (default: twice the rank)."
    );

    readonly Option<double?> dropout = CommonOptions.Number<double>(
        "--dropout",
        "P",
        "Share of the products' inputs that an update leaves out (default: 0)."
    );

    readonly Option<bool> rslora = new("--rslora") { Description = "Multiply by A / sqrt(R) instead." };

    readonly Option<bool> dora = new("--dora") { Description = "Train the magnitude of each output, too (DoRA)." };

    readonly Option<bool> vision = new("--vision") { Description = "Adapt layers of the vision tower, too." };

    readonly Option<double?> rate = CommonOptions.Number<double>("--rate", "X", "Peak learning rate (default: 2e-4).");

    readonly Option<double?> epochs = CommonOptions.Number<double>(
        "--epochs",
        "N",
        "Times that all examples are seen (default: 3)."
    );

    readonly Option<int?> batch = CommonOptions.Number<int>("--batch", "N", "Examples of an update (default: 8).");

    readonly Option<bool> resume = new("--resume")
    {
        Description = "Go on from the newest checkpoint in the output; begin where there is none.",
    };

    public static Command Create()
    {
        LoraCommand lora = new();
        Command command = new(
            "lora",
            "Train a LoRA adapter on examples; vlm train does it by a recipe with a section 'lora'."
        );
        command.Arguments.Add(lora.model);
        command.Arguments.Add(lora.data);
        foreach (
            Option option in (Option[])
                [
                    lora.output,
                    lora.targets,
                    lora.rank,
                    lora.alpha,
                    lora.dropout,
                    lora.rslora,
                    lora.dora,
                    lora.vision,
                    lora.rate,
                    lora.epochs,
                    lora.batch,
                    lora.common.MinPixels,
                    lora.common.MaxPixels,
                    lora.common.Seed,
                    lora.resume,
                    lora.common.Threads,
                ]
        )
        {
            command.Options.Add(option);
        }

        command.SetAction(parsed => Terminal.Guard(() => lora.Run(parsed)));
        return command;
    }

    int Run(ParseResult parsed)
    {
        JsonObject lora = new();
        Set(lora, "targets", parsed.GetValue(targets) is { Length: > 0 } names ? Names(names) : null);
        Set(lora, "rank", parsed.GetValue(rank));
        Set(lora, "alpha", parsed.GetValue(alpha));
        Set(lora, "dropout", parsed.GetValue(dropout));
        Set(lora, "rslora", parsed.GetValue(rslora));
        Set(lora, "dora", parsed.GetValue(dora));
        Set(lora, "vision", parsed.GetValue(vision));
        JsonObject recipe = new()
        {
            ["model"] = parsed.GetRequiredValue(model).FullName,
            ["output"] = parsed.GetRequiredValue(output),
            ["data"] = new JsonArray(new JsonObject { ["source"] = parsed.GetRequiredValue(data) }),
            ["examplesPerUpdate"] = parsed.GetValue(batch) ?? 8,
            ["epochs"] = parsed.GetValue(epochs) ?? 3,
            ["lora"] = lora,
        };
        Set(recipe, "minPixels", parsed.GetValue(common.MinPixels));
        Set(recipe, "maxPixels", parsed.GetValue(common.MaxPixels));
        Set(recipe, "seed", parsed.GetValue(common.Seed));
        if (parsed.GetValue(rate) is { } peak)
        {
            recipe["rates"] = new JsonObject
            {
                ["vision"] = peak,
                ["merger"] = peak,
                ["language"] = peak,
            };
        }

        TrainingRecipe read = RecipeReader.Read(
            JsonObjectReader.Parse("command line", JsonSerializer.SerializeToUtf8Bytes(recipe))
        );
        return TrainCommand.Train(read, common.ThreadCount(parsed), parsed.GetValue(resume), most: null);
    }

    static JsonArray Names(string[] names) => new([.. names.Select(name => (JsonNode)name)]);

    static void Set(JsonObject json, string name, JsonNode? value)
    {
        if (value is not null)
        {
            json[name] = value;
        }
    }
}
