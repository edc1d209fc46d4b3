using System.Reflection;

namespace VlmSharp.Training.Synthesis;

/// <summary>Words to draw. The lists' sources stand in their first lines.</summary>
static class WordLists
{
    public static readonly string[] English = Load("words-en.txt");
    public static readonly string[] Chinese = Load("words-zh.txt");

    /// <summary>The characters of the Chinese words, each once.</summary>
    public static readonly string[] Han =
    [
        .. Chinese.SelectMany(word => word).Distinct().Order().Select(c => c.ToString()),
    ];

    public static readonly string[] Names =
    [
        "Anna",
        "Ben",
        "Carla",
        "David",
        "Emma",
        "Felix",
        "Grace",
        "Hugo",
        "Ida",
        "Jack",
        "Kim",
        "Lena",
        "Max",
        "Nina",
        "Omar",
        "Paula",
        "Quinn",
        "Rosa",
        "Sam",
        "Tina",
        "Uma",
        "Victor",
        "Wendy",
        "Yuri",
        "Zoe",
    ];

    public static readonly string[] Goods =
    [
        "apple",
        "bread",
        "butter",
        "cheese",
        "coffee",
        "egg",
        "fish",
        "flour",
        "grape",
        "honey",
        "juice",
        "lemon",
        "milk",
        "nut",
        "oil",
        "onion",
        "pasta",
        "pear",
        "plum",
        "rice",
        "salt",
        "soap",
        "soup",
        "sugar",
        "tea",
        "tomato",
        "water",
        "wine",
    ];

    static string[] Load(string name)
    {
        using Stream stream = Assembly
            .GetExecutingAssembly()
            .GetManifestResourceStream($"VlmSharp.Training.Synthesis.Data.{name}")!;
        using StreamReader reader = new(stream);
        List<string> words = [];
        while (reader.ReadLine() is { } line)
        {
            if (!line.StartsWith('#'))
            {
                words.AddRange(line.Split(' ', StringSplitOptions.RemoveEmptyEntries));
            }
        }

        return [.. words];
    }
}
