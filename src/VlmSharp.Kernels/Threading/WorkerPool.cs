using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace VlmSharp.Kernels;

/// <summary>Work that splits into independent parts.</summary>
public interface IParallelBody
{
    /// <summary>Does one part. Called once for each part, on any thread, in any order.</summary>
    /// <param name="part">Which part, in [0, parts).</param>
    /// <param name="worker">Which thread of the pool, in [0, <see cref="WorkerPool.Threads"/>): two parts that run at the same time never have the same.</param>
    void Run(int part, int worker);
}

/// <summary>A fixed set of threads that share the parts of one kernel at a time; the calling thread is one of them.</summary>
/// <remarks>
/// <para>
/// Parts are claimed one by one, so a thread that is slowed by another process takes fewer of them, and one that has not woken
/// yet is not waited for. Starting and ending a generation takes a fraction of a microsecond while the threads still spin.
/// </para>
/// <para>
/// Concurrent callers take turns. A call from inside a part of the same pool runs inline on that part's thread. A part must
/// not call into a second pool whose parts call back into this one.
/// </para>
/// </remarks>
public sealed unsafe class WorkerPool : IDisposable
{
    // Waking a parked thread takes 110-175 us, so a thread waits about as long for more work before it parks: a kernel that
    // follows within that time never pays for waking, and an idle pool wastes at most about the price of one wake-up.
    const int SpinMicroseconds = 200;

    // For the first part of that time (about 40 ns each) it only pauses; then it also offers its CPU to other threads.
    const int PausesBeforeYield = 500;

    // Bits of Shared.State: generation in the upper half; below, whether it is closed and how many workers are inside.
    const long Closed = 1L << 31;
    const long InsideMask = Closed - 1;

    readonly Lock running = new(); // held by the caller whose parts run
    readonly object parking = new();
    readonly Thread[] workers;
    readonly List<AlignedBuffer>[] scratch; // per worker; the last one is in use, older ones live until Dispose
    readonly List<AlignedBuffer> idleBuffers = [];
    Shared shared;

    // The job of the current generation. Written before the generation opens, read by threads that entered it.
    void* body;
    delegate* <void*, int, int, void> run;
    int parts;
    Exception? failure;
    volatile bool stopping;

    [ThreadStatic]
    static WorkerPool? insidePool; // the pool whose part this thread runs

    [ThreadStatic]
    static int insideWorker;

    /// <summary>Starts <paramref name="threads"/> - 1 background threads.</summary>
    /// <param name="threads">At least 1; with 1 everything runs on the caller's thread.</param>
    public WorkerPool(int threads)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        Threads = threads;
        shared.State = Closed;
        scratch = new List<AlignedBuffer>[threads];
        for (int i = 0; i < threads; i++)
        {
            scratch[i] = [];
        }

