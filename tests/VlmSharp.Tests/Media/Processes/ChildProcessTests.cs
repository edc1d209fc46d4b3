using System.Diagnostics;
using System.Text;
using VlmSharp.Media.Images;
using VlmSharp.Media.Processes;
using Xunit;

namespace VlmSharp.Tests.Media.Processes;

public sealed class ChildProcessTests
{
    static readonly ProcessLimits Generous = new(TimeSpan.FromMinutes(1), 1 << 20);
    static readonly ExternalProgram Shell = new("sh", "dash");

    [Fact]
    public void Arguments_arrive_as_they_are()
    {
        string[] odd = ["two words", "$HOME", "*", "a\"b'c\\", "", "-n", "né\n"];
        string script = "for a; do printf '[%s]' \"$a\"; done";
        Assert.Equal(string.Concat(odd.Select(a => $"[{a}]")), Sh([script, "sh", .. odd]));
    }

    [Fact]
    public void Input_is_fed_and_otherwise_closed()
    {
        byte[] bytes = new byte[300_000];
        new Random(1).NextBytes(bytes);
        Assert.Equal(bytes, ChildProcess.Run(new("cat", "coreutils"), [], "input", Generous, bytes));
        Assert.Empty(ChildProcess.Run(new("cat", "coreutils"), [], "input", Generous));
        // A program that reads only the beginning is not an error.
        Assert.Equal(bytes[..10], ChildProcess.Run(new("head", "coreutils"), ["-c", "10"], "input", Generous, bytes));
    }

    [Fact]
    public void The_environment_is_not_inherited()
    {
        string variables = Sh(["env"]);
        string[] names = [.. variables.Split('\n').Select(v => v.Split('=')[0]).Where(v => v.Length > 0).Order()];
        Assert.Equal(["HOME", "LC_ALL", "PATH", "PWD", "TMPDIR", "TZ"], names.Except(["_", "OLDPWD", "SHLVL"]));
        Assert.Contains("LC_ALL=C\n", variables);
    }

    [Fact]
    public void The_working_directory_is_its_own_and_goes_with_it()
    {
        string directory;
        using (ChildProcess child = ChildProcess.Start(Shell, ["-c", "echo x > here; pwd"], "work", Generous))
        {
            directory = new StreamReader(child.Output).ReadToEnd().Trim();
            child.Finish();
            Assert.Equal(child.WorkingDirectory, directory);
            Assert.Equal("x\n", File.ReadAllText(Path.Combine(directory, "here")));
        }

        Assert.False(Directory.Exists(directory));
    }

    [Fact]
    public void A_failure_carries_the_last_words_of_standard_error()
    {
        string script = "i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; echo reason >&2; exit 3";
        string message = Fails(() => Sh([script]));
        Assert.StartsWith("test: sh failed with exit code 3 (sh: ", message, StringComparison.Ordinal);
        Assert.EndsWith("line 2999\nreason)", message, StringComparison.Ordinal);
        Assert.InRange(message.Length, 4000, 4200);
    }

