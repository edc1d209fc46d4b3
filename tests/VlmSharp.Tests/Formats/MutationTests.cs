using System.Security.Cryptography;
using VlmSharp.Chat;
using VlmSharp.Formats;
using VlmSharp.Testing;
using VlmSharp.Text.Templates;
using Xunit;

namespace VlmSharp.Tests.Formats;

/// <summary>Whatever is wrong in a checkpoint directory becomes an error that names the file, in bounded memory.</summary>
public sealed class MutationTests(MutationTests.Copies copies) : IClassFixture<MutationTests.Copies>
{
    /// <summary>Flat and nested configs, one file and shards, f32, f16 and bf16, with and without experts.</summary>
    static readonly string[] Originals =
    [
        "qwen2-vl/checkpoint",
        "qwen2-vl-tied-bf16/checkpoint",
        "qwen2.5-vl/checkpoint",
        "qwen3-vl-tied-bf16/checkpoint",
        "qwen3-vl-moe/checkpoint",
    ];

    // Besides CheckpointException.
    static readonly Type[] Errors = [typeof(TemplateException)];

    static readonly Dictionary<string, Dictionary<string, CheckpointMutation>> All = Originals.ToDictionary(
        original => original,
        original => CheckpointMutations.Of(Goldens.Local(original)).ToDictionary(mutation => mutation.Name)
    );

    static readonly Dictionary<string, long> AllowedBytes = Originals.ToDictionary(
        original => original,
        original =>
        {
            (Exception? error, long bytes) = CheckpointMutation.Run(Load, Goldens.Local(original));
            Assert.Null(error);

            // An index may be read whole before it turns out to be wrong, a config of 8 MiB likewise; nothing here is that large.
            return (4 * bytes) + (16 << 20);
        }
    );

    public static TheoryData<string, string> Cases
    {
        get
        {
            TheoryData<string, string> cases = [];
            foreach ((string original, Dictionary<string, CheckpointMutation> mutations) in All)
            {
                foreach (string name in mutations.Keys)
                {
                    cases.Add(original, name);
                }
            }

            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_mutation_gets_a_named_error_in_bounded_memory(string original, string mutation) =>
        All[original][mutation].Check(copies[original], Load, AllowedBytes[original], Errors);

    [Theory]
    [InlineData("qwen2-vl/checkpoint")]
    [InlineData("qwen2-vl-tied-bf16/checkpoint")]
    [InlineData("qwen2.5-vl/checkpoint")]
    [InlineData("qwen3-vl-tied-bf16/checkpoint")]
    [InlineData("qwen3-vl-moe/checkpoint")]
    public void After_all_mutations_the_copy_is_whole_again(string original)
    {
        using CheckpointCopy copy = new(Goldens.Local(original));
        foreach (CheckpointMutation mutation in All[original].Values)
        {
            mutation.Apply(copy);
            copy.Restore();
        }

        Assert.Equal(Contents(Goldens.Local(original)), Contents(copy.Path));
        Load(copy.Path);

        static SortedDictionary<string, string> Contents(string directory) =>
            new(
                Directory
                    .GetFileSystemEntries(directory)
                    .ToDictionary(
                        path => Path.GetFileName(path),
                        path => Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(path)))
                    )
            );
    }

    [Fact]
    public void There_are_hundreds_of_mutations_of_every_kind_of_file()
    {
        foreach (string original in Originals)
        {
            string[] names = [.. All[original].Keys];
            Assert.True(names.Length >= 200, $"{original} has {names.Length} mutations");
            foreach (
                string kind in (string[])
                    [
                        "config",
                        "generation_config",
                        "preprocessor_config",
                        "chat_template",
                        "header",
                        "tensor",
                        "tokenizer",
                    ]
            )
            {
                Assert.Contains(names, name => name.Contains(kind));
            }
        }
    }

    static void Load(string directory)
    {
        using ChatModel chat = ChatModel.Load(directory, threads: 1);
    }

    public sealed class Copies : IDisposable
    {
        readonly Dictionary<string, CheckpointCopy> copies = Originals.ToDictionary(
            original => original,
            original => new CheckpointCopy(Goldens.Local(original))
        );

        public CheckpointCopy this[string original] => copies[original];

        public void Dispose()
        {
            foreach (CheckpointCopy copy in copies.Values)
            {
                copy.Dispose();
            }
        }
    }
}
