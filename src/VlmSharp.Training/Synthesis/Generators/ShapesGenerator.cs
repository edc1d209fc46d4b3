using VlmSharp.Datasets;
using VlmSharp.Formats;
using VlmSharp.Grounding;

namespace VlmSharp.Training.Synthesis.Generators;

/// <summary>Coloured shapes that do not touch: their kinds, colours, number, places and relations.</summary>
sealed class ShapesGenerator : IGenerator
{
    // Free between two shapes, and to the picture's edge.
    const int Gap = 3;

    static readonly (Term Name, string Group)[] Kinds =
    [
        (new("circle", "circles", "圆形"), "round"),
        (new("square", "squares", "正方形"), "square"),
        (new("triangle", "triangles", "三角形"), "triangle"),
        (new("star", "stars", "星形"), "star"),
        (new("rectangle", "rectangles", "长方形"), "square"),
        (new("pentagon", "pentagons", "五边形"), "polygon"),
        (new("hexagon", "hexagons", "六边形"), "polygon"),
        (new("diamond", "diamonds", "菱形"), "square"),
        (new("cross", "crosses", "十字形"), "cross"),
        (new("ring", "rings", "圆环"), "round"),
        (new("oval", "ovals", "椭圆形"), "round"),
    ];

    static readonly Term AnyShape = new("shape", "shapes", "形状");

    static readonly string[] Questions =
    [
        "shape",
        "colour",
        "count",
        "locate",
        "locate_all",
        "relation",
        "larger",
        "list",
        "exists",
    ];

    readonly string[] kinds;
    readonly NamedColour[] colours;
    readonly (int Low, int High) count;
    readonly (int Low, int High) size;
    readonly (string Item, double Weight)[] ask;

    public ShapesGenerator(JsonObjectReader json)
    {
        json.AllowOnly("kind", "weight", "shapes", "colours", "count", "size", "ask");
        string[] all = [.. Kinds.Select(kind => kind.Name.English)];
        string[] allColours = [.. Palette.All.Select(colour => colour.Name.English)];
        kinds = json.Choices("shapes", all, all);
        string[] named = json.Choices("colours", allColours, allColours);
        colours = [.. Palette.All.Where(colour => named.Contains(colour.Name.English))];
        count = json.Range("count", 1, 9, (1, 5));
        size = json.Range("size", 8, 1000, (20, 60));
        ask = json.Weights("ask", Questions, [.. Questions.Select(question => (question, 1.0))]);
    }

    /// <param name="Kind">Of <see cref="Kinds"/>.</param>
    /// <param name="Colour">Its name and level.</param>
    /// <param name="Box">Around what is drawn.</param>
    /// <param name="Area">In pixels.</param>
    sealed record Shape(Term Kind, NamedColour Colour, Box Box, double Area);

    public Draft? Make(Scene scene)
    {
        CounterRandom random = scene.Random;
        string question = random.Pick(ask);
        List<Shape> shapes = Draw(scene);
        return shapes.Count < count.Low
            ? null
            : question switch
            {
                "shape" => NameShape(scene, shapes),
                "colour" => NameColour(scene, shapes),
                "count" => Count(scene, shapes),
                "locate" => Locate(scene, shapes),
                "locate_all" => LocateAll(scene, shapes),
                "relation" => Relation(scene, shapes),
                "larger" => Larger(scene, shapes),
                "list" => List(scene, shapes),
                _ => Exists(scene, shapes),
            };
    }

