using System.Globalization;

namespace VlmSharp.Training.Synthesis.Generators;

/// <summary>Texts to be read, of kinds that look different.</summary>
static class TextContent
{
    public static readonly string[] Kinds =
    [
        "digits",
        "letters",
        "string",
        "word",
        "words",
        "number",
        "price",
        "date",
        "time",
        "code",
        "percent",
        "phone",
        "hanzi",
        "hanzi-word",
    ];

    public static readonly string[] Cases = ["lower", "upper", "title"];

    /// <summary>Without I and O, which look like 1 and 0 in many fonts.</summary>
    public const string Alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789";

    const string Digits = "0123456789";
    const string Letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

    static readonly string[] Months =
    [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];

    /// <summary>Makes one.</summary>
    /// <param name="kind">One of <see cref="Kinds"/>.</param>
    /// <param name="length">Characters, or words where the kind is words; other kinds have their own.</param>
    /// <param name="alphabet">Of strings.</param>
    /// <param name="cases">Of words.</param>
    /// <param name="random">Where it comes from.</param>
    public static string Make(
        string kind,
        (int Low, int High) length,
        string alphabet,
        string[] cases,
        CounterRandom random
    ) =>
        kind switch
        {
            "digits" => Digits.Characters(random, random.Int(length.Low, length.High)),
            "letters" => Letters.Characters(random, random.Int(length.Low, length.High)),
            "string" => alphabet.Characters(random, random.Int(length.Low, length.High)),
            "word" => Cased(Fitting(WordLists.English, length, random), random.Pick(cases)),
            "words" => Cased(
                string.Join(
                    ' ',
                    Enumerable.Range(0, random.Int(length.Low, length.High)).Select(_ => random.Pick(WordLists.English))
                ),
                random.Pick(cases)
            ),
            "number" => Number(random),
            "price" => random.Pick((string[])["$", "€", "£", "¥"])
                + Decimal(random.Int(1, random.Pick((int[])[999, 9999, 99999])), 2),
            "date" => Date(random),
            "time" => random.Chance(0.6)
                ? Invariant($"{random.Int(0, 23):00}:{random.Int(0, 59):00}")
                : Invariant($"{random.Int(1, 12)}:{random.Int(0, 59):00} {random.Pick((string[])["AM", "PM"])}"),
            "code" => Code(random),
            "percent" => random.Chance(0.5)
                ? Invariant($"{random.Int(0, 100)}%")
                : Decimal(random.Int(1, 999), 1) + "%",
            "phone" => Invariant($"{random.Int(200, 999)}-{random.Int(0, 9999):0000}"),
            "hanzi" => string.Concat(
                Enumerable.Range(0, random.Int(length.Low, length.High)).Select(_ => random.Pick(WordLists.Han))
            ),
            "hanzi-word" => Fitting(WordLists.Chinese, length, random),
            _ => throw new ArgumentException($"{kind} is no kind of text", nameof(kind)),
        };

    static string Characters(this string from, CounterRandom random, int count) =>
        string.Concat(Enumerable.Range(0, count).Select(_ => from[random.Int(0, from.Length - 1)]));

    static string Fitting(string[] words, (int Low, int High) length, CounterRandom random)
    {
        // From a random place on: nearly every length has words.
        int start = random.Int(0, words.Length - 1);
        for (int i = 0; i < words.Length; i++)
        {
            string word = words[(start + (i * 7919)) % words.Length];
            if (word.Length >= length.Low && word.Length <= length.High)
            {
                return word;
            }
        }

        return words[start];
    }

    static string Cased(string text, string how) =>
        how switch
        {
            "upper" => text.ToUpperInvariant(),
            "title" => char.ToUpperInvariant(text[0]) + text[1..],
            _ => text,
        };

    static string Number(CounterRandom random)
    {
        int value = random.Int(0, random.Pick((int[])[99, 999, 9999, 999_999]));
        return random.Int(0, 3) switch
        {
            0 => Invariant($"{value:#,0}"),
            1 => Decimal(value, random.Int(1, 2)),
            2 => Invariant($"-{value + 1}"),
            _ => Invariant($"{value}"),
        };
    }

    static string Date(CounterRandom random)
    {
        (int year, int month, int day) = (random.Int(1950, 2035), random.Int(1, 12), random.Int(1, 28));
        return random.Int(0, 4) switch
        {
            0 => Invariant($"{day:00}/{month:00}/{year}"),
            1 => Invariant($"{Months[month - 1][..3]} {day}, {year}"),
            2 => Invariant($"{day} {Months[month - 1]} {year}"),
            3 => Invariant($"{day:00}.{month:00}.{year}"),
            _ => Invariant($"{year}-{month:00}-{day:00}"),
        };
    }

    static string Code(CounterRandom random) =>
        random.Int(0, 3) switch
        {
            0 => Letters.Characters(random, 2) + "-" + Digits.Characters(random, random.Int(2, 4)),
            1 => "#" + Digits.Characters(random, random.Int(3, 6)),
            2 => Alphabet.Characters(random, 3) + "-" + Alphabet.Characters(random, 3),
            _ => Letters.Characters(random, 1) + Digits.Characters(random, 3),
        };

    static string Decimal(int value, int places) =>
        (value / (decimal)Math.Pow(10, places)).ToString(places == 1 ? "0.0" : "0.00", CultureInfo.InvariantCulture);

    static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
