using VlmSharp.Models.Blocks;

namespace VlmSharp.Models;

/// <summary>A model whose config was read and whose weights still lie in their files.</summary>
/// <param name="Info">Sizes, from the config and the headers of the weights.</param>
/// <param name="Load">
/// Takes the weights out of the checkpoint, which must still be open and may be disposed afterwards. Throws
/// <see cref="Formats.CheckpointException"/> where a file contradicts another, or a tensor is missing, superfluous or of the wrong shape.
/// </param>
public sealed record UnloadedModel(ModelInfo Info, Func<WeightSource, IVisionLanguageModel> Load);
