using VlmSharp.Kernels;
using Xunit;

namespace VlmSharp.Tests.Kernels.Threading;

public sealed class WorkerPoolTests
{
    public static TheoryData<int> ThreadCounts => [1, 2, 3, 4, 9];

    [Theory, MemberData(nameof(ThreadCounts))]
    public void Every_part_runs_exactly_once_on_a_worker_of_the_pool(int threads)
    {
        using var pool = new WorkerPool(threads);
        Assert.Equal(threads, pool.Threads);
        foreach (int parts in new[] { 0, 1, 2, 3, 7, 64, 1000 })
        {
            for (int repeat = 0; repeat < 200; repeat++)
            {
                var body = new Count(new int[parts], new int[threads]);
                pool.Run(parts, ref body);
                Assert.All(body.Runs, n => Assert.Equal(1, n));
                Assert.Equal(parts, body.PerWorker.Sum());
            }
        }
    }

    [Theory, MemberData(nameof(ThreadCounts))]
    public void Results_of_all_parts_are_visible_after_each_of_many_short_generations(int threads)
    {
        using var pool = new WorkerPool(threads);
        var body = new Add(new long[5]);
        for (int generation = 1; generation <= 20_000; generation++)
        {
            pool.Run(body.Sums.Length, ref body);
            foreach (long sum in body.Sums)
            {
                if (sum != generation)
                {
                    Assert.Fail($"generation {generation}: {string.Join(' ', body.Sums)}");
                }
            }
        }
    }

    [Fact]
    public void Parked_threads_wake_up_for_new_work()
    {
        using var pool = new WorkerPool(3);
        for (int repeat = 0; repeat < 5; repeat++)
        {
            Thread.Sleep(20); // a hundred times the time after which threads park
            var body = new Meet(new CountdownEvent(3));
            pool.Run(3, ref body); // ends only when three threads are inside at once
        }
    }

    [Theory, MemberData(nameof(ThreadCounts))]
    public void The_first_exception_reaches_the_caller_after_all_parts_stopped(int threads)
    {
        using var pool = new WorkerPool(threads);
        for (int repeat = 0; repeat < 200; repeat++)
        {
            var body = new Throw(repeat % 50, new int[1], new int[1]);
            var error = Assert.Throws<InvalidOperationException>(() =>
            {
                var copy = body;
                pool.Run(50, ref copy);
            });
            Assert.StartsWith("part ", error.Message, StringComparison.Ordinal);
            Assert.Equal(0, Volatile.Read(ref body.Running[0]));

            // The pool still works.
            var next = new Count(new int[10], new int[threads]);
            pool.Run(10, ref next);
            Assert.All(next.Runs, n => Assert.Equal(1, n));
        }
    }

    [Fact]
    public void After_an_exception_no_new_part_is_started()
    {
        using var pool = new WorkerPool(1);
        var body = new Throw(3, new int[1], new int[1]);
        Assert.Throws<InvalidOperationException>(() => pool.Run(50, ref body));
        Assert.Equal(4, body.Started[0]);
    }

    [Theory, MemberData(nameof(ThreadCounts))]
    public void A_call_from_inside_a_part_runs_inline_on_the_same_worker(int threads)
    {
        using var pool = new WorkerPool(threads);
        var body = new Nest(pool, new int[20 * 6], new bool[1]);
        pool.Run(20, ref body);
        Assert.All(body.Runs, n => Assert.Equal(1, n));
        Assert.False(body.MovedToAnotherWorker[0]);
    }

    [Fact]
    public void Concurrent_callers_take_turns()
    {
        using var pool = new WorkerPool(2);
        int[] inside = new int[1];
        bool[] overlapped = new bool[1];
        Parallel.For(
            0,
            8,
            new ParallelOptions { MaxDegreeOfParallelism = 4 },
            caller =>
            {
                for (int i = 0; i < 500; i++)
                {
                    var body = new Exclusive(caller, inside, overlapped);
                    pool.Run(4, ref body);
                }
            }
        );
        Assert.False(overlapped[0]);
    }

    [Fact]
    public void A_body_may_hold_spans_and_its_changes_come_back()
    {
        using var pool = new WorkerPool(2);
        Span<int> squares = stackalloc int[100];
        var body = new Squares(squares);
        for (int repeat = 0; repeat < 50; repeat++)
        {
            squares.Clear();
            body.Done = 0;
            pool.Run(100, ref body);
            Assert.Equal(100, body.Done);
            for (int i = 0; i < 100; i++)
            {
                Assert.Equal(i * i, squares[i]);
            }
        }
    }

    [Fact]
    public void A_body_on_the_heap_may_move_while_it_runs()
    {
        using var pool = new WorkerPool(3);
        for (int repeat = 0; repeat < 20; repeat++)
        {
            var box = new Box { Body = new Collect(new int[64]) };
            pool.Run(64, ref box.Body);
            Assert.All(box.Body.Runs, n => Assert.Equal(1, n));
        }
    }

    [Fact]
    public void Running_allocates_nothing()
    {
        using var pool = new WorkerPool(3);
        var body = new Add(new long[7]);
        pool.Run(7, ref body);
        Thread.Sleep(5);
        pool.Run(7, ref body); // waking parked threads included
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1000; i++)
        {
            pool.Run(7, ref body);
        }

        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    [Fact]
    public void Scratch_is_aligned_separate_per_worker_and_kept()
    {
        using var pool = new WorkerPool(2);
        for (int bytes = 1; bytes < 5 << 20; bytes = bytes * 3 + 1)
        {
            Span<byte> first = pool.Scratch(0, bytes);
            Span<byte> second = pool.Scratch(1, bytes);
            Assert.Equal(bytes, first.Length);
            Assert.False(first.Overlaps(second));
            first.Fill(1);
            second.Fill(2);
            Assert.True(pool.Scratch(0, bytes) == first);
            Assert.Equal(-1, first.IndexOfAnyExcept((byte)1));
        }

        Assert.Equal(0, pool.Scratch(0, 0).Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => pool.Scratch(0, -1).Length);
    }

