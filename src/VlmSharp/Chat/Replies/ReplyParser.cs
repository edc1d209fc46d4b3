using System.Text;
using VlmSharp.Generation;
using VlmSharp.Text;

namespace VlmSharp.Chat.Replies;

/// <summary>Divides the text of an answer, as it arrives, into thoughts, content and calls of tools.</summary>
/// <remarks>
/// <para>What the deltas add up to does not depend on where the text is divided. Nothing is lost: a block that holds no call stays where it
/// stands, with its tags, and its neighbours are what they are without it. The rules:</para>
/// <para>Thoughts end at the first <c>&lt;/think&gt;</c>; a second <c>&lt;think&gt;</c> is text, except right at their beginning, where some models repeat it. A block
/// <c>&lt;tool_call&gt;</c> is a call when what stands in it is one, also where its end is missing because the answer was cut off or the next block began. In
/// thoughts a call is a thought, unless they are never closed: then they end where it begins.</para>
/// <para>Line feeds between thoughts, content and calls only separate them and are left out; elsewhere they stay.</para>
/// <para>Time is linear in the text. Not thread-safe.</para>
/// </remarks>
public sealed class ReplyParser
{
    internal const string BlockOpen = "<tool_call>";
    internal const string BlockClose = "</tool_call>";

    // Each block that the end of the answer breaks is read to that end. So many of them are no accident: the rest is text.
    const int MostBrokenByTheEnd = 32;

    enum Match
    {
        No,
        Partial,
        Full,
    }

    readonly ReplyFormat format;
    readonly Action<ReplyDelta>? onDelta;
    readonly Channel reasoning = new();
    readonly Channel content = new();
    readonly List<ToolCall> calls = [];

    char[] buffer = new char[256]; // what has arrived and is not divided yet
    int length;
    int at;
    bool inThoughts;
    bool hadThoughts;
    int brokenByTheEnd;

    CallBlock? block; // it begins at `at`
    int cursor; // next character of the block
    IReadOnlyList<ToolCall>? settled; // calls of a block in thoughts that may yet be closed
    int settledEnd;
    bool announced;
    int announcedLength; // of the arguments

    /// <summary>A parser at the beginning of an answer.</summary>
    /// <param name="format">What the answer may consist of.</param>
    /// <param name="onDelta">Gets pieces as soon as it is certain what they are.</param>
    public ReplyParser(ReplyFormat format, Action<ReplyDelta>? onDelta = null)
    {
        this.format = format;
        this.onDelta = onDelta;
        inThoughts = hadThoughts = format.Thinking == ThinkingMode.Open;
    }

    /// <summary>Takes the next piece of text, of any length.</summary>
    public void Push(ReadOnlySpan<char> piece)
    {
        if (buffer.Length - length < piece.Length)
        {
            Array.Resize(ref buffer, Math.Max(2 * buffer.Length, length + piece.Length));
        }

        piece.CopyTo(buffer.AsSpan(length));
        length += piece.Length;
        Run(final: false);
        if (at > 0)
        {
            buffer.AsSpan(at, length - at).CopyTo(buffer);
            (length, cursor, settledEnd, at) = (length - at, cursor - at, settledEnd - at, 0);
        }
    }

    /// <summary>The answer is over.</summary>
    /// <returns>All of it.</returns>
    public Reply Finish()
    {
        Run(final: true);
        if (calls.Count == 0)
        {
            content.EndWithLines(trimStart: hadThoughts);
            Flush();
        }

        return new Reply(reasoning.ToString(), content.ToString(), calls);
    }

    void Run(bool final)
    {
        while (at < length && (block is null ? Text(final) : Block(final))) { }

        Flush();
    }