    List<Shape> Draw(Scene scene)
    {
        CounterRandom random = scene.Random;

        // A square is a rectangle and a ring is round: of kinds that might be taken for each other, one picture has one.
        List<(Term Name, string Group)> possible = [.. Kinds.Where(kind => kinds.Contains(kind.Name.English))];
        random.Shuffle(possible);
        Term[] here =
        [
            .. possible
                .DistinctBy(kind => kind.Group == "polygon" ? kind.Name.English : kind.Group)
                .Select(kind => kind.Name),
        ];

        int wanted = random.Int(count.Low, count.High);
        List<(Term Kind, NamedColour Colour)> chosen = [];
        for (int i = 0; i < wanted; i++)
        {
            // Half of the time something is as it was before, so that there is more than one to count.
            Term kind = i > 0 && random.Chance(0.4) ? random.Pick(chosen).Kind : random.Pick(here);
            NamedColour colour = i > 0 && random.Chance(0.4) ? random.Pick(chosen).Colour : random.Pick(colours);
            chosen.Add((kind, colour));
        }

        Colour[] papers =
        [
            .. Palette.Papers.Where(paper => chosen.All(item => Palette.Distance(item.Colour.Colour, paper) > 100)),
        ];
        if (papers.Length == 0)
        {
            return [];
        }

        scene.PaintPaper(random.Pick(papers));
        List<Shape> shapes = [];
        double most = Math.Min(size.High, Math.Min(scene.Painting.Width, scene.Painting.Height) - (2.0 * Gap));
        // Crowded pictures have smaller shapes.
        most = Math.Max(
            size.Low,
            Math.Min(most, 1.1 * Math.Sqrt((double)scene.Painting.Width * scene.Painting.Height / wanted / 2))
        );
        foreach ((Term kind, NamedColour colour) in chosen)
        {
            for (int attempt = 0; attempt < 60; attempt++)
            {
                double radius = random.Number(size.Low, most) / 2;
                PointXY middle = new(
                    random.Number(radius, scene.Painting.Width - radius),
                    random.Number(radius, scene.Painting.Height - radius)
                );
                PointXY[][] outlines = Outline(kind.English, middle, radius, random);
                Box box = Box.Around(outlines[0]);
                Box room = box.Grown(Gap);
                if (
                    room is { X1: >= 0, Y1: >= 0 }
                    && room.X2 <= scene.Painting.Width
                    && room.Y2 <= scene.Painting.Height
                    && shapes.TrueForAll(other => !other.Box.Touches(room))
                )
                {
                    scene.Painting.Fill(Palette.Vary(colour.Colour, random, 10), outlines);
                    shapes.Add(new(kind, colour, box, Math.Abs(outlines.Sum(SignedArea))));
                    break;
                }
            }
        }

        return shapes;
    }

    static PointXY[][] Outline(string kind, PointXY middle, double radius, CounterRandom random)
    {
        double any = random.Number(0, 2 * Math.PI);
        double slight = random.Number(-0.2, 0.2);
        double flat = random.Number(0.45, 0.65);
        switch (kind)
        {
            case "circle":
                return [Outlines.Disc(middle, radius)];
            case "ring":
                return [Outlines.Disc(middle, radius), [.. Outlines.Disc(middle, flat * radius).Reverse()]];
            case "oval":
                return
                [
                    random.Chance(0.5)
                        ? Outlines.Ellipse(middle, radius, flat * radius)
                        : Outlines.Ellipse(middle, flat * radius, radius),
                ];
            case "square":
                return [Outlines.Polygon(middle, radius, 4, (Math.PI / 4) + slight)];
            case "triangle":
                return [Outlines.Polygon(middle, radius, 3, any)];
            case "pentagon":
                return [Outlines.Polygon(middle, radius, 5, any)];
            case "hexagon":
                return [Outlines.Polygon(middle, radius, 6, any)];
            case "star":
                return [Outlines.Star(middle, radius, any)];
            case "cross":
                return [Outlines.Cross(middle, radius, slight)];
            case "diamond":
                return
                [
                    [
                        new(middle.X, middle.Y - radius),
                        new(middle.X + (flat * radius), middle.Y),
                        new(middle.X, middle.Y + radius),
                        new(middle.X - (flat * radius), middle.Y),
                    ],
                ];
            default:
                (double across, double down) = random.Chance(0.5) ? (0.88, 0.88 * flat) : (0.88 * flat, 0.88);
                return
                [
                    Outlines.Rectangle(
                        new(
                            middle.X - (across * radius),
                            middle.Y - (down * radius),
                            middle.X + (across * radius),
                            middle.Y + (down * radius)
                        )
                    ),
                ];
        }
    }

