using VlmSharp.Formats;
using VlmSharp.Media.Images;

namespace VlmSharp.Training.Synthesis;

/// <summary>The fonts of the machine that a recipe takes, divided into those to learn from and those held out for evaluation.</summary>
/// <remarks>
/// Divided by family, so that no style of a held-out font is ever learnt, and by a hash of the name, so that another font on the machine
/// changes nothing for those that were there.
/// </remarks>
sealed class FontShelf
{
    // Shapes other than letters under the codes of letters, decoration beyond reading, or a 0 and a 1 that look like o and I.
    static readonly string[] Unreadable =
    [
        "Keyboard",
        "Symbol",
        "Math",
        "Initials",
        "D050000L",
        "Dingbats",
        "Emoji",
        "Icon",
        "Awesome",
        "Garamond",
        "Ornament",
    ];

    // Chinese written as it is elsewhere, and second names of what is there already.
    static readonly string[] Elsewhere = [" HK", " JP", " KR", " TC", " TW", " TW MBE", " Sharp"];

    // Members of one design that have names of their own.
    static readonly string[] Variants = [" Narrow", " Condensed", " Display", " Semi Condensed", " Mono"];

    static readonly Lazy<IReadOnlyList<FontFace>> English = new(() => FontFace.Installed("en"));
    static readonly Lazy<IReadOnlyList<FontFace>> Chinese = new(() => FontFace.Installed("zh-cn"));

    readonly Settings settings;
    readonly bool heldOut;
    readonly Lazy<FontFace[][]> latin;
    readonly Lazy<FontFace[][]> han;

    public FontShelf(Settings settings, bool heldOut)
    {
        (this.settings, this.heldOut) = (settings, heldOut);
        latin = new(() =>
            Choose(
                English.Value.Where(face => Chinese.Value.All(other => other.Family != face.Family)),
                settings.Families,
                "families",
                "fonts-dejavu-core and fonts-liberation have some, scripts/fonts.sh installs many"
            )
        );
        han = new(() =>
            Choose(
                Chinese.Value.Where(face => !Elsewhere.Any(end => face.Family.EndsWith(end, StringComparison.Ordinal))),
                settings.ChineseFamilies,
                "chinese_families",
                "fonts-noto-cjk and fonts-wqy-microhei have some, scripts/fonts.sh installs them"
            )
        );
    }

    /// <summary>What a recipe says about fonts.</summary>
    /// <param name="Json">For errors.</param>
    /// <param name="Families">Only these, and none held out; null for all.</param>
    /// <param name="ChineseFamilies">As above.</param>
    /// <param name="AnyStyle">Also bold, italic and condensed ones.</param>
    /// <param name="HoldOutEvery">One family in so many is held out.</param>
    public sealed record Settings(
        JsonObjectReader Json,
        string[]? Families,
        string[]? ChineseFamilies,
        bool AnyStyle,
        int HoldOutEvery
    )
    {
        public static Settings Read(JsonObjectReader json)
        {
            json.AllowOnly("families", "chinese_families", "styles", "hold_out_every");
            json.Require("styles", "regular", "any");
            return new(
                json,
                json.Has("families") ? json.Texts("families", 1000) : null,
                json.Has("chinese_families") ? json.Texts("chinese_families", 1000) : null,
                json.Text("styles", "any") == "any",
                json.Int("hold_out_every", 2, 1000, 7)
            );
        }
    }

    /// <summary>The families for letters and digits, each with its faces.</summary>
    public IReadOnlyList<FontFace[]> Latin => latin.Value;

    /// <summary>The families for Chinese.</summary>
    public IReadOnlyList<FontFace[]> Han => han.Value;

    /// <summary>A font for a text: any family, then any face of it.</summary>
    public FontFace Pick(string text, CounterRandom random) =>
        random.Pick(random.Pick(text.Any(c => c >= '\u2E80') ? Han : Latin));

    /// <summary>Whether a family is for evaluation.</summary>
    public static bool IsHeldOut(string family, int every)
    {
        string design = Variants.Aggregate(family, (name, end) => name.Replace(end, "", StringComparison.Ordinal));
        uint hash = 2166136261; // FNV-1a
        foreach (char c in design)
        {
            hash = (hash ^ c) * 16777619;
        }

        // Its lowest bits alone hang together with the last letter.
        return ((hash ^ (hash >> 15)) * 0x165667B1 >> 12) % (uint)every == 0;
    }

    FontFace[][] Choose(IEnumerable<FontFace> installed, string[]? named, string field, string hint)
    {
        if (named is not null && heldOut)
        {
            throw settings.Json.Error(
                field,
                "names the fonts to learn from, so that none is held out; expected no such field"
            );
        }

        FontFace[][] families =
        [
            .. installed
                .Where(face => !Unreadable.Any(word => face.Family.Contains(word, StringComparison.Ordinal)))
                .Where(face =>
                    settings.AnyStyle
                        ? face.Weight is >= 50 and <= 210
                        : face is { Weight: >= 70 and <= 100, Slant: 0, Width: 100 }
                )
                .Where(face =>
                    named?.Contains(face.Family) ?? (IsHeldOut(face.Family, settings.HoldOutEvery) == heldOut)
                )
                .GroupBy(face => face.Family)
                .Select(family => family.ToArray()),
        ];
        foreach (string name in named ?? [])
        {
            if (families.All(family => family[0].Family != name))
            {
                throw settings.Json.Error(field, $"names '{name}', which is not on this machine ({hint})");
            }
        }

        return families.Length > 0
            ? families
            : throw new CheckpointException(
                settings.Json.File,
                $"no font on this machine can be taken for {(heldOut ? "evaluation" : "training")} ({field}): {hint}"
            );
    }
}
