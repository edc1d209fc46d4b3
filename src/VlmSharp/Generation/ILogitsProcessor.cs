namespace VlmSharp.Generation;

/// <summary>Changes or bans the scores of tokens by their ids and by what was produced before.</summary>
/// <remarks>
/// A pure function of scores and history: it holds no state of a request that would have to follow a rollback. Processors run before the
/// truncations of the distribution, over the whole vocabulary, also when the choice is greedy. Constrained decoding is one of them.
/// </remarks>
public interface ILogitsProcessor
{
    /// <summary>Works in place; a removed token has negative infinity.</summary>
    /// <param name="scores">[vocabulary], indexed by token id</param>
    /// <param name="history">prompt and answer before the token that is being chosen</param>
    void Process(Span<float> scores, History history);
}

/// <summary>Reshapes or truncates a distribution by its values alone; runs only when the choice is random.</summary>
/// <remarks>
/// Which token a score belongs to is not known: the sampler drops removed tokens between two warpers, so that all but the first work on a
/// few. The scores stand in the order of ids. Removed tokens may be present as negative infinity and have probability 0.
/// </remarks>
interface ILogitsWarper
{
    /// <summary>Whether tokens may be removed.</summary>
    bool Removes { get; }

    /// <summary>Works in place; a removed token gets negative infinity.</summary>
    /// <param name="scores">scores of the tokens that are left, at least one finite</param>
    /// <param name="scratch">buffers whose content does not matter before or after</param>
    void Process(Span<float> scores, SamplerScratch scratch);
}

/// <summary>Buffers for one step of sampling over a vocabulary, for one thread at a time; samplers that take turns may share one.</summary>
/// <remarks>Each is allocated when it is first used: greedy decoding without penalties needs none.</remarks>
sealed class SamplerScratch(int vocabulary)
{
    float[]? scores;
    float[]? first;
    float[]? second;
    int[]? ids;

    /// <summary>The scores a step works on.</summary>
    public Span<float> Scores => scores ??= new float[vocabulary];

    /// <summary>The token ids of the scores that are left.</summary>
    public Span<int> Ids => ids ??= new int[vocabulary];

    /// <summary>A buffer for a warper, usually the probabilities.</summary>
    public Span<float> First(int length) => (first ??= new float[vocabulary]).AsSpan(0, length);

    /// <summary>A second buffer for a warper, usually sort keys.</summary>
    public Span<float> Second(int length) => (second ??= new float[vocabulary]).AsSpan(0, length);
}