    /// <summary>Goes on in text outside of blocks.</summary>
    /// <returns>Whether anything could be decided.</returns>
    bool Text(bool final)
    {
        bool opens = inThoughts ? !reasoning.Started : !hadThoughts && format.Thinking != ThinkingMode.None;
        bool calling = format.ToolCalls is not null && brokenByTheEnd < MostBrokenByTheEnd;
        ReadOnlySpan<char> rest = buffer.AsSpan(at, length - at);
        int tag = opens || calling || inThoughts ? rest.IndexOf('<') : -1;
        if (tag != 0)
        {
            int plain = tag < 0 ? rest.Length : tag;
            Emit(rest[..plain]);
            at += plain;
            return true;
        }

        Match open = opens ? MatchAt(at, Thoughts.OpenTag) : Match.No;
        Match close = inThoughts ? MatchAt(at, Thoughts.CloseTag) : Match.No;
        Match call = calling ? MatchAt(at, BlockOpen) : Match.No;
        if (open == Match.Full)
        {
            inThoughts = hadThoughts = true;
            at += Thoughts.OpenTag.Length;
        }
        else if (close == Match.Full)
        {
            inThoughts = false;
            at += Thoughts.CloseTag.Length;
        }
        else if (call == Match.Full)
        {
            block = format.ToolCalls == ToolCallFormat.Hermes ? new HermesBlock() : new CoderBlock(format.Tools);
            cursor = at + BlockOpen.Length;
        }
        else if (!final && (open == Match.Partial || close == Match.Partial || call == Match.Partial))
        {
            return false;
        }
        else
        {
            Emit("<");
            at++;
        }

        return true;
    }

    /// <summary>Goes on in a block.</summary>
    /// <returns>Whether anything could be decided.</returns>
    bool Block(bool final)
    {
        int body = at + BlockOpen.Length;
        while (cursor < length)
        {
            if (buffer[cursor] == '<')
            {
                Match thoughtsEnd = inThoughts ? MatchAt(cursor, Thoughts.CloseTag) : Match.No;
                if (thoughtsEnd == Match.Full)
                {
                    Emit(buffer.AsSpan(at, cursor - at));
                    (at, block, settled) = (cursor, null, null);
                    return true;
                }

                bool mayEnd = settled is null && block!.State == BlockState.Complete;
                Match close = mayEnd ? MatchAt(cursor, BlockClose) : Match.No;
                Match next = mayEnd ? MatchAt(cursor, BlockOpen) : Match.No;
                bool ends = close == Match.Full || next == Match.Full;
                if (ends || (final && (close == Match.Partial || next == Match.Partial)))
                {
                    int end = close == Match.No ? cursor : Math.Min(length, cursor + BlockClose.Length);
                    if (!Settle(body, end))
                    {
                        return true;
                    }

                    continue;
                }

                if (!final && (thoughtsEnd == Match.Partial || close == Match.Partial || next == Match.Partial))
                {
                    Announce(body);
                    return false;
                }
            }

            cursor++;
            if (settled is null)
            {
                block!.Push(buffer.AsSpan(body, cursor - body));
                if (block.State == BlockState.Broken)
                {
                    Release();
                    return true;
                }
            }
        }

        if (!final)
        {
            Announce(body);
            return false;
        }

        return EndBlock(body);
    }

    /// <summary>The answer is over in a block, or in thoughts that hold a call.</summary>
    bool EndBlock(int body)
    {
        if (settled is null && block!.State != BlockState.Complete)
        {
            brokenByTheEnd++;
            Release();
        }
        else if (settled is not null || (Settle(body, length) && inThoughts))
        {
            inThoughts = false;
            Accept(settled!, settledEnd);
        }

        return true;
    }

    /// <summary>A block has ended before <paramref name="end"/>.</summary>
    /// <returns>Whether it goes on nevertheless: a call in thoughts is none if they are closed.</returns>
    bool Settle(int body, int end)
    {
        if (block!.Calls(buffer.AsSpan(body, cursor - body)) is not { } found)
        {
            Release();
            return false;
        }

        if (inThoughts)
        {
            (settled, settledEnd, cursor) = (found, end, end);
            return true;
        }

        Accept(found, end);
        return false;
    }

    /// <summary>The block holds no call: its tag is text, and so is what follows unless something begins there.</summary>
    void Release()
    {
        Withdraw();
        block = null;
        Emit(BlockOpen);
        at += BlockOpen.Length;
    }

