using System.CommandLine;
using VlmSharp.Cli;
using VlmSharp.Cli.Commands;

RootCommand root = new(
    "Vision-language models on your own CPU: ask about pictures, look into checkpoints, prove that answers are exact."
)
{
    AskCommand.Create(),
    ChatCommand.Create(),
    InspectCommand.Create(),
    VerifyCommand.Create(),
};

// An exception that reaches this far is a bug: its stack trace is worth more than one red line.
return await root.Parse(args).InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
