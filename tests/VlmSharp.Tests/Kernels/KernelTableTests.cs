using VlmSharp.Kernels;
using Xunit;

namespace VlmSharp.Tests.Kernels;

public sealed class KernelTableTests
{
    static readonly KernelTable<Func<int>> Product = new(
        "product",
        ("avx512", false, () => 512),
        ("avx2", true, () => 256),
        ("portable", true, () => 1)
    );

    static readonly KernelTable<Func<int>> Norm = new(
        "norm",
        ("avx512", false, () => 512),
        ("portable", true, () => 1)
    );

    static readonly KernelTable[] Both = [Product, Norm];

    static string Chosen(string? text)
    {
        KernelSelection selection = KernelSelection.Parse(text, Both);
        return $"{selection.For(Product)} {selection.For(Norm)}";
    }

    [Theory]
    [InlineData(null, "avx2 portable")]
    [InlineData("", "avx2 portable")]
    [InlineData("portable", "portable portable")]
    [InlineData("avx2", "avx2 portable")]
    [InlineData("product=portable", "portable portable")]
    [InlineData(" norm = portable , product=avx2 ", "avx2 portable")]
    [InlineData("portable,product=avx2", "avx2 portable")]
    [InlineData("product=avx2,portable", "avx2 portable")]
    public void The_best_supported_variant_is_used_unless_the_environment_names_another(
        string? text,
        string expected
    ) => Assert.Equal(expected, Chosen(text));

    [Theory]
    [InlineData("sse9", "no kernel has a variant 'sse9'")]
    [InlineData("avx512", "variant 'avx512' of kernel 'product' does not run on this machine")]
    [InlineData("product=avx512", "variant 'avx512' of kernel 'product' does not run on this machine")]
    [InlineData("norm=avx2", "kernel 'norm' has no variant 'avx2'")]
    [InlineData("softmax=avx2", "there is no kernel 'softmax'")]
    [InlineData("=avx2", "there is no kernel ''")]
    [InlineData("product=", "kernel 'product' has no variant ''")]
    public void A_wrong_name_is_an_error_that_lists_what_exists(string text, string problem)
    {
        string message = Assert.Throws<InvalidOperationException>(() => Chosen(text)).Message;
        Assert.Contains(problem, message, StringComparison.Ordinal);
        Assert.Contains($"VLM_ISA={text}", message, StringComparison.Ordinal);
        Assert.Contains("product: avx512 (not on this machine), avx2, portable", message, StringComparison.Ordinal);
        Assert.Contains("norm: avx512 (not on this machine), portable", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_table_lists_all_its_variants_and_those_that_run_here()
    {
        Assert.Equal(["avx512", "avx2", "portable"], Product.VariantNames);
        Assert.Equal(["avx2", "portable"], Product.SupportedNames);
        Assert.Equal([256, 1], Product.Supported.Select(v => v.Run()));
    }

    [Fact]
    public void A_table_without_a_variant_for_every_machine_is_refused() =>
        Assert.Throws<ArgumentException>(() => new KernelTable<Func<int>>("x", ("avx2", false, () => 0)));

    [Fact]
    public void Registered_kernels_have_different_names_and_a_variant_in_use()
    {
        Assert.Distinct(KernelTables.All.Select(t => t.Name));
        Assert.All(KernelTables.All, t => Assert.Contains(t.ActiveName, t.SupportedNames));
    }
}
