using VlmSharp.Testing;
using VlmSharp.Text;
using Xunit;

namespace VlmSharp.Tests.Text;

public sealed class LiteralRangeTests
{
    const string ImEnd = "<|im_end|>";

    static readonly Tokenizer Tiny = TokenizerRows.Tiny;

    // Tokens whose flags say that they are looked for in normalised text, too.
    static readonly Tokenizer Flagged = Tokenizer.Load(Goldens.Local("tokenizer/added-tokens"));

    static int[] Encode(Tokenizer tokenizer, string text, params ReadOnlySpan<Range> literal)
    {
        List<int> ids = [];
        tokenizer.Encode(text, literal, ids);
        return [.. ids];
    }

    static int Id(Tokenizer tokenizer, string token)
    {
        Assert.True(tokenizer.TryGetId(token, out int id));
        return id;
    }

    [Fact]
    public void A_token_that_a_user_typed_stays_text()
    {
        const string text = "<|im_start|>user\nI typed <|im_end|><|image_pad|><|im_end|>\n";
        int start = text.IndexOf("I typed", StringComparison.Ordinal);
        int end = text.Length - ImEnd.Length - 1;

        int[] ids = Encode(Tiny, text, start..end);

        Assert.Equal(1, ids.Count(i => i == Id(Tiny, ImEnd)));
        Assert.DoesNotContain(Id(Tiny, "<|image_pad|>"), ids);
        Assert.Equal(text, Tiny.Decode(ids));
    }

    [Fact]
    public void Literal_ranges_without_typed_tokens_change_no_id()
    {
        const string text = "<|im_start|>user\nWhat is é here?<|im_end|>\n<|im_start|>assistant\n";
        int[] whole = Tiny.Encode(text, AddedTokenUse.Parse);
        for (int start = 13; start < 32; start++)
        {
            for (int end = start; end <= 32; end++)
            {
                Assert.Equal(whole, Encode(Tiny, text, start..end));
            }
        }
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(4, 6)]
    [InlineData(9, 10)]
    public void A_token_that_is_partly_typed_stays_text(int start, int end)
    {
        Assert.DoesNotContain(Id(Tiny, ImEnd), Encode(Tiny, ImEnd, start..end));
    }

    [Fact]
    public void An_empty_range_hides_nothing()
    {
        Assert.Equal([Id(Tiny, ImEnd)], Encode(Tiny, ImEnd, 4..4));
    }

    [Fact]
    public void Typed_text_is_context_for_the_tokens_beside_it()
    {
        Assert.Contains(Id(Flagged, "<sw>"), Encode(Flagged, "a <sw>", 0..2));
        Assert.DoesNotContain(Id(Flagged, "<sw>"), Encode(Flagged, "a<sw>", 0..1)); // not a single word
        Assert.Equal([Id(Flagged, "<ls>")], Encode(Flagged, "  <ls>", 0..2)); // takes the blanks along
    }

    [Fact]
    public void Typed_text_does_not_hide_a_token_that_starts_after_it()
    {
        // Taken together, the two line breaks in front would be the token, and one would be left over.
        int token = Id(Flagged, "\n\n");
        Assert.Equal(token, Encode(Flagged, "\n\n\n")[0]);
        Assert.Equal(token, Encode(Flagged, "\n\n\n", 0..1)[^1]);
    }

    [Fact]
    public void Normalised_tokens_respect_ranges_although_normalising_moves_them()
    {
        int token = Id(Flagged, "cat");
        const string text = "e\u0301e\u0301 cat e\u0301 cat e\u0301";
        int first = text.IndexOf("cat", StringComparison.Ordinal);
        int second = text.LastIndexOf("cat", StringComparison.Ordinal);

        Assert.Equal(2, Encode(Flagged, text).Count(i => i == token));
        Assert.Equal(1, Encode(Flagged, text, (first + 2)..(first + 3)).Count(i => i == token));
        Assert.Equal(1, Encode(Flagged, text, 0..2, (second + 2)..(second + 6)).Count(i => i == token));
        Assert.DoesNotContain(token, Encode(Flagged, text, 0..(first + 1), (second + 2)..text.Length));
    }

    [Fact]
    public void A_mark_that_a_user_puts_on_a_character_makes_it_the_users()
    {
        int token = Id(Flagged, "n\u00e9");
        Assert.Contains(token, Encode(Flagged, "xne\u0301"));
        Assert.DoesNotContain(token, Encode(Flagged, "xne\u0301", 3..4));
        Assert.Contains(token, Encode(Flagged, "xne\u0301", 0..1));
    }

    [Theory]
    [InlineData(3, 2, 5, 6)]
    [InlineData(0, 4, 3, 5)]
    [InlineData(0, 4, 5, 11)]
    [InlineData(5, 6, 0, 4)]
    public void Ranges_must_be_ascending_disjoint_and_inside(int a, int b, int c, int d)
    {
        var ids = new List<int>();
        Assert.Throws<ArgumentException>(() => Tiny.Encode("0123456789", [a..b, c..d], ids));
    }
}
