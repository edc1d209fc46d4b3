namespace VlmSharp.Kernels;

/// <summary>One sequence of a packed batch: some consecutive queries and all the keys it has so far.</summary>
/// <param name="QueryStart">Row of its first query in q and y.</param>
/// <param name="QueryCount">Number of queries; they are the last ones of the sequence: query i stands at position KeyCount - QueryCount + i.</param>
/// <param name="KeyCount">Number of keys in the pages, those of the queries included.</param>
/// <param name="PageStart">Index into the page table of its first page; the others follow.</param>
public readonly record struct AttentionSequence(int QueryStart, int QueryCount, int KeyCount, int PageStart);