    [Fact]
    public void Growing_scratch_leaves_older_spans_of_it_alive()
    {
        using var pool = new WorkerPool(1);
        Span<byte> small = pool.Scratch(0, 100);
        small.Fill(7);
        pool.Scratch(0, 10 << 20).Fill(1);
        Assert.Equal(-1, small.IndexOfAnyExcept((byte)7));
    }

    [Fact]
    public void Shared_buffers_are_reused_and_never_handed_out_twice()
    {
        using var pool = new WorkerPool(1);
        AlignedBuffer a = pool.Rent(1000);
        AlignedBuffer b = pool.Rent(1000);
        Assert.NotSame(a, b);
        pool.Return(a);
        Assert.Same(a, pool.Rent(500));
        pool.Return(a);
        pool.Return(b);
        AlignedBuffer larger = pool.Rent(1 << 20);
        Assert.True(larger.Bytes >= 1 << 20);
        pool.Return(larger);
        Assert.Same(larger, pool.Rent(1 << 20));
    }

    [Fact]
    public void Dispose_ends_the_threads_and_refuses_further_work()
    {
        for (int repeat = 0; repeat < 20; repeat++)
        {
            var pool = new WorkerPool(4);
            var body = new Count(new int[9], new int[4]);
            if (repeat % 2 == 0)
            {
                pool.Run(9, ref body);
            }

            if (repeat % 3 == 0)
            {
                Thread.Sleep(2); // parked
            }

            pool.Dispose();
            pool.Dispose();
            Assert.Throws<ObjectDisposedException>(() => pool.Run(1, ref body));
        }
    }

    [Fact]
    public void A_part_cannot_dispose_its_pool()
    {
        using var pool = new WorkerPool(2);
        var body = new DisposeInside(pool);
        Assert.Throws<InvalidOperationException>(() => pool.Run(1, ref body));
    }

    [Fact]
    public void Wrong_counts_are_refused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new WorkerPool(0));
        using var pool = new WorkerPool(1);
        var body = new Add(new long[1]);
        Assert.Throws<ArgumentOutOfRangeException>(() => pool.Run(-1, ref body));
    }

    readonly struct Count(int[] runs, int[] perWorker) : IParallelBody
    {
        public int[] Runs => runs;
        public int[] PerWorker => perWorker;

        public void Run(int part, int worker)
        {
            Interlocked.Increment(ref runs[part]);
            perWorker[worker]++; // not interlocked: no two threads have the same number
        }
    }

    readonly struct Add(long[] sums) : IParallelBody
    {
        public long[] Sums => sums;

        public void Run(int part, int worker) => sums[part]++;
    }

    readonly struct Meet(CountdownEvent arrived) : IParallelBody
    {
        public void Run(int part, int worker)
        {
            arrived.Signal();
            Assert.True(arrived.Wait(TimeSpan.FromSeconds(30)), "a parked thread did not wake up");
        }
    }

    readonly struct Throw(int at, int[] running, int[] started) : IParallelBody
    {
        public int[] Running => running;
        public int[] Started => started;

        public void Run(int part, int worker)
        {
            Interlocked.Increment(ref running[0]);
            Interlocked.Increment(ref started[0]);
            try
            {
                if (part >= at)
                {
                    throw new InvalidOperationException($"part {part}");
                }
            }
            finally
            {
                Interlocked.Decrement(ref running[0]);
            }
        }
    }

    readonly struct Nest(WorkerPool pool, int[] runs, bool[] moved) : IParallelBody
    {
        public int[] Runs => runs;
        public bool[] MovedToAnotherWorker => moved;

        public void Run(int part, int worker)
        {
            var inner = new Inner(part * 6, worker, Environment.CurrentManagedThreadId, runs, moved);
            pool.Run(6, ref inner);
        }

        readonly struct Inner(int first, int outerWorker, int thread, int[] runs, bool[] moved) : IParallelBody
        {
            public void Run(int part, int worker)
            {
                Interlocked.Increment(ref runs[first + part]);
                moved[0] |= worker != outerWorker || Environment.CurrentManagedThreadId != thread;
            }
        }
    }

    readonly struct Exclusive(int caller, int[] inside, bool[] overlapped) : IParallelBody
    {
        public void Run(int part, int worker)
        {
            // The field holds caller + 1 in the upper bits and the number of its running parts below.
            int now = Interlocked.Add(ref inside[0], ((caller + 1) << 8) + 1);
            int count = now & 0xFF;
            overlapped[0] |= now >> 8 != (caller + 1) * count;
            Interlocked.Add(ref inside[0], -(((caller + 1) << 8) + 1));
        }
    }

    ref struct Squares(Span<int> squares) : IParallelBody
    {
        readonly Span<int> squares = squares;
        public int Done;

        public void Run(int part, int worker)
        {
            squares[part] = part * part;
            Interlocked.Increment(ref Done);
        }
    }

    readonly struct Collect(int[] runs) : IParallelBody
    {
        public int[] Runs => runs;

        public void Run(int part, int worker)
        {
            if (part % 16 == 0)
            {
                GC.Collect(0);
            }

            Interlocked.Increment(ref runs[part]);
        }
    }

    sealed class Box
    {
        public Collect Body;
    }

    readonly struct DisposeInside(WorkerPool pool) : IParallelBody
    {
        public void Run(int part, int worker) => pool.Dispose();
    }
}
