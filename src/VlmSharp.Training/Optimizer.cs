using VlmSharp.Kernels;

namespace VlmSharp.Training;

/// <summary>Settings of <see cref="Optimizer"/>.</summary>
public sealed record OptimizerSettings
{
    /// <summary>Share of the old first moment that is kept.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Share of the old second moment that is kept.</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>Added to the root of the corrected second moment.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Decoupled decay of tensors of two or more dimensions; norms and biases have none.</summary>
    public double Decay { get; init; } = 0.1;

    /// <summary>Gradients are scaled down to this norm over all trained tensors; infinity for no limit.</summary>
    public double MaxNorm { get; init; } = 1;
}

/// <summary>AdamW over the trained parameters, with clipping by their global norm and a rate for each.</summary>
public sealed class Optimizer(ParameterSet parameters, OptimizerSettings settings, WorkerPool pool)
{
    readonly Dictionary<Parameter, (float[] First, float[] Second)> moments = [];

    /// <summary>Updates so far.</summary>
    public int Updates { get; set; }

    /// <summary>First and second moments of a parameter, to save and restore: zeros before its first update.</summary>
    public (float[] First, float[] Second) Moments(Parameter parameter)
    {
        if (!moments.TryGetValue(parameter, out (float[] First, float[] Second) found))
        {
            found = (new float[parameter.Count], new float[parameter.Count]);
            moments.Add(parameter, found);
        }

        return found;
    }

    /// <summary>Changes every trained parameter by its gradient and hands the new values to the forward pass. Gradients are left as they are.</summary>
    /// <param name="rate">The learning rate of a parameter in this update; 0 still moves the moments.</param>
    /// <returns>The norm of the gradients before they were clipped. Where it is no finite number nothing is changed: one bad batch ruins no model.</returns>
    public double Update(Func<Parameter, double> rate)
    {
        double norm = GradientNorm();
        if (!double.IsFinite(norm))
        {
            return norm;
        }

        Updates++;
        // As torch.nn.utils.clip_grad_norm_ has it.
        double scale = Math.Min(1, settings.MaxNorm / (norm + 1e-6));
        foreach (Parameter parameter in parameters.Trained)
        {
            (float[] first, float[] second) = Moments(parameter);
            AdamW.Update(
                parameter.Values,
                parameter.Gradient,
                first,
                second,
                new AdamW.Settings(
                    rate(parameter),
                    settings.Beta1,
                    settings.Beta2,
                    settings.Epsilon,
                    parameter.Shape.Count > 1 ? settings.Decay : 0,
                    Updates,
                    scale
                ),
                pool
            );
        }

        parameters.Repack(pool);
        return norm;
    }

    /// <summary>The norm of the gradients of all trained parameters together.</summary>
    public double GradientNorm()
    {
        double squares = 0;
        foreach (Parameter parameter in parameters.Trained)
        {
            squares += AdamW.SumOfSquares(parameter.Gradient, pool);
        }

        return Math.Sqrt(squares);
    }
}
