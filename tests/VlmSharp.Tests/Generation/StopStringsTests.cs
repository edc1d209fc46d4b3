using VlmSharp.Generation;
using Xunit;

namespace VlmSharp.Tests.Generation;

public class StopStringsTests
{
    [Fact]
    public void Any_division_of_any_text_gives_what_a_search_of_the_whole_text_gives()
    {
        Random random = new(1);
        for (int round = 0; round < 20_000; round++)
        {
            string[] stops = [.. Enumerable.Range(0, random.Next(0, 4)).Select(_ => Text(random, random.Next(1, 6)))];
            string text = Text(random, random.Next(0, 40));
            (string expected, int? end) = Search(text, stops);

            StopStrings search = new(stops);
            string emitted = "";
            bool stopped = false;
            for (int at = 0; at < text.Length && !stopped; )
            {
                int length = random.Next(0, Math.Min(6, text.Length - at) + 1);
                emitted += search.Push(text.Substring(at, length), out stopped);
                at += length;
                if (!stopped)
                {
                    Assert.Equal(text[..(at - Held(text[..at], stops))], emitted);
                }
                else
                {
                    Assert.True(
                        at >= end && at - length < end,
                        "it stops with the piece that completes the stop string"
                    );
                }
            }

            Assert.Equal(end is not null, stopped);
            Assert.Equal(expected, emitted + search.Flush());
        }
    }

    [Fact]
    public void The_text_before_a_stop_string_is_emitted_and_nothing_after()
    {
        StopStrings search = new(["</answer>"]);
        Assert.Equal("yes", search.Push("yes</an", out bool stopped));
        Assert.False(stopped);
        Assert.Equal("", search.Push("swer> more", out stopped));
        Assert.True(stopped);
        Assert.Equal("", search.Push("and more", out stopped));
        Assert.True(stopped);
        Assert.Equal("", search.Flush());
    }

    [Fact]
    public void What_only_looked_like_a_stop_string_is_given_back()
    {
        StopStrings search = new(["\n\nUser:"]);
        Assert.Equal("a", search.Push("a\n", out _));
        Assert.Equal("", search.Push("\n", out _));
        Assert.Equal("\n\nUs", search.Push("Us\n", out _));
        Assert.Equal("\n", search.Flush());
    }

    [Fact]
    public void The_first_complete_stop_string_wins_and_of_those_complete_at_once_the_longest()
    {
        Assert.Equal("a", new StopStrings(["abcd", "bc"]).Push("abcd", out _));
        Assert.Equal("", new StopStrings(["bc", "abc"]).Push("abcd", out _));
    }

    [Fact]
    public void A_stop_string_of_characters_outside_the_basic_plane_is_found_unit_by_unit()
    {
        StopStrings search = new(["🛑!"]);
        Assert.Equal("ok ", search.Push("ok \ud83d", out bool stopped));
        Assert.False(stopped);
        Assert.Equal("", search.Push("\uded1!", out stopped));
        Assert.True(stopped);
    }

    [Fact]
    public void Without_stop_strings_pieces_pass_through_unchanged()
    {
        StopStrings search = new([]);
        string piece = new('x', 10);
        Assert.Same(piece, search.Push(piece, out bool stopped));
        Assert.False(stopped);
    }

    [Fact]
    public void An_empty_stop_string_is_refused()
    {
        ArgumentException error = Assert.Throws<ArgumentException>(() => new StopStrings(["a", ""]));
        Assert.Contains("stop string is empty", error.Message);
    }

    static string Text(Random random, int length) =>
        string.Concat(Enumerable.Range(0, length).Select(_ => "aab"[random.Next(3)]));

    /// <summary>The text before the first stop string that is complete, the longest of those, and where it ends.</summary>
    static (string Emitted, int? End) Search(string text, string[] stops)
    {
        for (int end = 1; end <= text.Length; end++)
        {
            string? found = stops.Where(text[..end].EndsWith).MaxBy(stop => stop.Length);
            if (found is not null)
            {
                return (text[..(end - found.Length)], end);
            }
        }

        return (text, null);
    }

    /// <summary>The longest end of a text with which a stop string begins.</summary>
    static int Held(string text, string[] stops) =>
        Enumerable
            .Range(0, text.Length + 1)
            .Last(length => length == 0 || stops.Any(stop => stop.StartsWith(text[^length..])));
}
