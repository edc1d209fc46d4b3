using VlmSharp.Formats;
using Xunit;

namespace VlmSharp.Testing;

/// <summary>Which part of loading has to notice a mutation.</summary>
public enum LoadStage
{
    /// <summary><see cref="Checkpoint.Open"/>, its processors, and reading every tensor.</summary>
    Files,

    /// <summary>The model: its config and the shapes of its tensors.</summary>
    Model,

    /// <summary>The tokenizer.</summary>
    Tokenizer,

    /// <summary>The chat template's parser.</summary>
    Template,
}

/// <summary>One way to damage a checkpoint so that loading it must fail with an error that names the file.</summary>
/// <param name="Name">Readable and unique: <c>preprocessor_config.json: patch_size is 0</c>.</param>
/// <param name="File">The file name the error must contain.</param>
/// <param name="Stage">Who has to notice.</param>
/// <param name="Apply">Does the damage.</param>
public sealed record CheckpointMutation(string Name, string File, LoadStage Stage, Action<CheckpointCopy> Apply)
{
    // Guards against endless loops; a load takes milliseconds.
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    /// <summary>Damages a copy, loads it, and fails the test unless the load fails as it should.</summary>
    /// <param name="copy">A copy of the directory the mutation was made for; it is restored afterwards.</param>
    /// <param name="load">Loads a directory and disposes what it loaded.</param>
    /// <param name="allowedBytes">What the load may allocate on the managed heap.</param>
    /// <param name="errors">The exceptions that count as named errors besides <see cref="CheckpointException"/>.</param>
    public void Check(CheckpointCopy copy, Action<string> load, long allowedBytes, params ReadOnlySpan<Type> errors)
    {
        Exception? error;
        long bytes;
        try
        {
            Apply(copy);
            (error, bytes) = Run(load, copy.Path);
        }
        finally
        {
            copy.Restore();
        }

        Assert.True(error is not null, $"{Name}: loaded without an error");
        Assert.True(
            error is CheckpointException || errors.Contains(error.GetType()),
            $"{Name}: not a named error: {error}"
        );
        Assert.True(error.Message.Contains(File), $"{Name}: the message does not name {File}: {error.Message}");
        Assert.True(bytes <= allowedBytes, $"{Name}: allocated {bytes} bytes, allowed are {allowedBytes}");
    }

    /// <summary>What a load throws, and how many bytes of managed memory its thread allocated.</summary>
    public static (Exception? Error, long Bytes) Run(Action<string> load, string directory)
    {
        Exception? error = null;
        long bytes = 0;
        Thread thread = new(() =>
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                load(directory);
            }
#pragma warning disable CA1031 // Whatever it is, it is what the caller judges.
            catch (Exception e)
            {
                error = e;
            }
#pragma warning restore CA1031
            bytes = GC.GetAllocatedBytesForCurrentThread() - before;
        })
        {
            IsBackground = true,
        };
        thread.Start();
        Assert.True(thread.Join(Patience), $"loading {directory} hangs");
        return (error, bytes);
    }
}
