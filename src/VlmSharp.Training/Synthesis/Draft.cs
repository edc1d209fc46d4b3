using VlmSharp.Datasets;

namespace VlmSharp.Training.Synthesis;

/// <summary>A question about what was drawn, and its answer.</summary>
/// <param name="Task">What kind of question.</param>
/// <param name="Question">Without the picture.</param>
/// <param name="Answer">Short, and the only one that is right.</param>
sealed record Draft(string Task, IReadOnlyList<ExamplePart> Question, IReadOnlyList<ExamplePart> Answer)
{
    public Draft(string task, IReadOnlyList<ExamplePart> question, string answer)
        : this(task, question, [new TextPart(answer)]) { }

    /// <summary>Where more than one picture was drawn.</summary>
    public Film? Film { get; init; }
}

/// <summary>Draws one kind of picture and asks about it.</summary>
interface IGenerator
{
    /// <summary>Draws on the scene's painting.</summary>
    /// <returns>Null where what it drew by chance leaves nothing to ask; then it is called again.</returns>
    Draft? Make(Scene scene);
}
