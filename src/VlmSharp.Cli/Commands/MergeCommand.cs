using System.CommandLine;
using Spectre.Console;
using VlmSharp.Adapters;
using VlmSharp.Conversion;
using VlmSharp.Formats;
using VlmSharp.Kernels;

namespace VlmSharp.Cli.Commands;

/// <summary><c>vlm merge</c>: a checkpoint with a LoRA adapter in its weights.</summary>
sealed class MergeCommand
{
    readonly CommonOptions common = new();
    readonly Argument<DirectoryInfo> model = CommonOptions.Directory(
        "MODEL",
        "A checkpoint directory in Hugging Face layout."
    );
    readonly Argument<DirectoryInfo> adapter = CommonOptions.Directory(
        "ADAPTER",
        "A directory with adapter_config.json and adapter_model.safetensors, as PEFT and vlm lora write it."
    );
    readonly Argument<DirectoryInfo> target = CommonOptions.Directory(
        "TARGET",
        "The directory to write; it must not be there."
    );

    public static Command Create()
    {
        MergeCommand merge = new();
        Command command = new(
            "merge",
            "Write a checkpoint with a LoRA adapter merged into its weights, which every program takes."
        )
        {
            merge.model,
            merge.adapter,
            merge.target,
            merge.common.Threads,
        };
        command.SetAction(parsed => Terminal.Guard(() => merge.Run(parsed)));
        return command;
    }

    int Run(ParseResult parsed)
    {
        using WorkerPool pool = new(common.ThreadCount(parsed) ?? Environment.ProcessorCount);
        using ProgressLine progress = new();
        using Checkpoint checkpoint = Checkpoint.Open(parsed.GetRequiredValue(model).FullName);
        AdapterMerge merge = new(Adapter.Open(parsed.GetRequiredValue(adapter).FullName), checkpoint, pool);
        checkpoint.Change(merge);
        string path = parsed.GetRequiredValue(target).FullName;
        MergedExport.Write(
            checkpoint,
            path,
            new CommonOptions.Progress(share => progress.Report("Merging", $"{share:P0}"))
        );
        progress.Clear();
        Terminal.Out.WriteLine($"{path} holds the model; {merge.Names.Count()} tensors were changed");
        return 0;
    }
}
