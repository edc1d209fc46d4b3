using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using VlmSharp.Media.Images;

namespace VlmSharp.Media.Processes;

/// <summary>A program at work on untrusted bytes: without a shell, within limits, and gone with everything it started when this is disposed.</summary>
/// <remarks>
/// <list type="bullet">
/// <item>Arguments arrive as they are; no shell reads them. Standard input is closed, or fed from memory.</item>
/// <item>The environment holds PATH, LC_ALL=C, TZ=UTC, and HOME and TMPDIR, which are the working directory: a temporary one of its own.</item>
/// <item>It runs in a session of its own (<c>setsid</c>, util-linux), so that all its descendants are ended with it: when a limit is
/// reached, when it is cancelled, and when this is disposed.</item>
/// <item>Of standard error the last 4096 bytes are kept for the message of an error.</item>
/// </list>
/// One thread uses an instance. <code>
/// using ChildProcess child = ChildProcess.Start(program, arguments, name, limits);
/// Read(child.Output);
/// child.Finish();
/// </code>
/// </remarks>
public sealed partial class ChildProcess : IDisposable
{
    const int ErrorBytes = 4096;
    const int SigKill = 9;

    readonly Process process;
    readonly ExternalProgram program;
    readonly string name;
    readonly ProcessLimits limits;
    readonly bool ownSession;
    readonly CancellationToken cancellation;
    readonly CancellationTokenSource stop;
    readonly CancellationTokenRegistration stopRegistration;
    readonly long started = Stopwatch.GetTimestamp();
    readonly Tail errorTail = new(ErrorBytes);
    readonly Task errors;
    readonly OutputStream output;

    ChildProcess(
        ExternalProgram program,
        IReadOnlyList<string> arguments,
        string name,
        ProcessLimits limits,
        ReadOnlyMemory<byte> input,
        CancellationToken cancellation
    )
    {
        (this.program, this.name, this.limits, this.cancellation) = (program, name, limits, cancellation);
        List<string> command = Command(program.Path, limits, out ownSession);
        command.AddRange(arguments);
        foreach (string argument in command)
        {
            if (argument.Contains('\0'))
            {
                throw new MediaException(name, $"an argument for {program.Name} contains the character U+0000");
            }
        }

        WorkingDirectory = Directory.CreateTempSubdirectory("vlm-").FullName;
        stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        try
        {
            process = StartProcess(command);
        }
        catch (Exception e)
        {
            stop.Dispose();
            DeleteWorkingDirectory();
            throw e is System.ComponentModel.Win32Exception
                ? new MediaException(name, $"{program.Name} cannot be started: {e.Message}", e)
                : e;
        }

        output = new OutputStream(this, process.StandardOutput.BaseStream);
        errors = Task.Run(() => errorTail.ReadToEnd(process.StandardError.BaseStream), CancellationToken.None);
        if (input.IsEmpty)
        {
            process.StandardInput.Close();
        }
        else
        {
            _ = Task.Run(() => Feed(process.StandardInput.BaseStream, input), CancellationToken.None);
        }

        stopRegistration = stop.Token.Register(Kill);
        stop.CancelAfter(limits.Time);
    }

    /// <summary>Starts a program.</summary>
    /// <param name="program">Which one.</param>
    /// <param name="arguments">Its arguments, each as it is.</param>
    /// <param name="name">What the work is about, for errors: the path of a file.</param>
    /// <param name="limits">What it may use.</param>
    /// <param name="input">What it reads from standard input; nothing if empty. Must not change while the process runs.</param>
    /// <param name="cancellation">Ends the process; reading and <see cref="Finish"/> then throw <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="MediaException">The program is not on the machine, or cannot be started.</exception>
    public static ChildProcess Start(
        ExternalProgram program,
        IReadOnlyList<string> arguments,
        string name,
        ProcessLimits limits,
        ReadOnlyMemory<byte> input = default,
        CancellationToken cancellation = default
    )
    {
        ArgumentNullException.ThrowIfNull(program);
        ArgumentNullException.ThrowIfNull(arguments);
        ArgumentNullException.ThrowIfNull(limits);
        cancellation.ThrowIfCancellationRequested();
        return new(program, arguments, name, limits, input, cancellation);
    }

