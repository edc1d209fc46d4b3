using System.Text;
using VlmSharp.Text;
using Xunit;

namespace VlmSharp.Tests.Text;

public sealed class NfcTests
{
    static string Normalize(string text) => new Nfc().Normalize(text).ToString();

    [Theory]
    [InlineData("e\u0301", "\u00e9")]
    [InlineData("\u1e9b\u0323", "\u1e9b\u0323")]
    [InlineData("o\u0302\u0323", "\u1ed9")]
    [InlineData("a\u0315\u0300\u05aeb", "\u00e0\u05ae\u0315b")]
    [InlineData("\u212b\u2126\u0344", "\u00c5\u03a9\u0308\u0301")]
    [InlineData("\u0958", "\u0915\u093c")]
    [InlineData("\u1100\u1161\u11a8", "\uac01")]
    [InlineData("\uac00\u11a8", "\uac01")]
    [InlineData("\uac01\u11a8", "\uac01\u11a8")]
    [InlineData("\uac00\u11a7", "\uac00\u11a7")]
    [InlineData("\U0001d15e", "\U0001d157\U0001d165")]
    [InlineData("\U00011099\U000110ba", "\U0001109a")]
    [InlineData("\U0002f800\u0301x", "\u4e3d\u0301x")]
    [InlineData("\u0301e", "\u0301e")]
    public void Runs_are_decomposed_reordered_and_composed(string text, string expected)
    {
        Assert.Equal(expected, Normalize(text));
        Assert.Equal("x " + expected + " y", Normalize("x " + text + " y"));
    }

    [Fact]
    public void Characters_after_Unicode_9_stay_as_the_reference_leaves_them() =>
        Assert.Equal("\U000105d2\u0307", Normalize("\U000105d2\u0307"));

    [Fact]
    public void Text_in_normal_form_is_not_copied()
    {
        const string text = "Plain, é, 图片, ไม่, हिन्दी, שָׁלוֹם";
        string normal = Normalize(text);
        Assert.True(new Nfc().Normalize(normal).Overlaps(normal));
    }

    [Fact]
    public void Normalising_twice_or_cut_at_boundaries_changes_nothing()
    {
        string[] parts =
        [
            "a",
            "e",
            "\u0301",
            "\u0323",
            "\u0334",
            "\u1100",
            "\u1161",
            "\u11a8",
            "\uac00",
            "\u0958",
            "\uf900",
            "\u05b0",
            "\U0001d157",
            "\U0001d165",
            "中",
            "\u0345",
        ];
        var random = new Random(3);
        for (int round = 0; round < 5000; round++)
        {
            string text = string.Concat(Enumerable.Range(0, 10).Select(_ => parts[random.Next(parts.Length)]));
            string once = Normalize(text);
            Assert.Equal(once, Normalize(once));
            for (int i = 0; i <= text.Length; i++)
            {
                if (Nfc.IsBoundary(text, i))
                {
                    Assert.Equal(once, Normalize(text[..i]) + Normalize(text[i..]));
                }
            }
        }
    }

    [Fact]
    public void A_million_marks_are_sorted_by_class()
    {
        var text = new StringBuilder("a");
        for (int i = 0; i < 500_000; i++)
        {
            text.Append('\u0315').Append('\u0334'); // classes 232 and 1
        }

        string expected = "a" + new string('\u0334', 500_000) + new string('\u0315', 500_000);
        Assert.Equal(expected, Normalize(text.ToString()));
    }
}
