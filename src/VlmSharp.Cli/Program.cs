using System.CommandLine;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;
using VlmSharp.Cli;
using VlmSharp.Cli.Commands;

RootCommand root = new(
    "Vision-language models on your own CPU: ask about pictures, look into checkpoints, prove that answers are exact."
)
{
    AskCommand.Create(),
    ChatCommand.Create(),
    ScanCommand.Create(),
    InspectCommand.Create(),
    ParseCommand.Create(),
    VerifyCommand.Create(),
    BenchCommand.Create(),
    NewCommand.Create(),
    EvalCommand.Create(),
    ConvertCommand.Create(),
    ConvertCommand.CreateQuantize(),
    SynthCommand.Create(),
    DataCommand.Create(),
    TrainCommand.Create(),
    LoraCommand.Create(),
    MergeCommand.Create(),
};

ParseResult parsed = root.Parse(args);
if (parsed.Action is ParseErrorAction)
{
    // Not the default action: it prints the whole help, and that to standard output, where only answers belong.
    foreach (ParseError error in parsed.Errors)
    {
        Terminal.WriteError(error.Message);
    }

    string name = parsed.CommandResult.Command is RootCommand ? "" : $" {parsed.CommandResult.Command.Name}";
    Terminal.WriteNote($"vlm{name} --help lists arguments and options.");
    return 1;
}

// An exception that reaches this far is a bug: its stack trace is worth more than one red line.
return await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
