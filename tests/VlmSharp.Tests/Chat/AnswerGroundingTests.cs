using VlmSharp.Chat;
using VlmSharp.Chat.Replies;
using VlmSharp.Generation;
using VlmSharp.Grounding;
using VlmSharp.Tests.Text;
using Xunit;

namespace VlmSharp.Tests.Chat;

public sealed class AnswerGroundingTests
{
    const string Box = "[{\"bbox_2d\": [1, 2, 30, 40], \"label\": \"cat\"}]";

    [Theory]
    [InlineData("Perhaps " + Box, 0, GroundingError.Truncated)]
    [InlineData("Perhaps " + Box + "\n</think>\n\nNo cat.", 0, GroundingError.None)]
    [InlineData("Perhaps " + Box + "\n</think>\n\n" + Box, 1, GroundingError.None)]
    public void Boxes_in_thoughts_that_the_prompt_opened_do_not_count(string text, int count, GroundingError error)
    {
        Reply reply = Reply.Parse(text, new() { Thinking = ThinkingMode.Open });
        ChatAnswer answer = new(text, reply, [], FinishReason.Length, [], 1, 0, [], new());
        PictureFrame frame = new(100, 100, 100, 100);
        GroundingResult found = answer.Ground(TokenizerRows.Tiny, GroundingDialect.Qwen3VL, frame);
        Assert.Equal((count, error), (found.Items.Count, found.Error));
    }
}
