using VlmSharp.Calibration;
using VlmSharp.Datasets;
using VlmSharp.Testing;

namespace VlmSharp.Tests.Calibration;

/// <summary>Samples for the small reader of the golden cases.</summary>
static class ReaderSamples
{
    /// <summary>A question about one of its pictures, with an answer or without.</summary>
    public static CalibrationSample Picture(string picture, string question, string? answer = null) =>
        new(picture)
        {
            Turns =
            [
                new("user", [new PictureFile(Goldens.Local($"reader-ref/media/{picture}")), new TextPart(question)]),
                .. answer is null ? (ExampleMessage[])[] : [new("assistant", [new TextPart(answer)])],
            ],
        };

    /// <summary>Such a sample as a line of a file.</summary>
    public static string Line(string picture, string question, string answer) =>
        $$"""
            {"messages": [{"role": "user", "content": "<image>{{question}}"}, {"role": "assistant", "content": "{{answer}}"}], "images": "{{Goldens.Local(
                $"reader-ref/media/{picture}"
            )}}"}
            """;
}