    static double SignedArea(PointXY[] outline)
    {
        double twice = 0;
        for (int i = 0; i < outline.Length; i++)
        {
            (PointXY a, PointXY b) = (outline[i], outline[(i + 1) % outline.Length]);
            twice += (a.X * b.Y) - (b.X * a.Y);
        }

        return twice / 2;
    }

    static Draft? NameShape(Scene scene, List<Shape> shapes)
    {
        Shape[] unique = [.. shapes.Where(shape => shapes.Count(other => other.Colour == shape.Colour) == 1)];
        return shapes.Count == 1 ? new("name-shape", scene.Ask("name-shape"), shapes[0].Kind.In(scene.Language))
            : unique.Length == 0 ? null
            : scene.Random.Pick(unique) is var one
                ? new(
                    "name-shape",
                    scene.Ask("name-shape-of", one.Colour.Name.In(scene.Language)),
                    one.Kind.In(scene.Language)
                )
            : null;
    }

    static Draft? NameColour(Scene scene, List<Shape> shapes)
    {
        Shape[] unique = [.. shapes.Where(shape => shapes.Count(other => other.Kind == shape.Kind) == 1)];
        if (unique.Length == 0)
        {
            return null;
        }

        Shape one = scene.Random.Pick(unique);
        Term called = shapes.Count == 1 && scene.Random.Chance(0.3) ? AnyShape : one.Kind;
        return new(
            "name-colour",
            scene.Ask("name-colour", called.In(scene.Language)),
            one.Colour.Name.In(scene.Language)
        );
    }

    Draft Count(Scene scene, List<Shape> shapes)
    {
        CounterRandom random = scene.Random;
        Shape sample = random.Pick(shapes);
        bool absent = random.Chance(0.1);
        Term kind = absent ? AbsentKind(shapes, random) ?? sample.Kind : sample.Kind;
        NamedColour colour = sample.Colour;
        (string name, int number) = random.Int(0, 3) switch
        {
            0 => (AnyShape.In(scene.Language, plural: true), shapes.Count),
            1 => (Called(colour, AnyShape, scene, plural: true), shapes.Count(shape => shape.Colour == colour)),
            2 => (kind.In(scene.Language, plural: true), shapes.Count(shape => shape.Kind == kind)),
            _ => (
                Called(colour, kind, scene, plural: true),
                shapes.Count(shape => shape.Colour == colour && shape.Kind == kind)
            ),
        };
        return new("count", scene.Ask("count", name), $"{number}");
    }

    // No kind that something in the picture might be taken for.
    Term? AbsentKind(List<Shape> shapes, CounterRandom random)
    {
        string Group(Term kind) => Kinds.First(known => known.Name == kind).Group;
        Term[] absent =
        [
            .. Kinds
                .Where(kind => kinds.Contains(kind.Name.English))
                .Where(kind => shapes.TrueForAll(shape => Group(shape.Kind) != kind.Group))
                .Select(kind => kind.Name),
        ];
        return absent.Length > 0 ? random.Pick(absent) : null;
    }

    static Draft? Locate(Scene scene, List<Shape> shapes)
    {
        Shape[] unique = Unique(shapes);
        if (unique.Length == 0)
        {
            return null;
        }

        Shape one = scene.Random.Pick(unique);
        string name = Called(one.Colour, one.Kind, scene);
        return new(
            "locate",
            scene.Ask("locate", scene.IsChinese ? name : $"the {name}"),
            [new ReferencePart(name), one.Box.Part()]
        );
    }

    static Draft? LocateAll(Scene scene, List<Shape> shapes)
    {
        Term kind = scene.Random.Pick(shapes).Kind;
        Shape[] all = [.. shapes.Where(shape => shape.Kind == kind).OrderBy(shape => shape.Box.X1)];
        return all.Length is 1 or > 4
            ? null
            : new(
                "locate-all",
                scene.Ask("locate-all", kind.In(scene.Language, plural: true)),
                [new ReferencePart(kind.In(scene.Language, plural: true)), .. all.Select(shape => shape.Box.Part())]
            );
    }

