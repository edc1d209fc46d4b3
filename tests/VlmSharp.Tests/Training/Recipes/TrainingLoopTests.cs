using VlmSharp.Datasets;
using VlmSharp.Formats;
using VlmSharp.Kernels;
using VlmSharp.Testing;
using VlmSharp.Training;
using VlmSharp.Training.Recipes;
using Xunit;

namespace VlmSharp.Tests.Training.Recipes;

/// <summary>The loop over made-up sentences of token ids, on a small checkpoint with experts.</summary>
public sealed class TrainingLoopTests : IDisposable
{
    const string Json = """
        {
            "model": "MODEL", "output": "OUTPUT", "examplesPerUpdate": 4, "microBatchTokens": 20, "steps": 8, "seed": 3,
            "data": [{ "source": "old", "replay": 0.2 }], "rates": { "vision": 1e-3, "merger": 1e-3, "language": 1e-2 },
            "curriculum": { "levels": [{ "data": [{ "source": "easy" }], "steps": 3 }, { "data": [{ "source": "hard" }] }] },
            "schedule": { "kind": "cosine", "warmup": 2 }, "readAhead": 5, "precision": "f32"
        }
        """;

    readonly TemporaryDirectory directory = new();
    readonly WorkerPool pool = new(2);

    public void Dispose()
    {
        directory.Dispose();
        pool.Dispose();
    }

    /// <summary>Examples that tell their own number; every seventh is broken where asked.</summary>
    sealed class Sentences(string name, bool broken = false) : IExampleSource
    {
        public string Name => name;

        public long? Count => 50;

        public Example Read(long index) =>
            broken && index % 7 == 0
                ? throw new CheckpointException(name, $"line {index + 1} is broken")
                : new Example($"{name} {index}", []);
    }

    static Sample Encode(Example example)
    {
        Random random = new(Seed(example.Name));
        int[] tokens = [.. Enumerable.Range(0, random.Next(4, 9)).Select(_ => random.Next(1, 400))];
        return new Sample(tokens, [.. tokens.Select((t, i) => i < 2 ? CrossEntropy.Ignored : t)], []);
    }

    static int Seed(string text) => text.Aggregate(7, (hash, c) => unchecked((hash * 31) + c));

    static TrainableModel Model(WorkerPool pool)
    {
        using Checkpoint checkpoint = Checkpoint.Open(Goldens.Local("qwen3-vl-moe/checkpoint"));
        return TrainableModel.Load(checkpoint, pool);
    }

    TrainingLoop Loop(TrainableModel model, string json = Json, bool broken = false) =>
        new(TestRecipe.Of(json), model, name => new Sentences(name, broken), Encode, pool);

    static float[][] Values(TrainableModel model) => [.. model.Parameters.All.Select(p => p.Values.ToArray())];

    static void AssertSame(float[][] expected, TrainableModel model)
    {
        for (int i = 0; i < expected.Length; i++)
        {
            Near.SameBits(expected[i], model.Parameters.All[i].Values);
        }
    }

    [Fact]
    public void A_run_that_goes_on_computes_the_bits_of_one_that_was_not_interrupted()
    {
        using TrainableModel whole = Model(pool);
        using TrainingLoop all = Loop(whole);
        List<StepReport> steps = [];
        while (!all.Finished)
        {
            steps.Add(all.Step()!);
        }

        Assert.Equal(8, steps.Count);
        Assert.Equal([0, 0, 0, 1, 1, 1, 1, 1], steps.Select(s => s.Level));
        Assert.Equal(all.Progress.Position.Drawn, all.Progress.Trained.Sum());
        for (int stop = 1; stop < 8; stop += 3)
        {
            string saved = Directory.CreateDirectory(directory[$"after-{stop}"]).FullName;
            using (TrainableModel first = Model(pool))
            using (TrainingLoop half = Loop(first))
            {
                for (int i = 0; i < stop; i++)
                {
                    half.Step();
                }

                half.Save(saved);
            }

            using TrainableModel second = Model(pool);
            using TrainingLoop rest = Loop(second);
            rest.Load(saved);
            Assert.Equal(stop, rest.Updates);
            for (int i = stop; i < 8; i++)
            {
                StepReport again = rest.Step()!;
                Assert.Equal(steps[i] with { Seconds = 0 }, again with { Seconds = 0 });
            }

            AssertSame(Values(whole), second);
            Assert.Equal(all.Progress.Position.PerSource, rest.Progress.Position.PerSource);
            Assert.Equal(all.Progress.Curriculum, rest.Progress.Curriculum);
        }
    }