    void Accept(IReadOnlyList<ToolCall> found, int end)
    {
        Flush();
        for (int i = 0; i < found.Count; i++)
        {
            ToolCall call = found[i];
            string json = call.Arguments.GetRawText();
            int sent = 0;
            if (i == 0 && announced)
            {
                // A name or arguments may be written twice, and the last ones count.
                ReadOnlySpan<char> before = block!.Arguments(
                    buffer.AsSpan(at + BlockOpen.Length, end - at - BlockOpen.Length)
                );
                if (block.Name == call.Name && before.SequenceEqual(json))
                {
                    sent = announcedLength;
                    announced = false;
                }
                else
                {
                    Withdraw();
                }
            }

            if (i > 0 || sent == 0)
            {
                onDelta?.Invoke(new ToolCallBegun(calls.Count, call.Name));
            }

            if (sent < json.Length)
            {
                onDelta?.Invoke(new ToolCallArguments(calls.Count, json[sent..]));
            }

            onDelta?.Invoke(new ToolCallCompleted(calls.Count, call));
            calls.Add(call);
        }

        (at, block, settled, announcedLength) = (end, null, null, 0);
    }

    /// <summary>Passes on what is known of a call before it is certain that it is one.</summary>
    void Announce(int body)
    {
        if (!format.StreamArguments || inThoughts || block!.Name is null)
        {
            return;
        }

        ReadOnlySpan<char> arguments = block.Arguments(buffer.AsSpan(body, cursor - body));
        if (arguments.Length <= announcedLength)
        {
            return;
        }

        Flush();
        if (!announced)
        {
            announced = true;
            onDelta?.Invoke(new ToolCallBegun(calls.Count, block.Name));
        }

        onDelta?.Invoke(new ToolCallArguments(calls.Count, arguments[announcedLength..].ToString()));
        announcedLength = arguments.Length;
    }

    void Withdraw()
    {
        if (announced)
        {
            onDelta?.Invoke(new ToolCallWithdrawn(calls.Count));
        }

        (announced, announcedLength) = (false, 0);
    }

    Match MatchAt(int from, string tag)
    {
        ReadOnlySpan<char> there = buffer.AsSpan(from, Math.Min(tag.Length, length - from));
        return !tag.StartsWith(there) ? Match.No
            : there.Length == tag.Length ? Match.Full
            : Match.Partial;
    }

    void Emit(ReadOnlySpan<char> text)
    {
        if (format is { Thinking: ThinkingMode.None, ToolCalls: null })
        {
            content.AppendAsIs(text);
        }
        else if (inThoughts)
        {
            Send(content);
            reasoning.Append(text, trimStart: true);
        }
        else
        {
            Send(reasoning);
            content.Append(text, trimStart: hadThoughts || calls.Count > 0);
        }
    }

    void Flush()
    {
        Send(reasoning);
        Send(content);
    }

    void Send(Channel channel)
    {
        string text = channel.TakeNew();
        if (text.Length > 0)
        {
            onDelta?.Invoke(channel == reasoning ? new ReasoningDelta(text) : new ContentDelta(text));
        }
    }

    /// <summary>Thoughts or content, with the line feeds at their end held back until more follows.</summary>
    sealed class Channel
    {
        readonly StringBuilder all = new();
        int taken;
        int lines;

        public bool Started => all.Length > 0;

        public void Append(ReadOnlySpan<char> text, bool trimStart)
        {
            ReadOnlySpan<char> trimmed = text.TrimEnd('\n');
            if (!trimmed.IsEmpty)
            {
                EndWithLines(trimStart);
                all.Append(Started || !trimStart ? trimmed : trimmed.TrimStart('\n'));
            }

            lines += text.Length - trimmed.Length;
        }

        public void AppendAsIs(ReadOnlySpan<char> text) => all.Append(text);

        /// <summary>Adds the line feeds that were held back, unless nothing stands before them and they are to be trimmed.</summary>
        public void EndWithLines(bool trimStart)
        {
            if (Started || !trimStart)
            {
                all.Append('\n', lines);
            }

            lines = 0;
        }

        public string TakeNew()
        {
            string text = all.ToString(taken, all.Length - taken);
            taken = all.Length;
            return text;
        }

        public override string ToString() => all.ToString();
    }
}
