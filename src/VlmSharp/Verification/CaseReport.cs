namespace VlmSharp.Verification;

/// <summary>One comparison of a verification.</summary>
/// <param name="Request">The request's id; several joined by + for a batch.</param>
/// <param name="Name">Tensor, token list or text that was compared.</param>
/// <param name="Passed">Whether it is within what the case allows.</param>
/// <param name="MaxAbsolute">max |a - b|; NaN where nothing numeric was compared.</param>
/// <param name="MaxRelative">max |a - b| / max |b|; NaN where nothing numeric was compared.</param>
/// <param name="Detail">What was found, for people.</param>
public sealed record Check(
    string Request,
    string Name,
    bool Passed,
    double MaxAbsolute,
    double MaxRelative,
    string Detail
);

/// <summary>All comparisons of a case.</summary>
/// <param name="Case">Its directory.</param>
/// <param name="Tolerance">Allowed relative error.</param>
/// <param name="Checks">In the order they were made.</param>
public sealed record CaseReport(string Case, double Tolerance, IReadOnlyList<Check> Checks)
{
    /// <summary>Whether every comparison passed, and there was one.</summary>
    public bool Passed => Checks.Count > 0 && Checks.All(c => c.Passed);
}
