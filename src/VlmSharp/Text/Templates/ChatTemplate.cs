namespace VlmSharp.Text.Templates;

/// <summary>A checkpoint's chat template: turns a conversation into the text the model was trained on.</summary>
/// <remarks>
/// The language is Jinja as transformers runs it: jinja2 3.1.6 in its immutable sandbox, with trim_blocks, lstrip_blocks, break and
/// continue, <c>{% generation %}</c>, <c>raise_exception</c>, <c>strftime_now</c>, and a <c>tojson</c> that escapes nothing for HTML. Not
/// supported, each with an error of its own: loading other templates, <c>autoescape true</c>, <c>urlize</c>, <c>lipsum</c>,
/// <c>encode</c>, <c>translate</c>. A parsed template can be rendered from several threads at once.
/// </remarks>
public sealed class ChatTemplate
{
    /// <summary>What transformers puts behind the last message to find where to cut. Its blank shows whether the template trims.</summary>
    const string ContinuationTag = "CONTINUE_FINAL_MESSAGE_TAG ";

    readonly TemplateProgram program;

    ChatTemplate(string name, string source, TemplateProgram program)
    {
        Name = name;
        Source = source;
        this.program = program;
    }

    /// <summary>The name shown in errors.</summary>
    public string Name { get; }

    /// <summary>The text of the template.</summary>
    public string Source { get; }

    /// <summary>Parses a template.</summary>
    /// <param name="source">The text of the template.</param>
    /// <param name="name">What errors call it: the file it was read from.</param>
    /// <exception cref="TemplateException">The template is not valid; the message has the line.</exception>
    public static ChatTemplate Parse(string source, string name)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(name);
        try
        {
            return new ChatTemplate(name, source, Binder.Bind(Parser.Parse(source)));
        }
        catch (TemplateSyntaxException e)
        {
            throw new TemplateException(name, e.Line, e.Message, inner: e);
        }
        catch (EvaluationException e)
        {
            throw new TemplateException(name, 1, e.Message, inner: e);
        }
        catch (InsufficientExecutionStackException e)
        {
            throw new TemplateException(name, 1, "the template nests too deeply", inner: e);
        }
    }

    /// <summary>Renders the template.</summary>
    /// <param name="variables">Its inputs: <c>messages</c>, <c>tools</c>, <c>add_generation_prompt</c>, <c>bos_token</c> and so on.</param>
    /// <param name="limits">What rendering may cost; null for the default.</param>
    /// <param name="clock">The time <c>strftime_now</c> tells; null for the system's.</param>
    /// <exception cref="TemplateException">The template or the conversation is at fault, or a limit was reached.</exception>
    public RenderedPrompt Render(TemplateObject variables, RenderLimits? limits = null, TimeProvider? clock = null)
    {
        ArgumentNullException.ThrowIfNull(variables);
        Interpreter interpreter = new(program, variables, limits ?? RenderLimits.Default, clock ?? TimeProvider.System);
        try
        {
            return interpreter.Run();
        }
        catch (EvaluationException e)
        {
            string? raised = e.RaisedByTemplate ? e.Message : null;
            throw new TemplateException(Name, interpreter.Line, e.Message, raised, e);
        }
        catch (InsufficientExecutionStackException e)
        {
            throw new TemplateException(Name, interpreter.Line, "values or calls nest too deeply", inner: e);
        }
    }

    /// <summary>
    /// Renders a conversation whose last message the model is to continue: the prompt ends with that message's text, without what the
    /// template puts behind it (<c>continue_final_message</c> in transformers).
    /// </summary>
    /// <param name="variables">As for <see cref="Render"/>; <c>messages</c> is a list whose last message has text.</param>
    /// <param name="limits">What rendering may cost; null for the default.</param>
    /// <param name="clock">The time <c>strftime_now</c> tells; null for the system's.</param>
    /// <exception cref="TemplateException">As for <see cref="Render"/>; or the last message has no text or does not appear in the prompt.</exception>
    public RenderedPrompt RenderContinuation(
        TemplateObject variables,
        RenderLimits? limits = null,
        TimeProvider? clock = null
    )
    {
        ArgumentNullException.ThrowIfNull(variables);
        if (
            variables.Find("messages") is not TemplateList { Length: > 0 } messages
            || messages[^1] is not TemplateObject last
        )
        {
            throw new TemplateException(Name, 1, "there is no final message to continue");
        }

        TemplateObject tagged = last.Copy();
        string text = Tag(tagged);
        TemplateObject inputs = variables.Copy();
        inputs["messages"] = new TemplateList(messages.Take(messages.Length - 1).Append(tagged));

        RenderedPrompt prompt = Render(inputs, limits, clock);
        string tag = ContinuationTag.TrimEnd();
        int at = prompt.Text.LastIndexOf(tag, StringComparison.Ordinal);
        string stripped = StringMethods.Strip(TextValue.Create(text), null, left: true, right: true).Text;
        if (at < 0 || TextSearch.IndexOf(prompt.Text, stripped) < 0)
        {
            throw new TemplateException(
                Name,
                1,
                "the final message does not appear in the prompt, so that it cannot be continued; the template leaves parts of it out"
            );
        }

        // Where the tag's blank is gone the template trims the message, so that the prompt must end trimmed as well.
        bool keepsSpace = prompt.Text.AsSpan(at).StartsWith(ContinuationTag);
        return Cut(prompt, keepsSpace ? at : PythonText.TrimEnd(prompt.Text[..at]).Length);
    }

    /// <summary>Puts the tag behind the message's text, or behind its last part that has text, and returns the text before.</summary>
    string Tag(TemplateObject message)
    {
        switch (message.Find("content"))
        {
            case TextValue content:
                message["content"] = Tagged(content);
                return content.Text;
            case TemplateList parts:
                for (int i = parts.Length - 1; i >= 0; i--)
                {
                    if (parts[i] is TemplateObject part && part.Find("text") is TextValue text)
                    {
                        TemplateObject tagged = part.Copy();
                        tagged["text"] = Tagged(text);
                        message["content"] = new TemplateList(parts.Select((p, index) => index == i ? tagged : p));
                        return text.Text;
                    }
                }

                break;
        }

        throw new TemplateException(Name, 1, "the final message has no text to continue");
    }

    static TextValue Tagged(TextValue text)
    {
        UserSpans spans = UserSpans.Concat(text.Spans, text.Text.Length, default, ContinuationTag.Length);
        return TextValue.Create(text.Text + ContinuationTag, spans);
    }

    static RenderedPrompt Cut(RenderedPrompt prompt, int length)
    {
        return new RenderedPrompt(prompt.Text[..length], CutAll(prompt.UserText), CutAll(prompt.Generation));

        List<Range> CutAll(IReadOnlyList<Range> ranges) =>
            [
                .. ranges
                    .Where(range => range.Start.Value < length)
                    .Select(range => range.Start.Value..Math.Min(range.End.Value, length)),
            ];
    }
}
