using VlmSharp.Text;
using VlmSharp.Training.Scratch;

namespace VlmSharp.Cli.Bench;

/// <summary>A vocabulary with as many tokens as the published ones have, made up: the special ones get the ids they have there.</summary>
/// <remarks>It makes a directory of random weights a checkpoint that can be converted and asked; nobody will understand the answers.</remarks>
static class RandomTokenizer
{
    /// <summary>Ordinary tokens of all Qwen vocabularies from Qwen2 on; the special ones follow.</summary>
    const int Ordinary = 151643;

    /// <summary>All bytes, then all pairs of them, then as many pairs with a third byte as there is room for.</summary>
    /// <param name="vocabulary">Rows of the model's vocabulary, where it has fewer.</param>
    public static BytePairs Pairs(int vocabulary)
    {
        int ordinary = Math.Min(Ordinary, vocabulary - NewTokenizer.Special.Count);
        List<string> tokens = [.. Enumerable.Range(0, 256).Select(b => ByteLevelAlphabet.Encode([(byte)b]))];
        List<(string, string)> merges = [];
        for (int left = 0; tokens.Count < ordinary; left++)
        {
            for (int right = 0; right < 256 && tokens.Count < ordinary; right++)
            {
                merges.Add((tokens[left], tokens[right]));
                tokens.Add(tokens[left] + tokens[right]);
            }
        }

        return new BytePairs(tokens, merges);
    }
}
