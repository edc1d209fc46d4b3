using System.Globalization;
using System.Net;
using System.Text;
using VlmSharp.Datasets;
using VlmSharp.Media.Images;

namespace VlmSharp.Training.Synthesis;

/// <summary>A web page that shows examples: pictures with their boxes, questions and answers, all in one file.</summary>
public static class ContactSheet
{
    const string Head = """
        <!doctype html>
        <meta charset="utf-8">
        <title>Examples</title>
        <style>
        body { font: 13px sans-serif; margin: 16px; background: #eee; display: flex; flex-wrap: wrap; gap: 12px; align-items: start; }
        figure { margin: 0; padding: 8px; background: #fff; max-width: 360px; border-radius: 4px; }
        .picture { position: relative; display: inline-block; }
        .picture img { display: block; }
        .picture svg { position: absolute; inset: 0; width: 100%; height: 100%; }
        p { margin: 4px 0; white-space: pre-wrap; overflow-wrap: anywhere; }
        .task { color: #888; } .assistant { color: #060; }
        </style>

        """;

    /// <summary>Makes the page.</summary>
    /// <param name="source">Where examples come from; with pictures in memory.</param>
    /// <param name="count">How many, from the first on.</param>
    /// <param name="threads">Drawing at the same time.</param>
    public static string Make(IExampleSource source, int count, int threads)
    {
        ArgumentNullException.ThrowIfNull(source);
        string[] figures = new string[count];
        SwiftWriter.Run(count, threads, i => figures[i] = Figure(source.Read(i), i));
        return Head + string.Concat(figures);
    }

    static string Figure(Example example, int number)
    {
        StringBuilder html = new();
        html.Append(CultureInfo.InvariantCulture, $"<figure><p class=task>{number} {Escape(example.Task)}</p>");
        BoxPart[] boxes = [.. example.Messages.SelectMany(message => message.Content).OfType<BoxPart>()];
        int image = 0;
        foreach (ExamplePart part in example.Messages.SelectMany(message => message.Content))
        {
            IReadOnlyList<RgbImage> pictures = part switch
            {
                Picture picture => [picture.Pixels],
                Film film => film.Frames,
                _ => [],
            };
            foreach (RgbImage picture in pictures)
            {
                html.Append(
                    CultureInfo.InvariantCulture,
                    $"<div class=picture><img width={picture.Width} height={picture.Height} src=\"data:image/png;base64,{Convert.ToBase64String(ImageEncoder.Png(picture))}\">"
                );
                html.Append(CultureInfo.InvariantCulture, $"<svg viewBox=\"0 0 {picture.Width} {picture.Height}\">");
                foreach (BoxPart box in boxes.Where(box => box.Image == image))
                {
                    html.Append(Mark(box.Coordinates));
                }

                html.Append("</svg></div> ");
            }

            image += part is MediumPart ? 1 : 0;
        }

        foreach (ExampleMessage message in example.Messages)
        {
            html.Append(
                CultureInfo.InvariantCulture,
                $"<p class={Escape(message.Role)}>{Escape(string.Concat(message.Content.Select(Text)))}</p>"
            );
        }

        return html.Append("</figure>\n").ToString();
    }

    static string Mark(IReadOnlyList<double> at) =>
        at.Count == 4
            ? string.Create(
                CultureInfo.InvariantCulture,
                $"<rect x={at[0]} y={at[1]} width={at[2] - at[0]} height={at[3] - at[1]} fill=none stroke=\"#f0f\" />"
            )
            : string.Create(
                CultureInfo.InvariantCulture,
                $"<circle cx={at[0]} cy={at[1]} r=3 fill=none stroke=\"#f0f\" />"
            );

    static string Text(ExamplePart part) =>
        part switch
        {
            TextPart text => text.Text,
            ReferencePart reference => $"[{reference.Text}]",
            BoxPart box =>
                $"({string.Join(", ", box.Coordinates.Select(c => c.ToString(CultureInfo.InvariantCulture)))})",
            _ => "",
        };

    static string Escape(string text) => WebUtility.HtmlEncode(text);
}
