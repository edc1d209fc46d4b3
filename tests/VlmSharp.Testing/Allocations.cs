namespace VlmSharp.Testing;

/// <summary>What code allocates again and again, told apart from what the runtime allocates once.</summary>
public static class Allocations
{
    /// <summary>Bytes that an action allocates on this thread while it is repeated: those of the cheapest of several rounds.</summary>
    /// <remarks>
    /// Compilation in tiers, static fields and the first part that a thread takes of some work allocate once, at a moment that
    /// depends on the machine. So one round says little; but what each repetition allocates is in every round.
    /// </remarks>
    /// <param name="repeated">The action, warmed up as far as the rule under test says.</param>
    /// <param name="times">Repetitions in a round: enough for what grows now and then to grow.</param>
    /// <param name="rounds">At most so many.</param>
    public static long InSteadyState(Action repeated, int times, int rounds = 6)
    {
        long least = long.MaxValue;
        for (int round = 0; round < rounds && least > 0; round++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < times; i++)
            {
                repeated();
            }

            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }
}