    static Draft? Relation(Scene scene, List<Shape> shapes)
    {
        if (Pair(scene, shapes) is not var (a, b))
        {
            return null;
        }

        string side = scene.Random.Pick((string[])["left", "right", "above", "below"]);
        (bool yes, bool no) = side switch
        {
            "left" => (a.Box.X2 <= b.Box.X1, b.Box.X2 <= a.Box.X1),
            "right" => (b.Box.X2 <= a.Box.X1, a.Box.X2 <= b.Box.X1),
            "above" => (a.Box.Y2 <= b.Box.Y1, b.Box.Y2 <= a.Box.Y1),
            _ => (b.Box.Y2 <= a.Box.Y1, a.Box.Y2 <= b.Box.Y1),
        };
        return yes || no
            ? new(
                "relation",
                scene.Ask(side, Called(a.Colour, a.Kind, scene), Called(b.Colour, b.Kind, scene)),
                scene.YesNo(yes)
            )
            : null;
    }

    static Draft? Larger(Scene scene, List<Shape> shapes)
    {
        if (Pair(scene, shapes) is not var (a, b) || Math.Max(a.Area, b.Area) < 1.6 * Math.Min(a.Area, b.Area))
        {
            return null;
        }

        Shape larger = a.Area > b.Area ? a : b;
        return new(
            "larger",
            scene.Ask("larger", Called(a.Colour, a.Kind, scene), Called(b.Colour, b.Kind, scene)),
            Called(larger.Colour, larger.Kind, scene)
        );
    }

    static Draft? List(Scene scene, List<Shape> shapes)
    {
        Shape[] row = [.. shapes.OrderBy(shape => shape.Box.Middle.X)];
        bool clear = Enumerable.Range(1, row.Length - 1).All(i => row[i].Box.Middle.X - row[i - 1].Box.Middle.X >= 8);
        return clear && row.Length <= 4
            ? new(
                "list-shapes",
                scene.Ask("list-shapes"),
                string.Join(scene.IsChinese ? "、" : ", ", row.Select(shape => Called(shape.Colour, shape.Kind, scene)))
            )
            : null;
    }

    Draft? Exists(Scene scene, List<Shape> shapes)
    {
        CounterRandom random = scene.Random;
        Shape one = random.Pick(shapes);
        (NamedColour colour, Term kind) = (one.Colour, one.Kind);
        bool wanted = random.Chance(0.5);
        if (!wanted)
        {
            // Half of what is not there differs from something that is there in one respect only.
            (colour, kind) = random.Chance(0.5)
                ? (random.Pick(colours), kind)
                : (colour, AbsentKind(shapes, random) ?? kind);
        }

        bool there = shapes.Exists(shape => shape.Colour == colour && shape.Kind == kind);
        string article =
            scene.IsChinese ? ""
            : colour.Name.English.StartsWith('o') ? "an "
            : "a ";
        return there == wanted
            ? new("exists", scene.Ask("exists", article + Called(colour, kind, scene)), scene.YesNo(there))
            : null;
    }

    static (Shape A, Shape B)? Pair(Scene scene, List<Shape> shapes)
    {
        Shape[] unique = Unique(shapes);
        if (unique.Length < 2)
        {
            return null;
        }

        scene.Random.Shuffle(unique);
        return (unique[0], unique[1]);
    }

    /// <summary>Those that colour and kind together name.</summary>
    static Shape[] Unique(List<Shape> shapes) =>
        [
            .. shapes.Where(shape =>
                shapes.Count(other => (other.Kind, other.Colour) == (shape.Kind, shape.Colour)) == 1
            ),
        ];

    static string Called(NamedColour colour, Term kind, Scene scene, bool plural = false) =>
        colour.Name.In(scene.Language) + (scene.IsChinese ? "" : " ") + kind.In(scene.Language, plural);
}
