using System.Text.Json;
using VlmSharp.Text.Templates;
using Xunit;

namespace VlmSharp.Tests.Text.Templates;

/// <summary>
/// Which parts of a prompt are user text. In the templates <c>u</c> is the user's <c>a&lt;b|c</c>, <c>t</c> the application's <c>x-y</c>;
/// expected prompts have the user's parts in «».
/// </summary>
public class UserTextTests
{
    static string Render(string template) =>
        Marked(
            ChatTemplate
                .Parse(template, "marks.jinja")
                .Render(
                    new TemplateObject
                    {
                        ["u"] = TemplateValue.UserText("a<b|c"),
                        ["blank"] = TemplateValue.UserText("  a "),
                        ["think"] = TemplateValue.UserText("<think>q</think>r"),
                        ["face"] = TemplateValue.UserText("\U0001F44D!"),
                        ["t"] = "x-y",
                        ["list"] = new TemplateList([TemplateValue.UserText("p"), "q"]),
                        ["json"] = TemplateValue.From(
                            JsonDocument.Parse("""{"k\"<": ["<|v|>", 1, true]}""").RootElement,
                            userText: true
                        ),
                    }
                )
        );

    static string Marked(RenderedPrompt prompt)
    {
        string text = prompt.Text;
        foreach (Range range in prompt.UserText.Reverse())
        {
            text = text.Insert(range.End.Value, "»").Insert(range.Start.Value, "«");
        }

        return text;
    }

    [Theory]
    [InlineData("{{ u }}{{ t }}", "«a<b|c»x-y")]
    [InlineData("<{{ u + t }}{{ t + u }}>", "<«a<b|c»x-yx-y«a<b|c»>")]
    [InlineData("{{ t ~ u ~ 1 }}", "x-y«a<b|c»1")]
    [InlineData("{{ u ~ u }}", "«a<b|ca<b|c»")]
    [InlineData("{{ (t ~ u ~ t)[2:5] }}", "y«a<»")]
    [InlineData("{{ (t ~ u)[::-1] }}", "«c|b<a»y-x")]
    [InlineData("{{ (t ~ u)[-1] }}{{ (t ~ u)[0] }}", "«c»x")]
    [InlineData("{{ blank.strip() }}{{ blank | trim }}{{ ('z' ~ blank).rstrip() }}", "«aa»z«  a»")]
    [InlineData("{{ (u ~ '|' ~ t).split('|') | join('+') }}", "«a<b»+«c»+x-y")]
    [InlineData("{{ think.split('</think>')[-1] }}{{ '</think>' in think }}", "«r»True")]
    [InlineData("{{ (t ~ u) | replace('b', 'B') }}", "x-y«a<»B«|c»")]
    [InlineData("{{ t | replace('-', u) }}", "x«a<b|c»y")]
    [InlineData("{{ t | replace(u[:0] ~ 'x', '') }}", "-y")]
    [InlineData("{{ (t ~ '<') | replace(u[1], '') }}", "«x-y»")]
    [InlineData("{{ (t ~ u) | upper }}{{ u | title }}", "X-Y«A<B|CA<B|c»")]
    [InlineData("{{ '%s:%5s:%s' % (u, u[0], t) }}", "«a<b|c»:    «a»:x-y")]
    [InlineData("{{ '{}|{:>3}|{!r}'.format(t, u[0], u[0]) }}", "x-y|  «a»|'«a»'")]
    [InlineData("{{ (u ~ '{}').format(t) }}", "«a<b|cx-y»")]
    [InlineData("{{ '%c' % 60 }}", "«<»")]
    [InlineData("{{ json | tojson }}", "{\"«k\\\"<»\": [\"«<|v|>»\", 1, true]}")]
    [InlineData("{{ [t, u] }}", "['x-y', '«a<b|c»']")]
    [InlineData("{% for k, v in json.items() %}{{ k }}={{ v[0] }}{% endfor %}", "«k\"<»=«<|v|>»")]
    [InlineData("{{ list | join('-') }}{{ list | map('upper') | join }}", "«p»-q«P»Q")]
    [InlineData("{{ list | sort(reverse=true) | join }}{{ list | first }}", "q«pp»")]
    [InlineData("{% set s %}[{{ u }}]{% endset %}{{ s }}", "[«a<b|c»]")]
    [InlineData("{% macro m(x) %}({{ x }}){% endmacro %}{{ m(u) }}{{ m(t) | length }}", "(«a<b|c»)5")]
    [InlineData("{% macro m() %}({{ caller() }}){% endmacro %}{% call m() %}{{ u }}{% endcall %}", "(«a<b|c»)")]
    [InlineData("{% filter upper %}x{{ u }}{% endfilter %}", "X«A<B|C»")]
    [InlineData(
        "{% set ns = namespace(s='') %}{% for c in u %}{% set ns.s = ns.s + c %}{% endfor %}{{ ns.s ~ t }}",
        "«a<b|c»x-y"
    )]
    [InlineData("{% generation %}{{ t }}{{ u }}{% endgeneration %}", "x-y«a<b|c»")]
    [InlineData("{{ u | e }}", "«a&lt;b|c»")]
    [InlineData("{{ (t ~ u) | indent }}{{ u | center(7) }}", "x-y«a<b|c» «a<b|c» ")]
    [InlineData("{{ u * 2 }}{{ u | length }}{{ u | reverse }}", "«a<b|ca<b|c»5«c|b<a»")]
    [InlineData("{{ face }}{{ face[0] }}{{ face | length }}", "«\U0001F44D!\U0001F44D»2")]
    [InlineData("{{ u == 'a<b|c' }}{{ 'x' if u else 'y' }}{{ {'a<b|c': 1}[u] }}", "Truex1")]
    [InlineData(
        "{{ u | default('') }}{{ dict(k=u).k }}{{ (u, t) | last }}{{ missing | default(u) }}",
        "«a<b|ca<b|c»x-y«a<b|c»"
    )]
    [InlineData("{{ (t ~ u) | wordwrap(80) }}", "«x-ya<b|c»")]
    [InlineData("{{ '-'.join([u, t]) }}{{ u.join(['1', '2']) }}", "«a<b|c»-x-y1«a<b|c»2")]
    [InlineData(
        "{{ u.partition('<')[2] }}{{ u.removeprefix('a') }}{{ (u ~ '\n' ~ t).splitlines()[1] }}",
        "«b|c<b|c»x-y"
    )]
    public void User_text_stays_user_text_through(string template, string expected) =>
        Assert.Equal(expected, Render(template));