    /// <summary>Runs a program to its end and returns what it wrote to standard output.</summary>
    /// <inheritdoc cref="Start"/>
    /// <exception cref="MediaException">It is missing, went over a limit, or ended with an exit code other than 0.</exception>
    public static byte[] Run(
        ExternalProgram program,
        IReadOnlyList<string> arguments,
        string name,
        ProcessLimits limits,
        ReadOnlyMemory<byte> input = default,
        CancellationToken cancellation = default
    )
    {
        using ChildProcess child = Start(program, arguments, name, limits, input, cancellation);
        using MemoryStream bytes = new();
        child.Output.CopyTo(bytes);
        child.Finish();
        return bytes.ToArray();
    }

    /// <summary>The process's number.</summary>
    public int Id => process.Id;

    /// <summary>Its working directory; deleted with everything in it when this is disposed.</summary>
    public string WorkingDirectory { get; }

    /// <summary>Standard output. Reading throws <see cref="MediaException"/> at a limit, and <see cref="OperationCanceledException"/> when cancelled.</summary>
    public Stream Output => output;

    /// <summary>Reads what is left of the output, waits for the end, and returns the exit code; 128 + n after signal n.</summary>
    /// <exception cref="MediaException">It went over a limit.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public int WaitForExit()
    {
        output.CopyTo(Stream.Null);
        process.WaitForExit();
        ThrowIfStopped();
        return process.ExitCode;
    }

    /// <summary><see cref="WaitForExit"/>, and an exit code other than 0 is an error that carries the last lines of standard error.</summary>
    /// <exception cref="MediaException">It failed or went over a limit.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public void Finish()
    {
        int code = WaitForExit();
        if (code != 0)
        {
            throw new MediaException(name, Failure(code));
        }
    }

    /// <summary>The last bytes of standard error as text, trimmed; complete after <see cref="WaitForExit"/>.</summary>
    public string ErrorText()
    {
        // A descendant that outlives the program may hold standard error open; what it says is of no interest.
        errors.Wait(TimeSpan.FromSeconds(process.HasExited ? 1 : 0), CancellationToken.None);
        return errorTail.Text();
    }

    /// <summary>Ends the process and all it started, and deletes its working directory.</summary>
    public void Dispose()
    {
        stopRegistration.Dispose();
        Kill();
        process.WaitForExit();
        process.Dispose();
        stop.Dispose();
        DeleteWorkingDirectory();
    }

    /// <summary>The program with those that limit it before it.</summary>
    static List<string> Command(string path, ProcessLimits limits, out bool ownSession)
    {
        List<string> command = [];
        string? setsid = OperatingSystem.IsWindows() ? null : ExternalProgram.Find("setsid");
        ownSession = setsid is not null;
        if (setsid is not null)
        {
            command.Add(setsid);
        }

        if (OperatingSystem.IsLinux() && ExternalProgram.Find("prlimit") is { } prlimit)
        {
            command.Add(prlimit);
            command.Add("--core=0");
            command.Add(Invariant($"--as={Math.Min(limits.MemoryBytes, HardLimit("Max address space"))}"));
            if (limits.ProcessorTime is { } time)
            {
                long seconds = (long)Math.Max(1, Math.Ceiling(time.TotalSeconds));
                command.Add(Invariant($"--cpu={Math.Min(seconds, HardLimit("Max cpu time"))}"));
            }
        }

        command.Add(path);
        return command;
    }

    /// <summary>A limit of this process that its children cannot raise.</summary>
    static long HardLimit(string row)
    {
        string? line = File.ReadLines("/proc/self/limits")
            .FirstOrDefault(l => l.StartsWith(row, StringComparison.Ordinal));
        string[] fields = line?[row.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries) ?? [];
        return fields.Length > 1 && long.TryParse(fields[1], CultureInfo.InvariantCulture, out long hard)
            ? hard
            : long.MaxValue;
    }

