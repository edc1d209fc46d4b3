using System.Text.Encodings.Web;
using System.Text.Json;
using VlmSharp.Generation;
using VlmSharp.Grounding;

namespace VlmSharp.Tiling;

/// <summary>Results of a scan for other programs.</summary>
public static class ScanWriter
{
    static readonly JsonWriterOptions Options = new()
    {
        Indented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Everything: picture, question, answer, items and tiles. Positions are pixels of the picture unless said otherwise.</summary>
    public static void WriteJson(this ScanResult result, Stream to)
    {
        ArgumentNullException.ThrowIfNull(result);
        using Utf8JsonWriter json = new(to, Options);
        json.WriteStartObject();
        json.WriteStartObject("picture");
        json.WriteString("name", result.Name);
        json.WriteNumber("width", result.Width);
        json.WriteNumber("height", result.Height);
        if (result.MicronsPerPixel is { } microns)
        {
            json.WriteNumber("microns_per_pixel", microns);
        }

        json.WriteEndObject();
        json.WriteString("question", result.Question);
        WriteAnswer(json, result.Answer, result.Finish);
        json.WriteStartArray("items");
        foreach (FoundItem found in result.Items)
        {
            json.WriteStartObject();
            WriteItem(json, found.Item);
            WriteNumbers(json, "tiles", found.Tiles.Select(t => (double)t));
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("tiles");
        foreach (ScannedTile scanned in result.Tiles)
        {
            Tile tile = scanned.Tile;
            json.WriteStartObject();
            json.WriteNumber("row", tile.Row);
            json.WriteNumber("column", tile.Column);
            json.WriteNumber("x", tile.Area.X);
            json.WriteNumber("y", tile.Area.Y);
            json.WriteNumber("width", tile.Area.Width);
            json.WriteNumber("height", tile.Area.Height);
            WriteNumbers(json, "seen_as", [tile.Width, tile.Height]);
            json.WriteBoolean("background", scanned.Answer is null);
            if (scanned.Answer is not null)
            {
                WriteAnswer(json, scanned.Answer, scanned.Finish);
                json.WriteString("answer_in_picture", scanned.AnswerInPicture);
                json.WriteStartArray("items");
                foreach (GroundedItem item in scanned.Items)
                {
                    json.WriteStartObject();
                    WriteItem(json, item);
                    json.WriteEndObject();
                }

                json.WriteEndArray();
            }

            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    /// <summary>
    /// Items as annotations and tiles that were asked about as tiles with their answers, in pixels of the picture: a feature
    /// collection that QuPath imports.
    /// </summary>
    /// <remarks>Source: RFC 7946 but for coordinates, and QuPath's <c>objectType</c>, <c>classification</c>, <c>metadata</c> and <c>measurements</c>.</remarks>
    public static void WriteGeoJson(this ScanResult result, Stream to)
    {
        ArgumentNullException.ThrowIfNull(result);
        using Utf8JsonWriter json = new(to, Options);
        json.WriteStartObject();
        json.WriteString("type", "FeatureCollection");
        json.WriteStartArray("features");
        foreach (ScannedTile scanned in result.Tiles.Where(t => t.Answer is not null))
        {
            PixelArea area = scanned.Tile.Area;
            StartFeature(json);
            WritePolygon(
                json,
                [new(area.X, area.Y), new(area.Right, area.Y), new(area.Right, area.Bottom), new(area.X, area.Bottom)]
            );
            StartProperties(json, "tile", $"row {scanned.Tile.Row + 1}, column {scanned.Tile.Column + 1}");
            json.WriteStartObject("metadata");
            json.WriteString("answer", scanned.AnswerInPicture);
            json.WriteEndObject();
            EndFeature(json);
        }

        foreach (GroundedItem item in result.Items.Select(i => i.Item))
        {
            StartFeature(json);
            if (item.Kind == GroundedKind.Point)
            {
                json.WriteString("type", "Point");
                json.WritePropertyName("coordinates");
                WritePoint(json, item.Corners[0]);
            }
            else
            {
                WritePolygon(json, item.Corners);
            }

            StartProperties(json, "annotation", item.Label);
            if (item.Label is { } label)
            {
                json.WriteStartObject("classification");
                json.WriteString("name", label);
                json.WriteEndObject();
            }

            if (item.Score is { } score)
            {
                json.WriteStartObject("measurements");
                json.WriteNumber("score", score);
                json.WriteEndObject();
            }

            EndFeature(json);
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    static void WriteAnswer(Utf8JsonWriter json, string? answer, FinishReason? finish)
    {
        json.WriteString("answer", answer);
        json.WriteString("finish_reason", finish?.ToString().ToLowerInvariant());
    }

    static void WriteItem(Utf8JsonWriter json, GroundedItem item)
    {
        json.WriteString("label", item.Label);
        json.WriteString("kind", item.Kind.ToString().ToLowerInvariant());
        WriteNumbers(json, "coordinates", item.Coordinates);
        if (item.Score is { } score)
        {
            json.WriteNumber("score", score);
        }
    }

    static void WriteNumbers(Utf8JsonWriter json, string name, IEnumerable<double> numbers)
    {
        json.WriteStartArray(name);
        foreach (double number in numbers)
        {
            json.WriteNumberValue(Math.Round(number, 2));
        }

        json.WriteEndArray();
    }

    static void StartFeature(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteString("type", "Feature");
        json.WriteStartObject("geometry");
    }

    static void StartProperties(Utf8JsonWriter json, string type, string? name)
    {
        json.WriteEndObject(); // geometry
        json.WriteStartObject("properties");
        json.WriteString("objectType", type);
        if (name is not null)
        {
            json.WriteString("name", name);
        }
    }

    static void EndFeature(Utf8JsonWriter json)
    {
        json.WriteEndObject(); // properties
        json.WriteEndObject();
    }

    static void WritePolygon(Utf8JsonWriter json, IReadOnlyList<PointXY> corners)
    {
        json.WriteString("type", "Polygon");
        json.WriteStartArray("coordinates");
        json.WriteStartArray();
        foreach (PointXY corner in corners.Append(corners[0])) // a ring ends where it begins
        {
            WritePoint(json, corner);
        }

        json.WriteEndArray();
        json.WriteEndArray();
    }

    static void WritePoint(Utf8JsonWriter json, PointXY point)
    {
        json.WriteStartArray();
        json.WriteNumberValue(Math.Round(point.X, 2));
        json.WriteNumberValue(Math.Round(point.Y, 2));
        json.WriteEndArray();
    }
}
