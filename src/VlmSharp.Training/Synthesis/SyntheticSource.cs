using System.Globalization;
using VlmSharp.Datasets;
using VlmSharp.Formats;

namespace VlmSharp.Training.Synthesis;

/// <summary>Examples without end whose labels are true because we drew the pictures.</summary>
/// <remarks>An example is a function of recipe, seed, number, and the fonts of the machine. Calls may come from several threads.</remarks>
public sealed class SyntheticSource : IExampleSource
{
    // Held-out examples share no random numbers with those to learn from, whatever their seeds.
    const ulong HeldOutSeeds = 0xA5A5_5A5A_C3C3_3C3C;

    // So many drawings in a row without a question are a mistake of the generator.
    const int Attempts = 100;

    readonly SynthesisRecipe recipe;
    readonly FontShelf fonts;
    readonly ulong seed;

    /// <summary>Makes examples as a recipe says.</summary>
    /// <param name="recipe">What is drawn and asked.</param>
    /// <param name="seed">Which examples; another seed, others.</param>
    /// <param name="heldOut">For evaluation: only in fonts that are never learnt from.</param>
    public SyntheticSource(SynthesisRecipe recipe, ulong seed, bool heldOut = false)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        this.recipe = recipe;
        this.seed = heldOut ? seed ^ HeldOutSeeds : seed;
        fonts = new(recipe.Fonts, heldOut);
        Name = string.Create(
            CultureInfo.InvariantCulture,
            $"{recipe.Name}, seed {seed}{(heldOut ? ", held-out fonts" : "")}"
        );
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <inheritdoc/>
    public long? Count => null;

    /// <inheritdoc/>
    /// <exception cref="CheckpointException">The machine lacks fonts that the recipe needs.</exception>
    public Example Read(long index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        CounterRandom random = new(seed, (ulong)index);
        IGenerator generator = random.Pick(recipe.Generators);
        for (int attempt = 0; attempt < Attempts; attempt++)
        {
            Scene scene = new(recipe, fonts, random);
            if (generator.Make(scene) is { } draft)
            {
                string name = string.Create(CultureInfo.InvariantCulture, $"{Name}, number {index}");
                MediumPart medium = draft.Film is { } film
                    ? film with
                    {
                        Name = name,
                    }
                    : new Picture(name, scene.Finish());
                return new(
                    name,
                    [new("user", [medium, .. draft.Question]), new("assistant", draft.Answer) { Learnt = true }]
                )
                {
                    Task = draft.Task,
                };
            }
        }

        throw new CheckpointException(
            recipe.Name,
            $"{generator.GetType().Name} finds nothing to ask in {Attempts} pictures; its settings leave no room (example {index})"
        );
    }
}