    Process StartProcess(List<string> command)
    {
        ProcessStartInfo start = new(command[0], command.Skip(1))
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = WorkingDirectory,
        };
        start.Environment.Clear();
        start.Environment["PATH"] = "/usr/local/bin:/usr/bin:/bin";
        start.Environment["LC_ALL"] = "C";
        start.Environment["TZ"] = "UTC";
        start.Environment["HOME"] = WorkingDirectory;
        start.Environment["TMPDIR"] = WorkingDirectory;
        return Process.Start(start)!;
    }

    static void Feed(Stream target, ReadOnlyMemory<byte> input)
    {
        try
        {
            using (target)
            {
                target.Write(input.Span);
            }
        }
        catch (IOException)
        {
            // The program has read all it wants, or has ended; whether that is an error its exit code says.
        }
    }

    void Kill()
    {
        try
        {
            process.Kill(entireProcessTree: true);
        }
        catch (Exception e) when (e is InvalidOperationException or AggregateException)
        {
            // It, or one of its children, had ended already.
        }

        if (ownSession)
        {
            // Those whose parents have ended are no longer in the tree, but still in the group.
            _ = SendSignal(-process.Id, SigKill);
        }
    }

    void ThrowIfStopped()
    {
        cancellation.ThrowIfCancellationRequested();
        // The clock decides, not the timer: that may be late on a busy machine.
        if (stop.IsCancellationRequested || Stopwatch.GetElapsedTime(started) > limits.Time)
        {
            throw new MediaException(
                name,
                $"{program.Name} was ended because it had not finished after {Seconds(limits.Time)}, which is the limit for this work"
            );
        }
    }

    string Failure(int code)
    {
        string how = code > 128 ? $"was ended by signal {code - 128}" : $"failed with exit code {code}";
        string reason = (code - 128) switch
        {
            24 => $": it used the {Seconds(limits.ProcessorTime ?? limits.Time)} of processor time that are the limit",
            SigKill => ": the machine ran out of memory, or it used all of its processor time",
            _ => "",
        };
        string said = ErrorText();
        return $"{program.Name} {how}{reason}{(said.Length > 0 ? $" ({program.Name}: {said})" : "")}";
    }

    static string Seconds(TimeSpan time) => Invariant($"{time.TotalSeconds:0.###} s");

    static string Invariant(FormattableString text) => FormattableString.Invariant(text);

    void DeleteWorkingDirectory()
    {
        try
        {
            Directory.Delete(WorkingDirectory, recursive: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A temporary directory that stays is no reason to fail work that is done.
        }
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int SendSignal(int process, int signal);

    /// <summary>Standard output within the limits.</summary>
    sealed class OutputStream(ChildProcess owner, Stream inner) : Stream
    {
        long read;

        public override bool CanRead => true;
        public override bool CanSeek => false;
        public override bool CanWrite => false;
        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => read;
            set => throw new NotSupportedException();
        }

        public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

        public override int Read(Span<byte> buffer)
        {
            owner.ThrowIfStopped();
            int count = inner.Read(buffer);
            owner.ThrowIfStopped();
            read += count;
            if (read > owner.limits.OutputBytes)
            {
                owner.Kill();
                throw new MediaException(
                    owner.name,
                    $"{owner.program.Name} was ended because it wrote more than {owner.limits.OutputBytes} bytes, which is the limit for this work"
                );
            }

            return count;
        }

        public override void Flush() { }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }

    /// <summary>The last bytes of a stream.</summary>
    sealed class Tail(int capacity)
    {
        readonly byte[] last = new byte[capacity];
        int count;

        internal void ReadToEnd(Stream stream)
        {
            byte[] buffer = new byte[capacity];
            try
            {
                for (int n = stream.Read(buffer); n > 0; n = stream.Read(buffer))
                {
                    Append(buffer.AsSpan(0, n));
                }
            }
            catch (Exception e) when (e is IOException or ObjectDisposedException)
            {
                // Disposed while a descendant still held the pipe.
            }
        }

        internal string Text()
        {
            lock (last)
            {
                return Encoding.UTF8.GetString(last, 0, count).Trim();
            }
        }

        void Append(ReadOnlySpan<byte> bytes)
        {
            lock (last)
            {
                int keep = Math.Min(count, capacity - bytes.Length);
                last.AsSpan(count - keep, keep).CopyTo(last);
                bytes.CopyTo(last.AsSpan(keep));
                count = keep + bytes.Length;
            }
        }
    }
}
