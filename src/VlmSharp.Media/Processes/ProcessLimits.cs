namespace VlmSharp.Media.Processes;

/// <summary>What a child process may use before it is ended.</summary>
/// <param name="Time">From its start to its end, on the clock.</param>
/// <param name="OutputBytes">What it may write to standard output.</param>
/// <param name="MemoryBytes">Address space; enforced by the kernel where <c>prlimit</c> (util-linux) is installed. Threads reserve much more than they use.</param>
/// <param name="ProcessorTime">Of all its threads together; enforced like the memory, in whole seconds. Unlimited if null.</param>
public sealed record ProcessLimits(
    TimeSpan Time,
    long OutputBytes,
    long MemoryBytes = 8L << 30,
    TimeSpan? ProcessorTime = null
);
