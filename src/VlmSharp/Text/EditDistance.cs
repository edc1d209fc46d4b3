namespace VlmSharp.Text;

/// <summary>How far two texts are from each other.</summary>
static class EditDistance
{
    /// <summary>The Levenshtein distance: characters to put in, leave out or replace.</summary>
    public static int Of(string a, string b)
    {
        int[] row = [.. Enumerable.Range(0, b.Length + 1)];
        for (int i = 0; i < a.Length; i++)
        {
            int diagonal = row[0];
            row[0] = i + 1;
            for (int j = 0; j < b.Length; j++)
            {
                int replaced = diagonal + (a[i] == b[j] ? 0 : 1);
                diagonal = row[j + 1];
                row[j + 1] = Math.Min(replaced, Math.Min(row[j], row[j + 1]) + 1);
            }
        }

        return row[b.Length];
    }

    /// <summary>1 - distance / length of the longer one; 1 for two empty texts.</summary>
    public static double Similarity(string a, string b) =>
        Math.Max(a.Length, b.Length) is var length and > 0 ? 1 - ((double)Of(a, b) / length) : 1;
}
