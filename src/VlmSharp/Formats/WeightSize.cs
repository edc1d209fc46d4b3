using VlmSharp.Kernels;

namespace VlmSharp.Formats;

/// <summary>What becomes of a tensor when it is loaded.</summary>
/// <param name="Name">The tensor's name in the file.</param>
/// <param name="Count">Weights it stands for: more than its elements where several are packed into one word.</param>
/// <param name="LoadedBytes">What they take in memory.</param>
/// <param name="Format">How they are stored there, if they are a matrix.</param>
public readonly record struct WeightSize(string Name, long Count, long LoadedBytes, WeightFormat Format);
