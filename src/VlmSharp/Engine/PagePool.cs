namespace VlmSharp.Engine;

/// <summary>Hands out the pages of a cache. Pages are numbers; every page is either free or owned by one sequence.</summary>
public sealed class PagePool
{
    readonly int[] free;
    int freeCount;

    /// <summary>A pool in which all pages are free.</summary>
    public PagePool(int pageCount)
    {
        Total = pageCount;
        free = new int[pageCount];
        for (int i = 0; i < pageCount; i++)
        {
            free[i] = pageCount - 1 - i; // low numbers are handed out first
        }

        freeCount = pageCount;
    }

    /// <summary>Pages in all.</summary>
    public int Total { get; }

    /// <summary>Pages nobody owns.</summary>
    public int Free => freeCount;

    /// <summary>Adds free pages to a list until it has <paramref name="count"/> of them; all or none.</summary>
    /// <returns>False if there are not enough; the list is then unchanged.</returns>
    public bool TryGrow(List<int> pages, int count)
    {
        int missing = count - pages.Count;
        if (missing > freeCount)
        {
            return false;
        }

        for (; missing > 0; missing--)
        {
            pages.Add(free[--freeCount]);
        }

        return true;
    }

    /// <summary>Takes back the pages of a list behind the first <paramref name="keep"/>.</summary>
    public void Shrink(List<int> pages, int keep)
    {
        for (int i = pages.Count - 1; i >= keep; i--)
        {
            free[freeCount++] = pages[i];
            pages.RemoveAt(i);
        }
    }
}
