using System.Globalization;
using System.Net;
using System.Text;

namespace VlmSharp.Training.Recipes;

/// <summary>A page about a run that needs nothing but a browser: curves of the loss, of held-out losses and of the rate, and what was trained on.</summary>
public static class TrainingReport
{
    const int Width = 860;
    const int Height = 280;
    const int Left = 64;
    const int Bottom = 28;
    const int MostPoints = 600;

    /// <summary>Writes the page.</summary>
    /// <param name="path">The file.</param>
    /// <param name="recipe">What was done.</param>
    /// <param name="loop">Where it stands.</param>
    /// <param name="log">What happened.</param>
    public static void Write(string path, TrainingRecipe recipe, TrainingLoop loop, TrainingLog log)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        ArgumentNullException.ThrowIfNull(loop);
        ArgumentNullException.ThrowIfNull(log);
        (int, double)[] loss = [.. log.Read("loss")];
        (int, double)[] heldOut = [.. log.Read("evaluation")];
        (int, double)[] rate = [.. log.Read("rate")];
        double seconds = log.Read("seconds").Sum(s => s.Value);
        StringBuilder page = new();
        page.Append("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>")
            .Append(Text(recipe.Output))
            .Append(
                """
                </title>
                <style>
                body { font: 15px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2em auto; padding: 0 1em; color: #222; }
                table { border-collapse: collapse; } td, th { padding: .2em .9em; text-align: right; border-bottom: 1px solid #ddd; }
                td:first-child, th:first-child { text-align: left; } svg { width: 100%; height: auto; }
                .axis { stroke: #bbb; } .label { font-size: 11px; fill: #666; }
                </style>

                """
            );
        page.Append(
            CultureInfo.InvariantCulture,
            $"<h1>{Text(recipe.Output)}</h1>\n<p>{(recipe.Lora is null ? "From" : "An adapter for")} {Text(recipe.Model)}: "
        );
        page.Append(
            CultureInfo.InvariantCulture,
            $"{loop.Updates} updates ({loop.Done:P0} of the run), {loop.Progress.Tokens:n0} tokens, {seconds:f0} seconds of training.</p>\n"
        );
        page.Append("<h2>Loss</h2>\n<p>Mean cross-entropy per label; light each update, dark smoothed");
        page.Append(heldOut.Length > 0 ? ", orange held-out.</p>\n" : ".</p>\n");
        Chart(page, [(loss, "#c9d8ee", 1), (Smooth(loss), "#1f5fa8", 2), (heldOut, "#d97706", 2)]);
        page.Append("<h2>Rate</h2>\n<p>Factor of the peak rates.</p>\n");
        Chart(page, [(rate, "#1f5fa8", 2)]);
        Rates(page, recipe);
        Sources(page, loop);
        if (heldOut.Length > 0)
        {
            page.Append("<h2>Held-out loss</h2>\n<table><tr><th>update</th><th>loss</th></tr>\n");
            foreach ((int step, double value) in heldOut)
            {
                page.Append(CultureInfo.InvariantCulture, $"<tr><td>{step}</td><td>{value:f4}</td></tr>\n");
            }

            page.Append("</table>\n");
        }

        page.Append("</html>\n");
        string copy = $"{path}.writing";
        File.WriteAllText(copy, page.ToString());
        File.Move(copy, path, overwrite: true);
    }

    static void Rates(StringBuilder page, TrainingRecipe recipe)
    {
        page.Append("<table><tr><th>part</th><th>peak rate</th></tr>\n");
        foreach ((ModelPart part, double peak) in recipe.Rates.OrderBy(r => r.Key))
        {
            string value = recipe.Freeze.Any(f => f.Part == part && f.Layers is null)
                ? "frozen"
                : peak.ToString("g4", CultureInfo.InvariantCulture);
            page.Append(
                CultureInfo.InvariantCulture,
                $"<tr><td>{part.ToString().ToLowerInvariant()}</td><td>{value}</td></tr>\n"
            );
        }

        page.Append("</table>\n");
    }

    static void Sources(StringBuilder page, TrainingLoop loop)
    {
        page.Append("<h2>Data</h2>\n<table><tr><th>source</th><th>examples</th><th>left out</th></tr>\n");
        for (int i = 0; i < loop.Sources.Count; i++)
        {
            page.Append(
                CultureInfo.InvariantCulture,
                $"<tr><td>{Text(loop.Sources[i].Source)}</td><td>{loop.Progress.Trained[i]}</td><td>{loop.Progress.Skipped[i]}</td></tr>\n"
            );
        }

        page.Append("</table>\n");
    }

    static string Text(string text) => WebUtility.HtmlEncode(text);

    static (int, double)[] Smooth((int Step, double Value)[] points)
    {
        (int, double)[] smooth = new (int, double)[points.Length];
        double keep = Math.Min(0.95, 1 - (10.0 / (points.Length + 10)));
        double mean = 0;
        for (int i = 0; i < points.Length; i++)
        {
            mean = i == 0 ? points[i].Value : (keep * mean) + ((1 - keep) * points[i].Value);
            smooth[i] = (points[i].Step, mean);
        }

        return smooth;
    }

    // Means of neighbours where there are more points than a screen has.
    static (double X, double Y)[] Thin((int Step, double Value)[] points) =>
        [
            .. points
                .Chunk(Math.Max(1, (points.Length + MostPoints - 1) / MostPoints))
                .Select(some => (some.Average(p => (double)p.Step), some.Average(p => p.Value))),
        ];

    static void Chart(StringBuilder page, ((int Step, double Value)[] Points, string Colour, int Stroke)[] curves)
    {
        (int Step, double Value)[] all = [.. curves.SelectMany(c => c.Points)];
        if (all.Length == 0)
        {
            page.Append("<p>Nothing yet.</p>\n");
            return;
        }

        double low = Math.Min(0, all.Min(p => p.Value));
        double high = all.Max(p => p.Value);
        high = high > low ? high : low + 1;
        int last = Math.Max(1, all.Max(p => p.Step));
        double X(double step) => Left + (step / last * (Width - Left - 8));
        double Y(double value) => 8 + ((high - value) / (high - low) * (Height - Bottom - 8));
        page.Append(CultureInfo.InvariantCulture, $"<svg viewBox=\"0 0 {Width} {Height}\" role=\"img\">\n");
        for (int i = 0; i <= 4; i++)
        {
            double value = low + ((high - low) * i / 4);
            double step = (double)last * i / 4;
            page.Append(
                CultureInfo.InvariantCulture,
                $"<line class=\"axis\" x1=\"{Left}\" x2=\"{Width - 8}\" y1=\"{Y(value):f1}\" y2=\"{Y(value):f1}\"/><text class=\"label\" x=\"{Left - 6}\" y=\"{Y(value) + 4:f1}\" text-anchor=\"end\">{value:g3}</text><text class=\"label\" x=\"{X(step):f1}\" y=\"{Height - 8}\" text-anchor=\"middle\">{step:f0}</text>\n"
            );
        }

        foreach (((int, double)[] points, string colour, int stroke) in curves)
        {
            page.Append(
                CultureInfo.InvariantCulture,
                $"<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"{stroke}\" points=\""
            );
            foreach ((double x, double y) in Thin(points))
            {
                page.Append(CultureInfo.InvariantCulture, $"{X(x):f1},{Y(y):f1} ");
            }

            page.Append("\"/>\n");
        }

        page.Append("</svg>\n");
    }
}
