using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using VlmSharp.Chat.Replies;

namespace VlmSharp.Cli;

/// <summary>Shows a reply as it arrives: content, and calls as lines of JSON, on standard output; thoughts, dimmed, on standard error.</summary>
/// <param name="progress">Taken away before anything is written.</param>
/// <param name="hideThinking">Whether thoughts are not shown.</param>
sealed class ReplyWriter(ProgressLine progress, bool hideThinking)
{
    readonly bool dims = Terminal.Error.Profile.Capabilities.Ansi;
    bool inThoughts;
    bool hasContent;
    bool needsLineEnd = true; // also an empty answer is a line, but calls end their own

    public void Write(ReplyDelta delta)
    {
        switch (delta)
        {
            case ReasoningDelta thought when !hideThinking:
                progress.Clear();
                inThoughts = true;
                Console.Error.Write(dims ? $"\e[2m{thought.Text}\e[22m" : thought.Text);
                break;
            case ContentDelta content:
                progress.Clear();
                EndThoughts();
                Console.Out.Write(content.Text);
                Console.Out.Flush();
                needsLineEnd = true;
                hasContent = true;
                break;
            case ToolCallCompleted { Call: var call }:
                progress.Clear();
                EndThoughts();
                Console.Out.WriteLine((needsLineEnd && hasContent ? "\n" : "") + Json(call));
                needsLineEnd = false;
                break;
        }
    }

    /// <summary>The reply is over.</summary>
    public void End()
    {
        progress.Clear();
        EndThoughts();
        if (needsLineEnd)
        {
            Console.Out.WriteLine();
        }
    }

    /// <summary>A call as an object with <c>name</c> and <c>arguments</c>.</summary>
    public static void WriteCall(Utf8JsonWriter json, ToolCall call)
    {
        json.WriteStartObject();
        json.WriteString("name", call.Name);
        json.WritePropertyName("arguments");
        call.Arguments.WriteTo(json);
        json.WriteEndObject();
    }

    static string Json(ToolCall call)
    {
        using MemoryStream stream = new();
        using (Utf8JsonWriter json = new(stream, new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            WriteCall(json, call);
        }

        return Encoding.UTF8.GetString(stream.ToArray());
    }

    void EndThoughts()
    {
        if (inThoughts)
        {
            Console.Error.WriteLine('\n');
            inThoughts = false;
        }
    }
}
