using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Spectre.Console;
using VlmSharp.Engine;
using VlmSharp.Formats.Gguf;

namespace VlmSharp.Cli.Commands;

/// <summary>What a GGUF file holds, in brief: types with their sizes, and metadata.</summary>
static class GgufSummary
{
    const int LongestValue = 60;
    const int LongestList = 8;

    // Text for people, not for a page: only control characters need another spelling.
    static readonly JsonWriterOptions Readable = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static void Write(GgufFile file)
    {
        Table table = InspectCommand.NewTable();
        InspectCommand.Row(
            table,
            file.Name,
            $"GGUF version {file.Version}{(file.BigEndian ? ", big endian" : "")}, {MemoryPlan.Size(file.Length)}, {file.Tensors.Count:n0} tensors"
        );
        foreach (
            IGrouping<string, GgufTensor> type in file
                .Tensors.Values.GroupBy(tensor => tensor.Type.ToString())
                .OrderByDescending(type => type.Sum(tensor => tensor.Size))
        )
        {
            InspectCommand.Row(
                table,
                $"  {type.Key}",
                $"{type.Count():n0} tensors, {type.Sum(tensor => tensor.Count):n0} values, {MemoryPlan.Size(type.Sum(tensor => tensor.Size))}"
            );
        }

        foreach ((string key, GgufValue value) in file.Metadata)
        {
            InspectCommand.Row(table, $"  {Visible(key)}", Brief(value));
        }

        Terminal.Out.Write(table);
    }

    static string Visible(string key) => string.Concat(key.Select(c => char.IsControl(c) ? '?' : c));

    static string Brief(GgufValue value)
    {
        if (value.ItemType is not null && value.Count > LongestList)
        {
            return value.ToString();
        }

        using MemoryStream stream = new();
        using (Utf8JsonWriter json = new(stream, Readable))
        {
            value.WriteTo(json);
        }

        string text = Encoding.UTF8.GetString(stream.ToArray());
        return text.Length <= LongestValue ? text : $"{text[..LongestValue]}... ({text.Length:n0} characters)";
    }
}
