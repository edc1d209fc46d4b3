namespace VlmSharp.Documents;

/// <summary>Addresses in text that nobody vouches for.</summary>
static class Links
{
    /// <summary>The address, if following it shows a page or writes a mail and nothing else; null otherwise.</summary>
    internal static string? Safe(string? address) =>
        Uri.TryCreate(address?.Trim(), UriKind.Absolute, out Uri? uri) && uri.Scheme is "http" or "https" or "mailto"
            ? uri.AbsoluteUri
            : null;
}
