namespace VlmSharp.Training.Recipes;

/// <summary>How far a curriculum has come.</summary>
/// <param name="Level">From 0.</param>
/// <param name="Steps">Updates in this level.</param>
/// <param name="Smoothed">Its loss, smoothed; null before its first example.</param>
public sealed record CurriculumState(int Level, int Steps, double? Smoothed);

/// <summary>The shares of a recipe's sources, level after level.</summary>
/// <remarks>Sources are counted as <see cref="Entries"/> lists them: those beside the levels first.</remarks>
public sealed class Curriculum
{
    readonly CurriculumPlan? plan;
    readonly int[] levels; // of each entry; -1 for those beside the levels
    readonly double replayed;

    /// <summary>The curriculum of a recipe; of one level where it has none.</summary>
    public Curriculum(TrainingRecipe recipe)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        plan = recipe.Curriculum;
        Entries = [.. recipe.Data, .. plan?.Levels.SelectMany(level => level.Data) ?? []];
        levels =
        [
            .. recipe.Data.Select(entry => plan is null && entry.Replay == 0 ? 0 : -1),
            .. plan?.Levels.SelectMany((level, i) => level.Data.Select(_ => i)) ?? [],
        ];
        replayed = recipe.Data.Sum(entry => entry.Replay);
    }

    /// <summary>All sources of the recipe.</summary>
    public IReadOnlyList<MixtureEntry> Entries { get; }

    /// <summary>The beginning.</summary>
    public static CurriculumState Start { get; } = new(0, 0, null);

    /// <summary>What people call a level; empty without levels.</summary>
    public string Name(int level) => plan?.Levels[level].Name ?? "";

    /// <summary>Whether a source belongs to a level, and not to an earlier one or to what is replayed.</summary>
    public bool IsOf(int entry, int level) => levels[entry] == level;

    /// <summary>The share of each entry of all examples.</summary>
    public double[] Shares(int level)
    {
        double earlier = level > 0 ? plan!.Earlier : 0;
        double[] weights = new double[level + 1];
        for (int i = 0; i < levels.Length; i++)
        {
            if (levels[i] >= 0 && levels[i] <= level)
            {
                weights[levels[i]] += Entries[i].Weight;
            }
        }

        double[] shares = new double[levels.Length];
        for (int i = 0; i < shares.Length; i++)
        {
            if (levels[i] < 0)
            {
                shares[i] = Entries[i].Replay;
            }
            else if (levels[i] <= level)
            {
                double ofLevel = levels[i] == level ? 1 - earlier : earlier / level;
                shares[i] = (1 - replayed) * ofLevel * Entries[i].Weight / weights[levels[i]];
            }
        }

        return shares;
    }

    /// <summary>The state after an update.</summary>
    /// <param name="state">Before it.</param>
    /// <param name="loss">Mean cross-entropy of the level's own labels in this update.</param>
    /// <param name="labels">How many there were.</param>
    public CurriculumState After(CurriculumState state, double loss, int labels)
    {
        ArgumentNullException.ThrowIfNull(state);
        double? smoothed =
            labels == 0 ? state.Smoothed
            : state.Smoothed is { } old ? (plan?.Smoothing * old) + ((1 - plan?.Smoothing) * loss)
            : loss;
        CurriculumState next = new(state.Level, state.Steps + 1, plan is null ? null : smoothed);
        if (plan is null || state.Level == plan.Levels.Count - 1)
        {
            return next;
        }

        CurriculumLevel level = plan.Levels[state.Level];
        return next.Smoothed < level.Below || next.Steps >= level.Steps
            ? new CurriculumState(state.Level + 1, 0, null)
            : next;
    }
}