    [Fact]
    public void A_cancelled_update_changes_nothing()
    {
        using TrainableModel whole = Model(pool);
        using TrainingLoop undisturbed = Loop(whole);
        undisturbed.Step();
        undisturbed.Step();
        using TrainableModel model = Model(pool);
        using TrainingLoop loop = Loop(model);
        loop.Step();
        using CancellationTokenSource cancelled = new();
        cancelled.Cancel();
        Assert.ThrowsAny<OperationCanceledException>(() => loop.Step(cancelled.Token));
        Assert.Equal(1, loop.Updates);
        loop.Step();
        AssertSame(Values(whole), model);
    }

    [Fact]
    public void Threads_change_no_bit()
    {
        using TrainableModel model = Model(pool);
        using TrainingLoop loop = Loop(model);
        using WorkerPool single = new(1);
        using TrainableModel other = Model(single);
        using TrainingLoop alone = new(TestRecipe.Of(Json), other, name => new Sentences(name), Encode, single);
        for (int i = 0; i < 3; i++)
        {
            loop.Step();
            alone.Step();
        }

        AssertSame(Values(model), other);
    }

    [Fact]
    public void Broken_examples_are_left_out_and_named()
    {
        using TrainableModel model = Model(pool);
        using TrainingLoop loop = Loop(model, broken: true);
        List<string> notes = [];
        loop.Note = notes.Add;
        while (!loop.Finished)
        {
            Assert.Equal(4, loop.Step()!.Samples);
        }

        Assert.Equal(32, loop.Progress.Trained.Sum());
        Assert.Equal(loop.Progress.Position.Drawn - 32, loop.Progress.Skipped.Sum());
        Assert.NotEmpty(notes);
        Assert.All(notes, note => Assert.Matches(@"(easy|hard|old), example \d+: .*line \d+ is broken", note));
        using TrainingLoop strict = Loop(
            model,
            Json.Replace("\"seed\"", "\"broken\": \"stop\", \"seed\""),
            broken: true
        );
        Assert.Contains(
            "is broken",
            Assert
                .Throws<CheckpointException>(() =>
                {
                    while (strict.Step() is not null) { }
                })
                .Message
        );
    }

    [Fact]
    public void Data_that_is_broken_throughout_ends_the_run()
    {
        using TrainableModel model = Model(pool);
        using TrainingLoop loop = new(
            TestRecipe.Of(Json),
            model,
            name => new Sentences(name),
            example => throw new InvalidDataException(example.Name),
            pool
        );
        Assert.Contains("1000 examples", Assert.Throws<CheckpointException>(() => loop.Step()).Message);
    }

    [Fact]
    public void Epochs_end_when_every_example_was_drawn()
    {
        using TrainableModel model = Model(pool);
        string json = Json.Replace("\"steps\": 8", "\"epochs\": 0.5").Replace("\"steps\": 3", "\"below\": 0");
        using TrainingLoop loop = Loop(model, json);
        Assert.Equal(19, loop.TotalUpdates); // half of 150 examples, four at a time
        int steps = 0;
        while (loop.Step() is not null)
        {
            steps++;
        }

        Assert.Equal(19, steps);
        Assert.True(loop.Finished);
        Assert.Equal(75, loop.Progress.Trained.Sum());
    }

    [Fact]
    public void Frozen_parts_stay_and_are_not_saved()
    {
        using TrainableModel model = Model(pool);
        float[][] before = Values(model);
        string json = Json.Replace("\"seed\"", "\"freeze\": [\"vision\", \"language.1-2\"], \"seed\"");
        using TrainingLoop loop = Loop(model, json);
        loop.Step();
        loop.Step(); // the first one has a rate of zero
        for (int i = 0; i < before.Length; i++)
        {
            Parameter parameter = model.Parameters.All[i];
            (ModelPart part, int? layer) = ModelParts.Of(parameter.Name);
            bool frozen = part == ModelPart.Vision || (part == ModelPart.Language && layer is 1 or 2);
            Assert.Equal(frozen, !parameter.Trained);
            if (frozen)
            {
                Near.SameBits(before[i], parameter.Values);
            }
        }

        loop.Save(directory.Path);
        using (SafetensorsFile file = SafetensorsFile.Open(directory["state.safetensors"]))
        {
            Assert.Equal(3 * model.Parameters.Trained.Count(), file.Tensors.Count);
        }

        using TrainingLoop other = Loop(model);
        Assert.Contains("no tensor", Assert.Throws<CheckpointException>(() => other.Load(directory.Path)).Message);
    }

