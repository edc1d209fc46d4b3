using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace VlmSharp.Generation;

/// <summary>When a cycle at the end of an answer counts as endless.</summary>
/// <remarks>
/// A cycle of p tokens must have come round <see cref="Rounds"/> times and cover <see cref="Tokens"/> tokens. Empty cells of a table, rules
/// of dashes, matrices of zeros and repeated closing braces are cycles as well, but end sooner; a text that is really meant to repeat for
/// longer needs higher limits. Counting lists are not cycles.
/// </remarks>
public sealed record RepetitionLimits
{
    /// <summary>The longest cycle that is looked for, in tokens; up to 4096.</summary>
    public int MaxPeriod
    {
        get;
        init => field = Within(1, 4096, value, nameof(MaxPeriod));
    } = 256;

    /// <summary>How often a cycle must have come round, the first time included.</summary>
    public int Rounds
    {
        get;
        init => field = Within(2, 1_000_000, value, nameof(Rounds));
    } = 8;

    /// <summary>How many tokens the rounds must cover together.</summary>
    public int Tokens
    {
        get;
        init => field = Within(2, 1_000_000_000, value, nameof(Tokens));
    } = 256;

    static int Within(int minimum, int maximum, int value, string option) =>
        value >= minimum && value <= maximum
            ? value
            : throw new ArgumentOutOfRangeException(
                option,
                $"{option} of the repetition limits is {value}; it must be from {minimum} to {maximum}."
            );
}

/// <summary>Notices that an answer has become an endless cycle.</summary>
/// <remarks>
/// For each period p it counts how long every token has equalled the one p before it: work per token is proportional to the longest period,
/// a few vector operations, without allocation.
/// </remarks>
public sealed class RepetitionDetector
{
    const int Lanes = 8;

    readonly int periods; // the longest period, rounded up to whole vectors
    readonly int[] recent; // two windows of tokens; the newest first from `newest` on, -1 before the answer
    readonly int[] run; // [period - 1]: how many tokens in a row equalled the one a period before
    readonly int[] needed; // [period - 1]: the run that counts as endless
    int newest;

    /// <summary>A detector at the start of an answer.</summary>
    public RepetitionDetector(RepetitionLimits limits)
    {
        ArgumentNullException.ThrowIfNull(limits);
        periods = (limits.MaxPeriod + Lanes - 1) & -Lanes;
        recent = new int[2 * periods];
        run = new int[periods];
        needed = new int[periods];
        recent.AsSpan().Fill(-1);
        needed.AsSpan().Fill(int.MaxValue);
        for (int period = 1; period <= limits.MaxPeriod; period++)
        {
            // The first round equals nothing before it.
            long covered = Math.Max((long)limits.Rounds * period, limits.Tokens);
            needed[period - 1] = (int)Math.Min(covered - period, int.MaxValue);
        }

        newest = periods;
    }

    /// <summary>The length of the cycle in tokens, once there is one; 0 before.</summary>
    public int Period { get; private set; }

    /// <summary>Takes the next token of the answer.</summary>
    /// <returns>The end of the answer is a cycle that counts as endless.</returns>
    public bool Push(int token)
    {
        ReadOnlySpan<Vector256<int>> earlier = MemoryMarshal.Cast<int, Vector256<int>>(recent.AsSpan(newest, periods));
        Span<Vector256<int>> runs = MemoryMarshal.Cast<int, Vector256<int>>(run.AsSpan());
        ReadOnlySpan<Vector256<int>> limits = MemoryMarshal.Cast<int, Vector256<int>>(needed.AsSpan());
        Vector256<int> current = Vector256.Create(token);
        Vector256<int> endless = Vector256<int>.Zero;
        for (int i = 0; i < runs.Length; i++)
        {
            Vector256<int> length = (runs[i] + Vector256<int>.One) & Vector256.Equals(earlier[i], current);
            runs[i] = length;
            endless |= Vector256.GreaterThanOrEqual(length, limits[i]);
        }

        if (newest == 0)
        {
            recent.AsSpan(0, periods).CopyTo(recent.AsSpan(periods));
            newest = periods;
        }

        recent[--newest] = token;
        Period = endless == Vector256<int>.Zero ? 0 : SmallestPeriod();
        return Period > 0;
    }

    int SmallestPeriod()
    {
        int period = 1;
        while (run[period - 1] < needed[period - 1])
        {
            period++;
        }

        return period;
    }
}
