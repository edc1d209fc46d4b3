using VlmSharp.Kernels;
using VlmSharp.Tensors;

namespace VlmSharp.Training;

/// <summary>The trained low-rank product beside some outputs of a linear map.</summary>
/// <param name="Name">The layer, as the adapter names it.</param>
/// <param name="Number">Tells it from the others.</param>
/// <param name="Module">Its outputs.</param>
/// <param name="Scale">Factor of the product.</param>
/// <param name="A">[rank, inputs]</param>
/// <param name="B">[outputs, rank]</param>
/// <param name="Magnitude">[outputs]; null without (DoRA).</param>
sealed record LoraProduct(
    string Name,
    int Number,
    LinearModule Module,
    float Scale,
    LoraMatrix A,
    LoraMatrix B,
    Parameter? Magnitude
);

/// <summary>A factor of a low-rank product.</summary>
/// <param name="Parameter">Values and gradient.</param>
/// <param name="Packed">What products read.</param>
/// <param name="Trained">Its products.</param>
sealed record LoraMatrix(Parameter Parameter, PackedMatrix Packed, TrainedMatrix Trained);

/// <summary>What is trained beside the weights of a linear map, which stay as they are.</summary>
/// <param name="layer">The map.</param>
/// <param name="products">Each beside other outputs.</param>
sealed class LoraLayer(Linear layer, IReadOnlyList<LoraProduct> products)
{
    float[] rowNorms = []; // of W
    float[] norms = []; // of W + scale * B A
    float[] gain = [];
    bool stale = true;

    public IReadOnlyList<LoraProduct> Products => products;

    /// <summary>After a change of the values.</summary>
    public void Changed() => stale = true;

    /// <summary>g: the magnitude of each output divided by its norm; 1 where there is no magnitude.</summary>
    public ReadOnlySpan<float> Gain(WorkerPool pool)
    {
        Refresh(pool);
        return gain;
    }

    /// <summary>The norm of each output's row of W + scale * B A, a constant for gradients; 1 where there is no magnitude.</summary>
    public ReadOnlySpan<float> Norms(WorkerPool pool)
    {
        Refresh(pool);
        return norms;
    }

    void Refresh(WorkerPool pool)
    {
        if (!stale)
        {
            return;
        }

        norms = ChangedNorms(pool);
        gain = new float[layer.Outputs];
        gain.AsSpan().Fill(1);
        foreach (LoraProduct product in products)
        {
            for (int i = 0; i < product.Module.Outputs; i++)
            {
                int output = product.Module.FirstOutput + i;
                gain[output] = product.Magnitude!.Values[i] / norms[output];
            }
        }

        stale = false;
    }

    // |w + s b A|^2 = |w|^2 + 2 s b (A w) + s^2 b (A A^T) b
    float[] ChangedNorms(WorkerPool pool)
    {
        if (rowNorms.Length == 0)
        {
            rowNorms = RowNorms();
        }

        float[] all = new float[layer.Outputs];
        all.AsSpan().Fill(1);
        foreach (LoraProduct product in products)
        {
            (int first, int outputs, int rank) = (
                product.Module.FirstOutput,
                product.Module.Outputs,
                product.A.Packed.Rows
            );
            float[] weights = Times(product.A.Parameter.Values, pool); // A W^T: [rank, outputs of the map]
            float[] square = new float[rank * rank]; // A A^T
            MatMul.Apply(product.A.Parameter.Values, layer.Inputs, product.A.Packed, [], square, rank, rank, pool);
            for (int output = 0; output < outputs; output++)
            {
                ReadOnlySpan<float> b = product.B.Parameter.Values.Slice(output * rank, rank);
                double sum = (double)rowNorms[first + output] * rowNorms[first + output];
                for (int i = 0; i < rank; i++)
                {
                    double sb = (double)product.Scale * b[i];
                    sum += 2 * sb * weights[(i * layer.Outputs) + first + output];
                    for (int k = 0; k < rank; k++)
                    {
                        sum += sb * product.Scale * b[k] * square[(i * rank) + k];
                    }
                }

                all[first + output] = (float)Math.Sqrt(Math.Max(0, sum));
            }
        }

        return all;
    }

    float[] Times(ReadOnlySpan<float> rows, WorkerPool pool)
    {
        int count = rows.Length / layer.Inputs;
        float[] result = new float[count * layer.Outputs];
        int first = 0;
        foreach (PackedMatrix part in layer.Parts)
        {
            MatMul.Apply(rows, layer.Inputs, part, [], result.AsSpan(first), layer.Outputs, count, pool);
            first += part.Rows;
        }

        return result;
    }

    /// <summary>The norms of the rows of W: [outputs]; what magnitudes begin with.</summary>
    public float[] RowNorms()
    {
        float[] result = new float[layer.Outputs];
        float[] row = new float[layer.Inputs];
        for (int output = 0; output < result.Length; output++)
        {
            layer.UnpackRow(output, row);
            double squares = 0;
            foreach (float value in row)
            {
                squares += (double)value * value;
            }

            result[output] = (float)Math.Sqrt(squares);
        }

        return result;
    }
}
