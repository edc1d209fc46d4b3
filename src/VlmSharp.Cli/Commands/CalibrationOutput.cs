using System.Globalization;
using System.Text.Json;
using Spectre.Console;
using VlmSharp.Calibration;
using VlmSharp.Engine;

namespace VlmSharp.Cli.Commands;

/// <summary>What <c>vlm quantize --calibrate</c> found out about a model's predictions.</summary>
static class CalibrationOutput
{
    /// <summary>A table on standard output.</summary>
    public static void Write(CalibrationReport report)
    {
        Table table = new() { Border = TableBorder.Simple };
        table.AddColumn("weights");
        table.AddColumn("importance");
        foreach (string heading in (string[])["size", "perplexity", "deviation", "same next token", "same answer"])
        {
            table.AddColumn(new TableColumn(heading).RightAligned());
        }

        foreach (ModelQuality model in report.Models)
        {
            table.AddRow(
                model.Weights,
                model.Calibrated ? "calibrated" : "none",
                MemoryPlan.Size(model.Bytes),
                model.Perplexity.ToString("f4", CultureInfo.InvariantCulture),
                model.Deviation.ToString("f4", CultureInfo.InvariantCulture),
                model.Agreement.ToString("p2", CultureInfo.InvariantCulture),
                $"{model.EqualAnswers} of {report.Answers}"
            );
        }

        Terminal.Out.Write(table);
        Terminal.Out.MarkupLineInterpolated(
            CultureInfo.InvariantCulture,
            $"{report.Samples} samples, {report.Tokens} predicted tokens; deviation: root mean square of the differences of their log-probabilities from the unquantised ones"
        );
    }

    /// <summary>JSON on standard output.</summary>
    public static void WriteJson(CalibrationReport report)
    {
        using (Stream output = Console.OpenStandardOutput())
        using (Utf8JsonWriter writer = new(output, new() { Indented = true }))
        {
            writer.WriteStartObject();
            writer.WriteString("language_model", report.Export.LanguageModel);
            writer.WriteString("projector", report.Export.Projector);
            writer.WriteNumber("samples", report.Samples);
            writer.WriteNumber("tokens", report.Tokens);
            writer.WriteNumber("answers", report.Answers);
            writer.WriteStartArray("models");
            foreach (ModelQuality model in report.Models)
            {
                writer.WriteStartObject();
                writer.WriteString("weights", model.Weights);
                writer.WriteBoolean("calibrated", model.Calibrated);
                writer.WriteNumber("bytes", model.Bytes);
                writer.WriteNumber("perplexity", model.Perplexity);
                writer.WriteNumber("deviation", model.Deviation);
                writer.WriteNumber("next_token_agreement", model.Agreement);
                writer.WriteNumber("equal_answers", model.EqualAnswers);
                writer.WriteEndObject();
            }

            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        Console.Out.WriteLine();
    }
}
