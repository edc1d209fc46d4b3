using System.Globalization;
using VlmSharp.Media.Images;

namespace VlmSharp.Grounding;

/// <summary>Draws what an answer points at on a copy of the picture.</summary>
public static class Overlay
{
    /// <summary>Draws boxes, quads and polygons as outlines and points as discs, each with its label and score on a plate.</summary>
    /// <remarks>Things of one label have one colour. Lines and letters grow with the picture. Labels are untrusted text: shown as they are, cut where they are too long.</remarks>
    /// <param name="image">The picture, upright; not changed.</param>
    /// <param name="result">What was found on it.</param>
    /// <exception cref="ArgumentException">The picture is not of the size that was pointed at.</exception>
    /// <exception cref="MediaException">libvips is not on the machine, or cannot set text.</exception>
    public static RgbImage Draw(RgbImage image, GroundingResult result)
    {
        ArgumentNullException.ThrowIfNull(image);
        ArgumentNullException.ThrowIfNull(result);
        PictureFrame frame = result.Frame;
        if ((image.Width, image.Height) != (frame.OriginalWidth, frame.OriginalHeight))
        {
            throw new ArgumentException(
                $"The picture has {image.Width} x {image.Height} pixels; what is to be drawn on it was found on one of {frame.OriginalWidth} x {frame.OriginalHeight}.",
                nameof(image)
            );
        }

        return Draw(image, result.Items);
    }

    /// <summary>As <see cref="Draw(RgbImage, GroundingResult)"/>, for items in pixels of this very picture.</summary>
    /// <param name="image">The picture; not changed.</param>
    /// <param name="items">What is drawn, later ones over earlier ones; labels over everything.</param>
    public static RgbImage Draw(RgbImage image, IReadOnlyList<GroundedItem> items)
    {
        ArgumentNullException.ThrowIfNull(image);
        ArgumentNullException.ThrowIfNull(items);
        Canvas canvas = new(image);
        Dictionary<string, Colour> colours = [];
        foreach (GroundedItem item in items)
        {
            string name = item.Label ?? "";
            if (!colours.TryGetValue(name, out Colour colour))
            {
                colours[name] = colour = Colour.Numbered(colours.Count);
            }

            DrawShape(canvas, item, colour);
        }

        Plates plates = new(canvas);
        foreach (GroundedItem item in items)
        {
            string score = item.Score is { } s ? s.ToString("0.00", CultureInfo.InvariantCulture) : "";
            plates.AddTo(Around(item, canvas), $"{item.Label} {score}", colours[item.Label ?? ""]);
        }

        return canvas.ToImage();
    }

    static void DrawShape(Canvas canvas, GroundedItem item, Colour colour)
    {
        IReadOnlyList<PointXY> corners = item.Corners;
        switch (item.Kind)
        {
            case GroundedKind.Box:
                canvas.StrokeRectangle(Bounds(corners), canvas.LineWidth, colour);
                break;
            case GroundedKind.Point:
                // A rim of the contrasting colour, so that a disc is seen on a ground of its own colour.
                canvas.FillDisc(corners[0], PointRadius(canvas) + (canvas.LineWidth / 2.0), colour.Contrast);
                canvas.FillDisc(corners[0], PointRadius(canvas), colour);
                break;
            default:
                for (int i = 0; i < corners.Count; i++)
                {
                    canvas.Line(corners[i], corners[(i + 1) % corners.Count], canvas.LineWidth, colour);
                }

                break;
        }
    }

    static double PointRadius(Canvas canvas) => 2 * canvas.LineWidth;

    static Region Around(GroundedItem item, Canvas canvas)
    {
        Region bounds = Bounds(item.Corners);
        double room = item.Kind == GroundedKind.Point ? PointRadius(canvas) + canvas.LineWidth : canvas.LineWidth / 2.0;
        return new(bounds.X - room, bounds.Y - room, bounds.Width + (2 * room), bounds.Height + (2 * room));
    }

    static Region Bounds(IReadOnlyList<PointXY> corners)
    {
        (double left, double top) = (corners.Min(c => c.X), corners.Min(c => c.Y));
        return new(left, top, corners.Max(c => c.X) - left, corners.Max(c => c.Y) - top);
    }
}
