using VlmSharp.Text;
using Xunit;

namespace VlmSharp.Tests.Text;

public sealed class CharacterClassesTests
{
    /// <summary>
    /// The engine of the reference (Oniguruma with Unicode 16) was asked for every code point: these are its counts and a hash of its sets. A runtime
    /// with other tables would give other token ids.
    /// </summary>
    [Theory]
    [InlineData(nameof(CharacterClass.Letter), 141_028, 11149765133256742797UL)]
    [InlineData(nameof(CharacterClass.Number), 1_911, 9838160997148423778UL)]
    [InlineData(nameof(CharacterClass.Space), 23, 500654117525800710UL)]
    public void The_runtime_has_the_categories_of_Unicode_16(string name, int count, ulong hash)
    {
        CharacterClass wanted = Enum.Parse<CharacterClass>(name);
        int found = 0;
        ulong sum = 14695981039346656037;
        for (int c = 0; c <= 0x10FFFF; c++)
        {
            if (c is < 0xD800 or > 0xDFFF && CharacterClasses.Of(c) == wanted)
            {
                found++;
                sum = (sum ^ (uint)c) * 1099511628211;
            }
        }

        Assert.Equal(count, found);
        Assert.Equal(hash, sum);
    }

    [Theory]
    [InlineData('a', true)]
    [InlineData('_', true)]
    [InlineData(0x301, true)]
    [InlineData(0x663, true)]
    [InlineData(0x200D, true)]
    [InlineData(0x24B6, true)]
    [InlineData(0x2167, true)]
    [InlineData('-', false)]
    [InlineData(0xBD, false)]
    [InlineData(0x1F600, false)]
    public void Word_characters_are_those_of_UTS_18(int codePoint, bool word) =>
        Assert.Equal(word, CharacterClasses.IsWord(codePoint));
}
