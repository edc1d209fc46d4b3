using System.Text;
using System.Text.Json;
using VlmSharp.Text.Templates;
using Xunit;

namespace VlmSharp.Tests.Text.Templates;

public class TemplateErrorTests
{
    static TemplateException Failure(string template, RenderLimits? limits = null, TemplateObject? variables = null) =>
        Assert.Throws<TemplateException>(() =>
            ChatTemplate.Parse(template, "chat.jinja").Render(variables ?? [], limits)
        );

    [Theory]
    [InlineData("a\nb\n{% if x %}\nc", 4, "'if' of line 3")]
    [InlineData("{{ x", 1, "'}}'")]
    [InlineData("\n\n{{ 1 + }}", 3, "expected an expression")]
    [InlineData("{#\n\n#}{% nosuch %}", 3, "unknown tag 'nosuch'")]
    [InlineData("{% for x in y %}\n{{ x | nosuch }}\n{% endfor %}", 2, "no filter named 'nosuch'")]
    [InlineData("{% raw %}\n", 1, "'raw' is not closed")]
    [InlineData("{{ 'a\nb' }}\n{{ 'open }}", 3, "string is not closed")]
    [InlineData("{{ [1, 2 }}", 1, "expected ']'")]
    [InlineData("{{ x }}\n{% break %}", 2, "outside of a loop")]
    [InlineData("{% macro m(a=1, b) %}{% endmacro %}", 1, "without default")]
    public void A_syntax_error_names_template_line_and_problem(string template, int line, string problem)
    {
        TemplateException error = Assert.Throws<TemplateException>(() => ChatTemplate.Parse(template, "chat.jinja"));
        Assert.Equal(line, error.Line);
        Assert.StartsWith($"chat.jinja, line {line}: ", error.Message, StringComparison.Ordinal);
        Assert.Contains(problem, error.Message, StringComparison.Ordinal);
        Assert.Null(error.RaisedMessage);
    }

    [Theory]
    [InlineData("a\n{{ x.y }}", 2, "'x' is undefined")]
    [InlineData("{% if true %}\n\n{{ 'a' + 1 }}{% endif %}", 3, "can only concatenate str (not \"int\") to str")]
    [InlineData("{% macro m() %}\n{{ 1 // 0 }}\n{% endmacro %}\n{{ m() }}", 2, "by zero")]
    [InlineData("{% macro m() %}\n{{ 1 }}\n{% endmacro %}\n{{ m() + 1 }}", 4, "can only concatenate str")]
    [InlineData("{% for a, b in [1] %}{% endfor %}", 1, "cannot unpack non-iterable int object")]
    [InlineData("{% include 'x' %}", 1, "there is no loader")]
    public void An_error_while_rendering_names_the_line(string template, int line, string problem)
    {
        TemplateException error = Failure(template);
        Assert.Equal(line, error.Line);
        Assert.Contains(problem, error.Message, StringComparison.Ordinal);
        Assert.Null(error.RaisedMessage);
    }

    [Fact]
    public void What_the_template_raises_itself_is_told_apart()
    {
        TemplateException error = Failure("\n{{ raise_exception('Roles must ' ~ 'alternate') }}");
        Assert.Equal("Roles must alternate", error.RaisedMessage);
        Assert.Equal("chat.jinja, line 2: Roles must alternate", error.Message);
    }

