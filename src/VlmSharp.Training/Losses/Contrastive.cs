namespace VlmSharp.Training;

/// <summary>Contrastive losses of pairs of vectors: row i of one side belongs to row i of the other.</summary>
/// <remarks>Rows are divided by their length, at least 1e-12, before they are compared. In double precision: batches are small.</remarks>
public static class Contrastive
{
    const double Shortest = 1e-12;

    /// <summary>InfoNCE (van den Oord et al., arXiv 1807.03748): the mean over queries of -log softmax(q k^T / temperature)[i, i]. More keys than queries are negatives for all.</summary>
    /// <param name="queries">[n, width]</param>
    /// <param name="keys">[m, width] with m &gt;= n.</param>
    /// <param name="temperature">Scores are divided by it.</param>
    /// <returns>The loss and its gradients.</returns>
    public static (double Value, double[][] Queries, double[][] Keys) InfoNce(
        double[][] queries,
        double[][] keys,
        double temperature
    )
    {
        (double[][] a, double[] aLengths) = Normalise(queries);
        (double[][] b, double[] bLengths) = Normalise(keys);
        double[][] scores = Scores(a, b, 1 / temperature);
        double value = RowEntropies(scores);
        (double[][] da, double[][] db, _) = Back(a, b, scores, 1 / temperature);
        return (value, Project(a, aLengths, da), Project(b, bLengths, db));
    }

    /// <summary>CLIP's loss (Radford et al., arXiv 2103.00020): half the sum of the InfoNCE over rows and over columns of e^logScale * t i^T.</summary>
    /// <param name="images">[n, width]</param>
    /// <param name="texts">[n, width]</param>
    /// <param name="logScale">Logarithm of the factor of the scores.</param>
    /// <returns>The loss and its gradients.</returns>
    public static (double Value, double[][] Images, double[][] Texts, double LogScale) Symmetric(
        double[][] images,
        double[][] texts,
        double logScale
    )
    {
        (double[][] a, double[] aLengths) = Normalise(texts);
        (double[][] b, double[] bLengths) = Normalise(images);
        double factor = Math.Exp(logScale);
        double[][] byRow = Scores(a, b, factor);
        double[][] byColumn = Scores(b, a, factor);
        double value = (RowEntropies(byRow) + RowEntropies(byColumn)) / 2;
        for (int i = 0; i < byRow.Length; i++)
        {
            for (int j = 0; j < byRow.Length; j++)
            {
                byRow[i][j] = (byRow[i][j] + byColumn[j][i]) / 2;
            }
        }

        (double[][] da, double[][] db, double byFactor) = Back(a, b, byRow, factor);
        return (value, Project(b, bLengths, db), Project(a, aLengths, da), byFactor * factor);
    }

    static (double[][] Rows, double[] Lengths) Normalise(double[][] rows)
    {
        double[] lengths = [.. rows.Select(row => Math.Max(Math.Sqrt(row.Sum(x => x * x)), Shortest))];
        return ([.. rows.Select((row, i) => row.Select(x => x / lengths[i]).ToArray())], lengths);
    }

    static double[][] Scores(double[][] a, double[][] b, double factor) =>
        [.. a.Select(x => b.Select(y => factor * Dot(x, y)).ToArray())];

    // The mean cross-entropy of rows with their own number as the label; scores become their gradients.
    static double RowEntropies(double[][] scores)
    {
        double sum = 0;
        for (int i = 0; i < scores.Length; i++)
        {
            double[] row = scores[i];
            double max = row.Max();
            double logSum = max + Math.Log(row.Sum(s => Math.Exp(s - max)));
            sum += logSum - row[i];
            for (int j = 0; j < row.Length; j++)
            {
                row[j] = (Math.Exp(row[j] - logSum) - (i == j ? 1 : 0)) / scores.Length;
            }
        }

        return sum / scores.Length;
    }

    // From the gradient of factor * a b^T to those of a, b and the factor.
    static (double[][] A, double[][] B, double Factor) Back(
        double[][] a,
        double[][] b,
        double[][] slopes,
        double factor
    )
    {
        double[][] da = [.. a.Select(row => new double[row.Length])];
        double[][] db = [.. b.Select(row => new double[row.Length])];
        double byFactor = 0;
        for (int i = 0; i < a.Length; i++)
        {
            for (int j = 0; j < b.Length; j++)
            {
                double slope = slopes[i][j];
                byFactor += slope * Dot(a[i], b[j]);
                for (int k = 0; k < a[i].Length; k++)
                {
                    da[i][k] += slope * factor * b[j][k];
                    db[j][k] += slope * factor * a[i][k];
                }
            }
        }

        return (da, db, byFactor);
    }

    // From the gradient of rows of length one to that of the rows as they were.
    static double[][] Project(double[][] rows, double[] lengths, double[][] gradients) =>
        [
            .. rows.Select(
                (row, i) =>
                {
                    double along = Dot(row, gradients[i]);
                    return row.Select((x, k) => (gradients[i][k] - (along * x)) / lengths[i]).ToArray();
                }
            ),
        ];

    static double Dot(double[] a, double[] b) => a.Zip(b, (x, y) => x * y).Sum();
}
