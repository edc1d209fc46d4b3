using VlmSharp.Tensors;

namespace VlmSharp.Training;

public sealed partial class TapeOps
{
    readonly List<Tapped> tapped = [];

    /// <summary>A named intermediate result that a loss looks at.</summary>
    public sealed class Tapped
    {
        readonly View view;

        internal Tapped(string name, View view)
        {
            Name = name;
            this.view = view;
            Values = view.Value.ToArray();
        }

        /// <summary>The name the model gives it.</summary>
        public string Name { get; }

        /// <summary>Rows of it.</summary>
        public int Rows => view.Rows;

        /// <summary>Numbers in a row.</summary>
        public int Width => view.Width;

        /// <summary>[rows, width]</summary>
        public float[] Values { get; }

        internal void Seed(TapeOps tape, ReadOnlySpan<float> gradient) => tape.Seed(view, gradient);
    }

    /// <summary>Which named results to keep for a loss: the routers' logits, for one.</summary>
    public Predicate<string>? Watch { get; set; }

    /// <summary>What was kept, in the order of the pass.</summary>
    public IReadOnlyList<Tapped> Watched => tapped;

    /// <summary>Adds to the gradient of a result that was kept.</summary>
    public void Seed(Tapped result, ReadOnlySpan<float> gradient) => result.Seed(this, gradient);

    /// <inheritdoc/>
    public override Tensor Tap(string name, Tensor x)
    {
        if (Watch?.Invoke(name) == true)
        {
            tapped.Add(new Tapped(name, Find(x)));
        }

        return x;
    }
}
