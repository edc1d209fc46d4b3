namespace VlmSharp.Training;

/// <summary>A box by its corners; x0 &lt;= x1 and y0 &lt;= y1, in any unit.</summary>
public readonly record struct Corners(double X0, double Y0, double X1, double Y1);

/// <summary>How far a predicted box is from the true one, with the gradient for the prediction: L1 and GIoU (Rezatofighi et al., arXiv 1902.09630).</summary>
public static class BoxLoss
{
    // As torchvision.ops.generalized_box_iou_loss has it: boxes without an area do not divide by zero.
    const double Epsilon = 1e-7;

    /// <summary>|dx0| + |dy0| + |dx1| + |dy1|; the gradient of a coordinate that agrees is zero.</summary>
    public static (double Value, Corners Gradient) L1(Corners predicted, Corners target)
    {
        (double x0, double y0) = (predicted.X0 - target.X0, predicted.Y0 - target.Y0);
        (double x1, double y1) = (predicted.X1 - target.X1, predicted.Y1 - target.Y1);
        return (
            Math.Abs(x0) + Math.Abs(y0) + Math.Abs(x1) + Math.Abs(y1),
            new Corners(Math.Sign(x0), Math.Sign(y0), Math.Sign(x1), Math.Sign(y1))
        );
    }

    /// <summary>
    /// 1 - I / (U + e) + (C - U) / (C + e): I the area of the intersection, U of the union, C of the smallest box around both, e = 1e-7. Where
    /// coordinates of the two are equal, minimum and maximum hand half of the gradient to each.
    /// </summary>
    public static (double Value, Corners Gradient) Giou(Corners predicted, Corners target)
    {
        (double w, Slope dw) = Overlap(predicted.X0, predicted.X1, target.X0, target.X1);
        (double h, Slope dh) = Overlap(predicted.Y0, predicted.Y1, target.Y0, target.Y1);
        (double cw, Slope dcw) = Hull(predicted.X0, predicted.X1, target.X0, target.X1);
        (double ch, Slope dch) = Hull(predicted.Y0, predicted.Y1, target.Y0, target.Y1);
        (double pw, double ph) = (predicted.X1 - predicted.X0, predicted.Y1 - predicted.Y0);
        bool meet = w > 0 && h > 0;
        double intersection = meet ? w * h : 0;
        double union = (pw * ph) + ((target.X1 - target.X0) * (target.Y1 - target.Y0)) - intersection;
        double hull = cw * ch;
        double value = 1 - (intersection / (union + Epsilon)) + ((hull - union) / (hull + Epsilon));

        // By intersection, union and hull; the union holds the predicted area and minus the intersection.
        double byUnion = (intersection / ((union + Epsilon) * (union + Epsilon))) - (1 / (hull + Epsilon));
        double byIntersection = meet ? (-1 / (union + Epsilon)) - byUnion : 0;
        double byHull = (union + Epsilon) / ((hull + Epsilon) * (hull + Epsilon));
        return (
            value,
            new Corners(
                (byIntersection * dw.Low * h) - (byUnion * ph) + (byHull * dcw.Low * ch),
                (byIntersection * dh.Low * w) - (byUnion * pw) + (byHull * dch.Low * cw),
                (byIntersection * dw.High * h) + (byUnion * ph) + (byHull * dcw.High * ch),
                (byIntersection * dh.High * w) + (byUnion * pw) + (byHull * dch.High * cw)
            )
        );
    }

    readonly record struct Slope(double Low, double High);

    // min(high) - max(low) and its slopes by the first pair.
    static (double, Slope) Overlap(double low, double high, double otherLow, double otherHigh) =>
        (
            Math.Min(high, otherHigh) - Math.Max(low, otherLow),
            new Slope(-Share(low - otherLow), Share(otherHigh - high))
        );

    // max(high) - min(low)
    static (double, Slope) Hull(double low, double high, double otherLow, double otherHigh) =>
        (
            Math.Max(high, otherHigh) - Math.Min(low, otherLow),
            new Slope(-Share(otherLow - low), Share(high - otherHigh))
        );

    static double Share(double ahead) =>
        ahead > 0 ? 1
        : ahead < 0 ? 0
        : 0.5;
}
