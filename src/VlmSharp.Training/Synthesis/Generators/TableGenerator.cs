using System.Globalization;
using VlmSharp.Datasets;
using VlmSharp.Formats;
using VlmSharp.Grounding;
using VlmSharp.Media.Images;

namespace VlmSharp.Training.Synthesis.Generators;

/// <summary>Tables: cells by row and column, by the names of both, as boxes, and the whole as HTML.</summary>
sealed class TableGenerator : IGenerator
{
    static readonly string[] Columns =
    [
        "Price",
        "Size",
        "Age",
        "Score",
        "Weight",
        "Total",
        "Stock",
        "Code",
        "Year",
        "Rank",
        "Points",
        "Hours",
    ];

    readonly (int Low, int High) rows;
    readonly (int Low, int High) columns;
    readonly (int Low, int High) size;
    readonly string[] content;
    readonly (string Item, double Weight)[] ask;

    public TableGenerator(JsonObjectReader json)
    {
        json.AllowOnly("kind", "weight", "rows", "columns", "size", "content", "ask");
        rows = json.Range("rows", 1, 30, (2, 5));
        columns = json.Range("columns", 2, 10, (2, 3));
        size = json.Range("size", 6, 100, (12, 20));
        content = json.Choices("content", TextContent.Kinds, ["number", "price", "word"]);
        ask = json.Weights("ask", ["cell", "named", "locate", "html"], [("cell", 1), ("named", 1), ("locate", 1)]);
    }

    public Draft? Make(Scene scene)
    {
        CounterRandom random = scene.Random;
        string wanted = random.Pick(ask);
        string[][] texts = Texts(random, named: wanted == "named");
        Colour ink = scene.PaintPaper();
        if (Draw(scene, texts, ink) is not { } cells)
        {
            return null;
        }

        bool named = wanted == "named";
        (int row, int column) = (
            random.Int(named ? 1 : 0, texts.Length - 1),
            random.Int(named ? 1 : 0, texts[0].Length - 1)
        );
        string answer = texts[row][column];
        (string rowName, string columnName) = (Count(row + 1), Count(column + 1));
        return wanted switch
        {
            "named" => new("table-named", scene.Ask("table-named", texts[row][0], texts[0][column]), answer),
            "locate" => new(
                "locate-cell",
                scene.Ask("locate-cell", rowName, columnName),
                [new ReferencePart(answer), cells[row][column].Part()]
            ),
            "html" => new("table-html", scene.Ask("table-html"), Html(texts)),
            _ => new("table-cell", scene.Ask("table-cell", rowName, columnName), answer),
        };
    }

    string[][] Texts(CounterRandom random, bool named)
    {
        int height = random.Int(rows.Low, rows.High);
        int width = random.Int(columns.Low, columns.High);
        string[] kinds = [.. Enumerable.Range(0, width).Select(_ => random.Pick(content))];
        List<string[]> texts =
        [
            .. Enumerable
                .Range(0, height)
                .Select(_ =>
                    kinds
                        .Select(kind => TextContent.Make(kind, (1, 6), TextContent.Alphabet, ["lower"], random))
                        .ToArray()
                ),
        ];
        if (named)
        {
            string[] names = [.. WordLists.Names];
            string[] heads = [.. Columns];
            random.Shuffle(names);
            random.Shuffle(heads);
            for (int i = 0; i < height; i++)
            {
                texts[i][0] = names[i];
            }

            texts.Insert(0, ["Name", .. heads.Take(width - 1)]);
        }

        return [.. texts];
    }

    // Returns the cells between the lines; null where even the smallest letters are too large.
    Box[][]? Draw(Scene scene, string[][] texts, Colour ink)
    {
        CounterRandom random = scene.Random;
        Painting painting = scene.Painting;
        FontFace face = scene.Font(texts[0][0]);
        double pixels = random.Number(size.Low, size.High);
        double padding = random.Int(2, 6);
        double between = random.Number(1.3, 1.9);
        Lettering[][] letters = [];
        double[] widths = [];
        for (int attempt = 0; ; attempt++)
        {
            letters = [.. texts.Select(row => row.Select(text => scene.Letters(text, face, pixels)).ToArray())];
            widths =
            [
                .. Enumerable
                    .Range(0, texts[0].Length)
                    .Select(c => letters.Max(row => row[c].Ink.Width) + (2 * padding)),
            ];
            double share = Math.Min(
                (painting.Width - 4) / widths.Sum(),
                (painting.Height - 4) / (texts.Length * between * pixels)
            );
            if (share >= 1)
            {
                break;
            }

            pixels *= 0.97 * share;
            if (attempt == 3 || pixels < size.Low)
            {
                return null;
            }
        }

        double height = Math.Ceiling(between * pixels);
        double left = Math.Floor(random.Number(2, painting.Width - 1 - widths.Sum()));
        double top = Math.Floor(Math.Max(1, random.Number(2, painting.Height - 1 - (texts.Length * height))));
        string lines = random.Pick((string[])["grid", "rows", "none"]);
        bool right = random.Chance(0.3);
        Box[][] cells = new Box[texts.Length][];
        for (int r = 0; r < texts.Length; r++)
        {
            cells[r] = new Box[widths.Length];
            double x = left;
            for (int c = 0; c < widths.Length; c++)
            {
                Box cell = cells[r][c] = new(x, top + (r * height), x + widths[c], top + ((r + 1) * height));
                double half = letters[r][c].Ink.Width / 2;
                PointXY middle = new(right && c > 0 ? cell.X2 - padding - half : x + padding + half, cell.Middle.Y);
                painting.LayAt(letters[r][c], middle, ink);
                x = cell.X2;
            }
        }

        Box table = cells[0][0].With(cells[^1][^1]);
        for (int r = 0; r <= texts.Length && lines != "none"; r++)
        {
            painting.Fill(
                ink,
                new Box(table.X1, table.Y1 + (r * height) - 0.5, table.X2, table.Y1 + (r * height) + 0.5)
            );
        }

        if (lines == "grid")
        {
            foreach (double x in (double[])[table.X1, .. cells[0].Select(cell => cell.X2)])
            {
                painting.Fill(ink, new Box(x - 0.5, table.Y1, x + 0.5, table.Y2));
            }
        }

        return table.X2 <= painting.Width && table.Y2 <= painting.Height ? cells : null;
    }

    static string Html(string[][] texts) =>
        $"<table>{string.Concat(texts.Select(row => $"<tr>{string.Concat(row.Select(text => $"<td>{text.Replace("&", "&amp;").Replace("<", "&lt;")}</td>"))}</tr>"))}</table>";

    static string Count(int number) => number.ToString(CultureInfo.InvariantCulture);
}