    [Fact]
    public void A_state_of_other_data_or_another_seed_is_refused()
    {
        using TrainableModel model = Model(pool);
        using TrainingLoop loop = Loop(model);
        loop.Save(directory.Path);
        using TrainingLoop seeded = Loop(model, Json.Replace("\"seed\": 3", "\"seed\": 4"));
        Assert.Contains("seed", Assert.Throws<CheckpointException>(() => seeded.Load(directory.Path)).Message);
        using TrainingLoop renamed = Loop(model, Json.Replace("\"hard\"", "\"harder\""));
        Assert.Contains("sources", Assert.Throws<CheckpointException>(() => renamed.Load(directory.Path)).Message);
    }

    [Fact]
    public void What_ends_in_the_middle_of_a_checkpoint_leaves_the_one_before()
    {
        using TrainableModel model = Model(pool);
        using TrainingLoop loop = Loop(model);
        CheckpointStore store = new(directory["checkpoints"]);
        Assert.Null(store.Latest);
        loop.Step();
        store.Save(loop.Updates, loop.Save);
        string first = store.Latest!;
        float[][] saved = Values(model);
        loop.Step();
        Assert.Throws<IOException>(() =>
            store.Save(
                2,
                path =>
                {
                    File.WriteAllText(Path.Combine(path, "state.safetensors"), "half");
                    throw new IOException("no space left");
                }
            )
        );
        Assert.Equal(first, store.Latest);
        using (TrainableModel again = Model(pool))
        using (TrainingLoop rest = Loop(again))
        {
            rest.Load(store.Latest!);
            AssertSame(saved, again);
        }

        store.Save(2, loop.Save);
        Assert.EndsWith("updates-000000002", store.Latest);
        Assert.Equal([store.Latest!], Directory.GetDirectories(directory["checkpoints"]));
    }

    [Fact]
    public void The_trained_model_is_written_as_it_is_read()
    {
        using TrainableModel model = Model(pool);
        using TrainingLoop loop = Loop(model);
        loop.Step();
        loop.Step();
        string start = Goldens.Local("qwen3-vl-moe/checkpoint");
        ModelExport.Write(directory["f32"], start, model.Parameters, SafetensorsType.F32, pool);
        ModelExport.Write(directory["bf16"], start, model.Parameters, SafetensorsType.BF16, pool);
        using Checkpoint exact = Checkpoint.Open(directory["f32"]);
        using TrainableModel loaded = TrainableModel.Load(exact, pool);
        AssertSame(Values(model), loaded);
        using Checkpoint rounded = Checkpoint.Open(directory["bf16"]);
        using TrainableModel near = TrainableModel.Load(rounded, pool);
        for (int i = 0; i < near.Parameters.All.Count; i++)
        {
            ReadOnlySpan<float> values = model.Parameters.All[i].Values;
            for (int j = 0; j < values.Length; j++)
            {
                Assert.InRange(
                    near.Parameters.All[i].Values[j],
                    values[j] - Math.Abs(values[j] / 256),
                    values[j] + Math.Abs(values[j] / 256)
                );
            }
        }

        Assert.Contains("\"bfloat16\"", File.ReadAllText(Path.Combine(directory["bf16"], "config.json")));
        Assert.Empty(Directory.GetFiles(directory["bf16"], "*.writing"));
    }

    [Fact]
    public void Samples_are_packed_whole_and_in_their_order()
    {
        Sample[] samples =
        [
            .. ((int[])[4, 5, 2, 30, 1, 9, 10, 11]).Select(n => new Sample(new int[n], new int[n], [])),
        ];
        Assert.Equal(
            [
                [4, 5, 2],
                [30],
                [1, 9, 10],
                [11],
            ],
            TrainingLoop.Pack(samples, s => s, 20).Select(batch => batch.Select(s => s.Tokens.Length))
        );
    }
}
