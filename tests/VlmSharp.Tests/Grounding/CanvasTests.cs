using VlmSharp.Grounding;
using VlmSharp.Media.Images;
using Xunit;

namespace VlmSharp.Tests.Grounding;

public sealed class CanvasTests
{
    static readonly Colour White = new(255, 255, 255);

    [Fact]
    public void A_rectangle_covers_exactly_its_pixels()
    {
        Canvas canvas = Black(6, 5);
        canvas.FillRectangle(new(1, 2, 3, 2), White);
        Assert.Equal(
            """
            000 000 000 000 000 000
            000 000 000 000 000 000
            000 255 255 255 000 000
            000 255 255 255 000 000
            000 000 000 000 000 000
            """,
            Show(canvas)
        );
    }

    [Fact]
    public void A_pixel_takes_the_share_that_a_rectangle_covers()
    {
        Canvas canvas = Black(4, 3);
        canvas.FillRectangle(new(0.6, 0.8, 2, 1), White);
        Assert.Equal(
            """
            020 051 031 000
            082 204 122 000
            000 000 000 000
            """,
            Show(canvas)
        );
    }

    [Fact]
    public void A_box_has_its_line_along_its_edges()
    {
        Canvas canvas = Black(8, 7);
        canvas.StrokeRectangle(new(2, 2, 4, 3), 2, White);
        Assert.Equal(
            """
            000 000 000 000 000 000 000 000
            000 255 255 255 255 255 255 000
            000 255 255 255 255 255 255 000
            000 255 255 000 000 255 255 000
            000 255 255 255 255 255 255 000
            000 255 255 255 255 255 255 000
            000 000 000 000 000 000 000 000
            """,
            Show(canvas)
        );
    }

    [Fact]
    public void A_box_at_the_edge_of_the_picture_keeps_the_width_of_its_line()
    {
        Canvas canvas = Black(6, 5);
        canvas.StrokeRectangle(new(0, 0, 6, 5), 2, White);
        Assert.Equal(
            """
            255 255 255 255 255 255
            255 255 255 255 255 255
            255 255 000 000 255 255
            255 255 255 255 255 255
            255 255 255 255 255 255
            """,
            Show(canvas)
        );
    }

    [Theory]
    [InlineData(2, 3, 6, 3)]
    [InlineData(6, 3, 2, 3)]
    public void A_level_line_covers_whole_rows(double fromX, double fromY, double toX, double toY)
    {
        Canvas canvas = Black(8, 6);
        canvas.Line(new(fromX, fromY), new(toX, toY), 2, White);
        string[] rows = Show(canvas).Split('\n');
        Assert.Equal("000 000 000 000 000 000 000 000", rows[0]);
        Assert.Contains("255 255 255 255", rows[2], StringComparison.Ordinal);
        Assert.Equal(rows[2], rows[3]);
        Assert.Equal(rows[1], rows[4]);
    }

    [Fact]
    public void A_line_covers_what_its_distance_says_and_nothing_else()
    {
        Random random = new(3);
        for (int i = 0; i < 200; i++)
        {
            (PointXY from, PointXY to, double width) = (Anywhere(), Anywhere(), 1 + (random.NextDouble() * 6));
            Canvas canvas = Black(24, 16);
            canvas.Line(from, to, width, White);
            byte[] pixels = canvas.ToImage().Pixels.ToArray();
            for (int p = 0; p < 24 * 16; p++)
            {
                PointXY at = new((p % 24) + 0.5, (p / 24) + 0.5);
                (double dx, double dy) = (to.X - from.X, to.Y - from.Y);
                double share = Math.Clamp(
                    (((at.X - from.X) * dx) + ((at.Y - from.Y) * dy)) / ((dx * dx) + (dy * dy)),
                    0,
                    1
                );
                double distance = Math.Sqrt(
                    Math.Pow(at.X - from.X - (share * dx), 2) + Math.Pow(at.Y - from.Y - (share * dy), 2)
                );
                Assert.Equal(255 * Math.Clamp((width / 2) + 0.5 - distance, 0, 1), pixels[3 * p], 0.51);
            }
        }

        PointXY Anywhere() => new((random.NextDouble() * 40) - 8, (random.NextDouble() * 30) - 7);
    }

    [Fact]
    public void Discs_circles_and_triangles_have_the_area_they_should()
    {
        Canvas disc = Black(60, 60);
        disc.FillDisc(new(30.3, 29.7), 20, White);
        Assert.Equal(Math.PI * 400, Area(disc), 8.0);

        Canvas circle = Black(60, 60);
        circle.StrokeCircle(new(30.3, 29.7), 20, 4, White);
        Assert.Equal(Math.PI * 40 * 4, Area(circle), 8.0);

        Canvas triangle = Black(60, 60);
        triangle.FillTriangle(new(5, 5), new(55, 10), new(20, 50), White);
        Assert.Equal(((50 * 45) - (15 * 5)) / 2.0, Area(triangle), 8.0);
    }

    [Fact]
    public void What_lies_outside_is_cut_off()
    {
        Canvas canvas = Black(4, 4);
        canvas.FillRectangle(new(-1e9, 1, 2e9, 1), White);
        canvas.Line(new(-1e6, 3.5), new(1e6, 3.5), 1, White);
        canvas.FillDisc(new(-100, -100), 5, White);
        canvas.StrokeCircle(new(1e6, 1e6), 1, 1, White);
        canvas.FillTriangle(new(-9, -9), new(-5, -9), new(-9, -5), White);
        canvas.Text(TextImage.Render("W", 30)!, -500, 500, White);
        Assert.Equal(
            """
            000 000 000 000
            255 255 255 255
            000 000 000 000
            255 255 255 255
            """,
            Show(canvas)
        );
    }

    static Canvas Black(int width, int height) => new(new RgbImage(width, height, new byte[3 * width * height]));

    static double Area(Canvas canvas) => canvas.ToImage().Pixels.ToArray().Sum(v => v / 255.0) / 3;

    static string Show(Canvas canvas)
    {
        byte[] pixels = canvas.ToImage().Pixels.ToArray();
        return string.Join(
            '\n',
            Enumerable
                .Range(0, canvas.Height)
                .Select(y =>
                    string.Join(
                        ' ',
                        Enumerable.Range(0, canvas.Width).Select(x => $"{pixels[3 * ((y * canvas.Width) + x)]:000}")
                    )
                )
        );
    }
}