    [Fact]
    public void Only_user_text_is_reported_and_in_order()
    {
        RenderedPrompt prompt = ChatTemplate
            .Parse("<|im_start|>{{ u }}<|im_end|>{{ e }}{{ u }}", "t")
            .Render(new TemplateObject { ["u"] = TemplateValue.UserText("hi"), ["e"] = TemplateValue.UserText("") });
        Assert.Equal("<|im_start|>hi<|im_end|>hi", prompt.Text);
        Assert.Equal([12..14, 24..26], prompt.UserText);
    }

    [Fact]
    public void A_continued_message_keeps_its_mark_and_loses_the_tag()
    {
        TemplateObject message = new()
        {
            ["role"] = "assistant",
            ["content"] = TemplateValue.UserText("The answer is "),
        };
        RenderedPrompt prompt = ChatTemplate
            .Parse("{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}", "t")
            .RenderContinuation(new TemplateObject { ["messages"] = new TemplateList([message]) });
        Assert.Equal("<assistant>«The answer is »", Marked(prompt));
    }

    [Fact]
    public void A_continued_message_that_the_template_drops_is_an_error()
    {
        TemplateObject message = new() { ["content"] = "Yes" };
        ChatTemplate template = ChatTemplate.Parse("{{ messages | length }}", "drop.jinja");
        TemplateException error = Assert.Throws<TemplateException>(() =>
            template.RenderContinuation(new TemplateObject { ["messages"] = new TemplateList([message]) })
        );
        Assert.Contains("does not appear in the prompt", error.Message, StringComparison.Ordinal);
    }
}