    [Theory]
    [InlineData("{% for i in range(10 ** 9) %}x{% endfor %}", "Range too big")]
    [InlineData("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "steps")]
    [InlineData("{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}", "recursion depth")]
    [InlineData(
        "{% macro a() %}{{ caller() if caller }}{{ b() }}{% endmacro %}{% macro b() %}{% call a() %}{% endcall %}{% endmacro %}{{ a() }}",
        "recursion depth"
    )]
    [InlineData("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}", "recursion depth")]
    [InlineData("{% block b %}{{ self.b() }}{% endblock %}", "recursion depth")]
    [InlineData(
        "{% set ns = namespace(s='ab') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "beyond the limit"
    )]
    [InlineData(
        "{% set ns = namespace(s='ab') %}{% for i in range(100) %}{% set ns.s = ns.s | replace('a', ns.s) %}{% endfor %}",
        "limit"
    )]
    [InlineData(
        "{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
        "limit"
    )]
    [InlineData(
        "{% set ns = namespace(l=[]) %}{% for i in range(100) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
        "limit"
    )]
    [InlineData(
        "{% set ns = namespace(l=[]) %}{% for i in range(100) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | tojson }}",
        "limit"
    )]
    [InlineData(
        "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
        "limit"
    )]
    [InlineData(
        "{% set ns = namespace(a=(1,)) %}{% for i in range(60) %}{% set ns.a = (ns.a, ns.a) %}{% endfor %}{{ {ns.a: 1} }}",
        "limit"
    )]
    [InlineData(
        "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
        "nest too deeply"
    )]
    [InlineData(
        "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l | tojson }}",
        "nest too deeply"
    )]
    [InlineData(
        "{% set ns = namespace(g=[1]) %}{% for i in range(100000) %}{% set ns.g = ns.g | map('string') %}{% endfor %}{{ ns.g | list }}",
        "nest too deeply"
    )]
    [InlineData(
        "{% set ns = namespace(t=()) %}{% for i in range(100) %}{% set ns.t = (ns.t, ns.t) %}{% endfor %}{{ {}[ns.t] }}",
        "steps"
    )]
    [InlineData(
        "{% set ns = namespace(a=[], b=[]) %}{% for i in range(100000) %}{% set ns.a = [ns.a] %}{% set ns.b = [ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
        "nest too deeply"
    )]
    [InlineData("{{ 'x' * 10 ** 9 }}", "beyond the limit")]
    [InlineData("{{ [0] * 10 ** 9 }}", "beyond the limit")]
    [InlineData("{{ 10 ** (10 ** 10) }}", "beyond the limit")]
    [InlineData(
        "{% set ns = namespace(n=2) %}{% for i in range(100) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
        "bits is beyond the limit"
    )]
    [InlineData("{{ 'a' | center(10 ** 12) }}", "beyond the limit")]
    [InlineData("{{ 'a'.ljust(10 ** 12) }}", "beyond the limit")]
    [InlineData("{{ '%1000000000000d' % 1 }}", "beyond the limit")]
    [InlineData("{{ '{:>1000000000000}'.format(1) }}", "beyond the limit")]
    [InlineData("{{ '%.1000000000000f' % 1 }}", "beyond the limit")]
    [InlineData("{{ 'a\tb'.expandtabs(10 ** 12) }}", "beyond the limit")]
    [InlineData("{{ [1] | tojson(indent=10 ** 12) }}", "beyond the limit")]
    [InlineData("{{ [1] | batch(10 ** 12, 0) | list }}", "beyond the limit")]
    [InlineData("{{ [1] | slice(10 ** 7) | list | length }}", "steps")]
    [InlineData("{{ 'a\n' * 1000 | indent(10 ** 6) }}", "must be str")]
    [InlineData("{{ ('a\n' * 1000) | indent(10 ** 6) }}", "beyond the limit")]
    public void A_hostile_template_ends_at_a_limit(string template, string limit) =>
        Assert.Contains(limit, Failure(template).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("(", ")")]
    [InlineData("[", "]")]
    [InlineData("-", "")]
    [InlineData("not ", "")]
    [InlineData("{1:", "}")]
    [InlineData("f(", ")")]
    [InlineData("1 if 1 else ", "")]
    [InlineData("x[", "]")]
    [InlineData("1 is eq [", "]")]
    public void Deeply_nested_expressions_are_refused(string open, string close)
    {
        const int depth = 100_000;
        StringBuilder template = new("{{ ");
        for (int i = 0; i < depth; i++)
        {
            template.Append(open);
        }

        template.Append('1');
        for (int i = 0; i < depth; i++)
        {
            template.Append(close);
        }

        TemplateException error = Failure(template.Append(" }}").ToString());
        Assert.Contains("nested more than", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(" + 1")]
    [InlineData(" and 1")]
    [InlineData(" if 1")]
    [InlineData(".real")]
    [InlineData("|int")]
    [InlineData(" ** 1")]
    public void Endless_chains_do_not_exhaust_the_stack(string link)
    {
        StringBuilder template = new("{{ 1");
        for (int i = 0; i < 200_000; i++)
        {
            template.Append(link);
        }

        TemplateException error = Failure(template.Append(" }}").ToString());
        Assert.Contains("too deeply", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Deeply_nested_statements_are_refused()
    {
        string template = string.Concat(Enumerable.Repeat("{% if x %}", 10_000));
        Assert.Contains("nested more than", Failure(template).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Limits_are_the_callers_choice()
    {
        Assert.Contains(
            "steps",
            Failure("{% for i in range(99) %}x{% endfor %}", new() { MaxSteps = 50 }).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "limit of 10",
            Failure("{% for i in range(99) %}x{% endfor %}", new() { MaxTextLength = 10 }).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "MAX_RANGE (5)",
            Failure("{{ range(6) }}", new() { MaxRange = 5 }).Message,
            StringComparison.Ordinal
        );
        string countdown = "{% macro m(n) %}{{ m(n - 1) if n else 'end' }}{% endmacro %}{{ m(20) }}";
        Assert.Contains("10 deep", Failure(countdown, new() { MaxCallDepth = 10 }).Message, StringComparison.Ordinal);
        Assert.Equal("end", ChatTemplate.Parse(countdown, "t").Render([]).Text);
    }

    [Fact]
    public void Searching_user_text_in_user_text_takes_linear_time()
    {
        TemplateObject variables = new()
        {
            ["text"] = TemplateValue.UserText(new string('a', 2_000_000)),
            ["part"] = TemplateValue.UserText(new string('a', 500_000) + "b" + new string('a', 500_000)),
        };
        string template =
            "{{ part in text }}{{ text.split(part) | length }}{{ text.rfind(part) }}{{ text.count(part) }}";
        Assert.Equal("False1-10", ChatTemplate.Parse(template, "t").Render(variables).Text);
    }

    [Fact]
    public void Json_keeps_what_pythons_json_keeps()
    {
        const string json = """{"b": 1, "a": [1.0, 1e3, -0, 12345678901234567890123, true, null], "b": 2}""";
        TemplateObject variables = new()
        {
            ["j"] = TemplateValue.From(JsonDocument.Parse(json).RootElement, userText: false),
        };
        string text = ChatTemplate.Parse("{{ j }}", "t").Render(variables).Text;
        Assert.Equal("{'b': 2, 'a': [1.0, 1000.0, 0, 12345678901234567890123, True, None]}", text);
    }

    [Theory]
    [InlineData("\"\\ud800\"", "surrogate")]
    [InlineData("{\"\\udc00\": 1}", "surrogate")]
    public void Json_with_half_a_surrogate_pair_is_refused(string json, string problem)
    {
        FormatException error = Assert.Throws<FormatException>(() =>
            TemplateValue.From(JsonDocument.Parse(json).RootElement, userText: true)
        );
        Assert.Contains(problem, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Json_with_an_endless_number_is_refused() =>
        Assert.Throws<FormatException>(() =>
            TemplateValue.From(JsonDocument.Parse(new string('9', 5000)).RootElement, userText: false)
        );

    [Fact]
    public void A_template_serves_many_threads_at_once()
    {
        ChatTemplate template = ChatTemplate.Parse(
            "{% set ns = namespace(n=0) %}{% macro m(x) %}[{{ x }}]{% endmacro %}{% for i in range(n) %}{% set ns.n = ns.n + i %}{{ m(i) if loop.last }}{% endfor %}{{ ns.n }}",
            "t"
        );
        Parallel.For(
            1,
            200,
            n => Assert.Equal($"[{n - 1}]{n * (n - 1) / 2}", template.Render(new TemplateObject { ["n"] = n }).Text)
        );
    }
}