        workers = new Thread[threads - 1];
        for (int i = 0; i < workers.Length; i++)
        {
            int worker = i + 1;
            workers[i] = new Thread(() => Work(worker)) { IsBackground = true, Name = $"kernels {worker}" };
            workers[i].Start();
        }
    }

    /// <summary>How many threads work on a kernel, the caller's included.</summary>
    public int Threads { get; }

    /// <summary>Runs <c>body.Run(part, worker)</c> once for each part in [0, <paramref name="parts"/>) and returns when all are done.</summary>
    /// <remarks>
    /// Allocates nothing. <paramref name="body"/> may hold pointers and spans; all threads see one copy of it, and changes
    /// made to it are there when the call returns. When a part throws, no new parts are started, and the first exception is
    /// thrown here after the running ones have ended.
    /// </remarks>
    /// <exception cref="ObjectDisposedException">The pool was disposed.</exception>
    public void Run<TBody>(int parts, ref TBody body)
        where TBody : struct, IParallelBody, allows ref struct
    {
        ArgumentOutOfRangeException.ThrowIfNegative(parts);
        if (insidePool == this)
        {
            for (int part = 0; part < parts; part++)
            {
                body.Run(part, insideWorker);
            }

            return;
        }

        lock (running)
        {
            ObjectDisposedException.ThrowIf(stopping, this);
            if (parts <= 1 || workers.Length == 0)
            {
                RunInline(parts, ref body);
            }
            else
            {
                // A copy on this stack cannot be moved by the garbage collector while other threads hold its address.
                TBody copy = body;
                RunShared(parts, Unsafe.AsPointer(ref copy), &Invoke<TBody>);
                body = copy;
            }
        }
    }

    /// <summary>Memory of one worker for the duration of a part: aligned to 64 bytes, content undefined.</summary>
    /// <remarks>
    /// Every call of the same worker returns the same memory, grown when it has to be. Only that worker, inside a part, may
    /// ask for it. Allocates only to grow.
    /// </remarks>
    public Span<byte> Scratch(int worker, int bytes) => new(ScratchPointer(worker, bytes), bytes);

    /// <summary><see cref="Scratch"/> as a pointer.</summary>
    internal byte* ScratchPointer(int worker, int bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        List<AlignedBuffer> buffers = scratch[worker];
        if (buffers.Count == 0 || buffers[^1].Bytes < bytes)
        {
            // Doubling bounds the older buffers, which stay valid for spans that are still held, to the size of the new one.
            buffers.Add(
                new AlignedBuffer((long)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Math.Max(bytes, 4096)))
            );
        }

        return buffers[^1].Pointer;
    }

    /// <summary>Takes memory that all workers of a kernel share, content undefined; <see cref="Return"/> gives it back for the next kernel.</summary>
    internal AlignedBuffer Rent(long bytes)
    {
        lock (idleBuffers)
        {
            for (int i = idleBuffers.Count - 1; i >= 0; i--)
            {
                AlignedBuffer buffer = idleBuffers[i];
                if (buffer.Bytes >= bytes)
                {
                    idleBuffers.RemoveAt(i);
                    return buffer;
                }
            }

            // All are too small: the new one takes the place of the last, so that their number is that of concurrent users.
            if (idleBuffers.Count > 0)
            {
                idleBuffers[^1].Dispose();
                idleBuffers.RemoveAt(idleBuffers.Count - 1);
            }
        }

        return new AlignedBuffer((long)System.Numerics.BitOperations.RoundUpToPowerOf2((ulong)Math.Max(bytes, 4096)));
    }

    /// <summary>Gives back what <see cref="Rent"/> returned.</summary>
    internal void Return(AlignedBuffer buffer)
    {
        lock (idleBuffers)
        {
            if (stopping)
            {
                buffer.Dispose();
            }
            else
            {
                idleBuffers.Add(buffer);
            }
        }
    }

    /// <summary>Ends the threads, after the parts that run, and frees all scratch memory.</summary>
    /// <exception cref="InvalidOperationException">Called from inside a part of this pool.</exception>
    public void Dispose()
    {
        if (insidePool == this)
        {
            throw new InvalidOperationException("a part cannot dispose the pool it runs on");
        }

        lock (running)
        {
            if (stopping)
            {
                return;
            }

            stopping = true;
            lock (parking)
            {
                Monitor.PulseAll(parking);
            }

            foreach (Thread thread in workers)
            {
                thread.Join();
            }
        }

        foreach (List<AlignedBuffer> buffers in scratch)
        {
            buffers.ForEach(b => b.Dispose());
            buffers.Clear();
        }

        lock (idleBuffers)
        {
            idleBuffers.ForEach(b => b.Dispose());
            idleBuffers.Clear();
        }
    }

    static void Invoke<TBody>(void* body, int part, int worker)
        where TBody : struct, IParallelBody, allows ref struct => Unsafe.AsRef<TBody>(body).Run(part, worker);

    void RunInline<TBody>(int parts, ref TBody body)
        where TBody : struct, IParallelBody, allows ref struct
    {
        (WorkerPool? outerPool, int outerWorker) = (insidePool, insideWorker);
        (insidePool, insideWorker) = (this, 0);
        try
        {
            for (int part = 0; part < parts; part++)
            {
                body.Run(part, 0);
            }
        }
        finally
        {
            (insidePool, insideWorker) = (outerPool, outerWorker);
        }
    }

    void RunShared(int parts, void* body, delegate* <void*, int, int, void> run)
    {
        this.body = body;
        this.run = run;
        this.parts = parts;
        shared.NextPart = 0;
        Open(Math.Min(parts - 1, workers.Length));
        Drain(worker: 0);
        CloseAndWait();
        if (failure is { } first)
        {
            failure = null;
            ExceptionDispatchInfo.Throw(first);
        }
    }

    void Open(int helpers)
    {
        long generation = (Volatile.Read(ref shared.State) >> 32) + 1;
        Interlocked.Exchange(ref shared.State, generation << 32);

        // The exchange is a full fence: either a worker that is about to park sees the new generation, or it is counted here.
        if (Volatile.Read(ref shared.Parked) > 0)
        {
            lock (parking)
            {
                for (int i = Math.Min(helpers, shared.Parked); i > 0; i--)
                {
                    Monitor.Pulse(parking);
                }
            }
        }
    }

    // Workers that have not entered by now stay out; those inside finish the parts they claimed.
    void CloseAndWait()
    {
        Interlocked.Or(ref shared.State, Closed);
        for (int pauses = 0; (Volatile.Read(ref shared.State) & InsideMask) != 0; pauses++)
        {
            Pause(pauses);
        }
    }

    void Work(int worker)
    {
        for (long seen = 0; AwaitGeneration(seen); )
        {
            long state = Volatile.Read(ref shared.State);
            seen = state >> 32;
            if ((state & Closed) != 0)
            {
                continue;
            }

            if (Interlocked.CompareExchange(ref shared.State, state + 1, state) != state)
            {
                seen--; // Another worker entered, or the generation closed, at the same moment: look again.
                continue;
            }

            Drain(worker);
            Interlocked.Decrement(ref shared.State);
        }
    }

    void Drain(int worker)
    {
        (WorkerPool? outerPool, int outerWorker) = (insidePool, insideWorker);
        (insidePool, insideWorker) = (this, worker);
        try
        {
            for (long part; (part = Interlocked.Increment(ref shared.NextPart) - 1) < parts; )
            {
                run(body, (int)part, worker);
            }
        }
        catch (Exception e)
        {
            Interlocked.CompareExchange(ref failure, e, null);
            Interlocked.Exchange(ref shared.NextPart, parts); // nothing is left to claim
        }
        finally
        {
            (insidePool, insideWorker) = (outerPool, outerWorker);
        }
    }

    // True when there is a generation other than `seen`; false when the pool is being disposed.
    bool AwaitGeneration(long seen)
    {
        long deadline = Stopwatch.GetTimestamp() + Stopwatch.Frequency * SpinMicroseconds / 1_000_000;
        for (int pauses = 0; ; pauses++)
        {
            if (stopping)
            {
                return false;
            }

            if (Volatile.Read(ref shared.State) >> 32 != seen)
            {
                return true;
            }

            Pause(pauses);
            if (pauses > PausesBeforeYield && Stopwatch.GetTimestamp() > deadline)
            {
                Park(seen);
            }
        }
    }

    void Park(long seen)
    {
        lock (parking)
        {
            Interlocked.Increment(ref shared.Parked);
            while (Volatile.Read(ref shared.State) >> 32 == seen && !stopping)
            {
                Monitor.Wait(parking);
            }

            Interlocked.Decrement(ref shared.Parked);
        }
    }

    static void Pause(int pauses)
    {
        if (pauses < PausesBeforeYield && Environment.ProcessorCount > 1)
        {
            Thread.SpinWait(1);
        }
        else
        {
            Thread.Yield();
        }
    }

    // Two cache lines apart (the prefetcher fetches pairs): spinning on State does not slow the claiming of parts.
    [StructLayout(LayoutKind.Explicit, Size = 512)]
    struct Shared
    {
        [FieldOffset(128)]
        public long State;

        [FieldOffset(256)]
        public long NextPart;

        [FieldOffset(384)]
        public int Parked;
    }
}