    [Fact]
    public void A_program_that_is_ended_by_a_signal_says_which()
    {
        Assert.StartsWith(
            "test: sh was ended by signal 11",
            Fails(() => Sh(["kill -SEGV $$"])),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void A_program_that_is_not_there_names_its_package()
    {
        ExternalProgram missing = new("no-such-program", "some-package");
        Assert.False(missing.IsInstalled);
        Assert.True(Shell.IsInstalled);
        string message = Fails(() => ChildProcess.Run(missing, [], "test", Generous));
        Assert.StartsWith("no-such-program: this program is needed", message, StringComparison.Ordinal);
        Assert.Contains("apt-get install some-package", message);
    }

    [Fact]
    public void Output_beyond_the_limit_ends_the_program()
    {
        ProcessLimits limits = Generous with { OutputBytes = 100_000 };
        Assert.Equal(
            "test: yes was ended because it wrote more than 100000 bytes, which is the limit for this work",
            Fails(() => ChildProcess.Run(new("yes", "coreutils"), [], "test", limits))
        );
        Assert.Equal(
            100_000,
            ChildProcess.Run(new("head", "coreutils"), ["-c", "100000", "/dev/zero"], "test", limits).Length
        );
    }

    [Fact]
    public void Time_beyond_the_limit_ends_the_program_and_what_it_started()
    {
        ProcessLimits limits = Generous with { Time = TimeSpan.FromSeconds(0.5) };
        // One descendant in the foreground, and one whose parent has ended.
        using ChildProcess child = ChildProcess.Start(
            Shell,
            ["-c", "(sleep 301 & echo $!) ; sleep 302 & echo $!; wait"],
            "film.mp4",
            limits
        );
        using StreamReader reader = new(child.Output);
        int[] ids = [child.Id, int.Parse(reader.ReadLine()!), int.Parse(reader.ReadLine()!)];
        Assert.Equal(
            "film.mp4: sh was ended because it had not finished after 0.5 s, which is the limit for this work",
            Fails(() => reader.ReadToEnd())
        );
        Assert.True(Ended(ids));
    }

    [Fact]
    public void Cancelling_ends_the_program()
    {
        using CancellationTokenSource source = new();
        using ChildProcess child = ChildProcess.Start(
            Shell,
            ["-c", "echo started; sleep 300"],
            "test",
            Generous,
            cancellation: source.Token
        );
        using StreamReader reader = new(child.Output);
        Assert.Equal("started", reader.ReadLine());
        source.CancelAfter(100);
        Assert.Throws<OperationCanceledException>(() => child.Finish());
        Assert.True(Ended(child.Id));
        Assert.Throws<OperationCanceledException>(() =>
            ChildProcess.Run(Shell, ["-c", "true"], "test", Generous, cancellation: source.Token)
        );
    }

    [Fact]
    public void Leaving_early_ends_the_program_and_what_it_started()
    {
        int[] ids;
        using (ChildProcess child = ChildProcess.Start(Shell, ["-c", "sleep 303 & echo $!; yes"], "test", Generous))
        {
            using StreamReader reader = new(child.Output);
            ids = [child.Id, int.Parse(reader.ReadLine()!)];
        }

        Assert.True(Ended(ids));
    }

    [Fact]
    public void Memory_is_limited()
    {
        Assert.SkipUnless(new ExternalProgram("prlimit", "util-linux").IsInstalled, "needs prlimit");
        ProcessLimits limits = Generous with { MemoryBytes = 64 << 20 };
        string[] arguments = ["if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"];
        string message = Fails(() => ChildProcess.Run(new("dd", "coreutils"), arguments, "test", limits));
        Assert.Contains("dd: memory exhausted", message);
    }

    [Fact]
    public void Processor_time_is_limited()
    {
        Assert.SkipUnless(new ExternalProgram("prlimit", "util-linux").IsInstalled, "needs prlimit");
        ProcessLimits limits = Generous with { ProcessorTime = TimeSpan.FromSeconds(1) };
        string message = Fails(() => ChildProcess.Run(Shell, ["-c", "while :; do :; done"], "test", limits));
        Assert.StartsWith("test: sh was ended by signal", message, StringComparison.Ordinal);
        Assert.Contains("processor time", message);
    }

    static string Sh(string[] arguments) =>
        Encoding.UTF8.GetString(ChildProcess.Run(Shell, ["-c", .. arguments], "test", Generous));

    static string Fails(Action action) => Assert.Throws<MediaException>(action).Message;

    /// <summary>Whether processes are gone, or wait as zombies for a parent that does not ask; the kernel may take a moment.</summary>
    static bool Ended(params int[] ids)
    {
        Stopwatch watch = Stopwatch.StartNew();
        while (watch.Elapsed < TimeSpan.FromSeconds(20))
        {
            if (ids.All(IsGone))
            {
                return true;
            }

            Thread.Sleep(20);
        }

        return false;
    }

    static bool IsGone(int id)
    {
        try
        {
            string stat = File.ReadAllText($"/proc/{id}/stat");
            return stat[(stat.LastIndexOf(')') + 2)..].StartsWith('Z');
        }
        catch (IOException)
        {
            return true;
        }
    }
}
