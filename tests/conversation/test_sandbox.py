"""Templates of strangers: what they may do costs nothing noticeable, what they may not ends in one sentence."""

import time

import pytest
from jinja2 import ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mlxllm.conversation import ChatTemplate, Message, TemplateRefusalError
from mlxllm.conversation.budget import Budget, TemplateLimitError
from mlxllm.errors import ModelError, UserError
from tests.conversation import templates

MESSAGES = [Message("user", "Hi <b>there</b>"), Message("assistant", "Hello, you\ntwo")]
GROW = "{% set ns = namespace(s=S) %}{% for i in range(100) %}{% set ns.s = G %}{% endfor %}{{ ns.s U }}"
NESTED = "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}"


def growing(start: str, step: str, use: str = "") -> str:
    return GROW.replace("S", start, 1).replace("G", step).replace("U", use)


ENDLESS = {
    "counting": "{% for i in range(10**9) %}x{% endfor %}",
    "loops in loops": "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "empty loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "filtered loops": "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
    "lazy filters": "{% for i in range(99999) %}{% set x = range(99999)|map(attribute='z')|list %}{% endfor %}",
    "macros": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "blocks": "{% block b %}{% if n is undefined %}{{ self.b() }}{{ self.b() }}{% endif %}{% endblock %}",
    "recursive loops": "{% for x in messages recursive %}{{ loop(messages) }}{{ loop(messages) }}{% endfor %}",
    "a filter around loops": "{% filter upper %}{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}"
    "{% endfor %}{% endfilter %}",
    "long text": "{{ 'a' * 10**10 }}",
    "long text the other way": "{{ 10**10 * 'a' }}",
    "long list": "{{ (messages * 10**8)|length }}",
    "concatenation": growing("'aaaaaaaaaa'", "ns.s ~ ns.s"),
    "sum of texts": growing("'aaaaaaaaaa'", "ns.s + ns.s"),
    "sum of lists": growing("[1]", "ns.s + ns.s", "|length"),
    "joined": growing("'aa'", "ns.s.join([ns.s, ns.s, ns.s])"),
    "set block": "{% set x %}{% for i in range(99999) %}{{ 'a' * 10000 }}{% endfor %}{% endset %}{{ x }}",
    "copies": "{% set ns = namespace(l=[], s='a' * 10**6) %}{% for i in range(99999) %}"
    "{% set ns.l = [ns.l, ns.s[1:]] %}{% endfor %}",
    "nested lists written": NESTED + "{{ ns.s }}",
    "nested lists as JSON": NESTED + "{{ ns.s|tojson }}",
    "nested lists as text": NESTED + "{{ ns.s|string|length }}",
    "nested lists compared": NESTED + NESTED.replace("ns", "os") + "{{ ns.s == os.s }}",
    "nested tuples as a key": NESTED.replace("[1]", "(1,)").replace("[ns.s, ns.s]", "(ns.s, ns.s)") + "{{ {ns.s: 1} }}",
    "nested tuples looked up": NESTED.replace("[1]", "(1,)").replace("[ns.s, ns.s]", "(ns.s, ns.s)")
    + "{{ messages[0][ns.s] }}",
    "a deep nest": growing("[1]", "[ns.s]"),
    "replace": "{{ ('a' * 10**5).replace('a', 'b' * 10**5) }}",
    "the filter replace": "{{ ('a' * 10**5)|replace('a', 'b' * 10**5) }}",
    "replacing nothing": "{{ ('a' * 10**5).replace('', 'b' * 10**5) }}",
    "join": "{{ ('b' * 10**5).join(range(99999)|map('string')) }}",
    "the filter join": "{{ range(99999)|join('b' * 10**5) }}",
    "padding": "{{ 'a'.ljust(10**10) }}",
    "centring": "{{ 'a'.center(10**10) }}",
    "zeros": "{{ 'a'.zfill(10**10) }}",
    "a wide number": "{{ '%9999999999d' % 1 }}",
    "a wide number by filter": "{{ '%9999999999d'|format(1) }}",
    "a computed width": "{{ '%*d' % (10**10, 1) }}",
    "a wide field": "{{ '{:9999999999}'.format(1) }}",
    "a computed field": "{{ '{:{}}'.format(1, 10**10) }}",
    "many fields": "{{ ('{0}' * 10**5).format('a' * 10**5) }}",
    "many percents": "{{ ('%s' * 1000) % ('a' * 10**5,) }}{{ ('%s' * 10**5) % (['a' * 10**6] * 10**5) }}",
    "indentation": "{{ 'a'|indent(10**10, true) }}",
    "a great power": "{{ 10 ** (10 ** 8) }}",
    "great products": growing("9999999999", "ns.s * ns.s"),
    "searching backwards": "{{ ('a' * 2 * 10**6).rfind('b' ~ 'a' * 10**6) }}",
    "searching": "{% for i in range(99999) %}{{ 'a' * 10**5 in 'b' * 10**5 }}{% endfor %}",
    "splitting": "{% for i in range(99999) %}{% set x = ('a ' * 10**5).split() %}{% endfor %}",
    "bytes": "{{ (5).to_bytes(10**10, 'big') }}",
}

UNSAFE = {
    "the classic": "{{ ''.__class__.__mro__ }}",
    "an attribute": "{{ ''.__class__ }}",
    "by item": "{{ ''['__class__'] }}",
    "by filter": "{{ ''|attr('__class__') }}",
    "by map": "{{ messages|map(attribute='__class__')|list }}",
    "by format": "{{ '{0.__class__}'.format('a') }}",
    "of a function": "{{ raise_exception.__globals__ }}",
    "of a class": "{{ cycler.__init__.__globals__ }}",
    "of the template": "{{ self.__init__.__globals__ }}",
    "a hidden name": "{{ namespace(__class__=1) }}",
    "changing a list": "{{ messages.append(1) }}",
    "changing a mapping": "{{ messages[0].pop('role') }}",
    "odd codecs": "{{ 'a'.encode('punycode') }}",
    "a class method": "{{ dict.fromkeys([1]) }}",
}


def attempt(source: str) -> str:
    """The sentence in which a template ends."""
    with pytest.raises(UserError) as caught:
        ChatTemplate(source).render(MESSAGES)
    return str(caught.value)


@pytest.mark.parametrize("source", ENDLESS.values(), ids=ENDLESS.keys())
def test_what_does_not_end_ends_in_a_sentence(source):
    started = time.thread_time()
    sentence = attempt(source)
    assert time.thread_time() - started < 3.0  # one second is allowed, and what is under way then is finished
    assert "\n" not in sentence
    assert "chat template" in sentence


@pytest.mark.parametrize("source", UNSAFE.values(), ids=UNSAFE.keys())
def test_pythons_insides_are_out_of_reach(source):
    with pytest.raises(ModelError, match=r"^the chat template is stopped: it .* trust$"):
        ChatTemplate(source).render(MESSAGES)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("{% if %}", "is not a Jinja template: line 1: Expected an expression"),
        ("\n{{ 'x'|nonsense }}", "cannot be used: line 2: No filter named 'nonsense'"),
        ("{{ x is nonsense }}", "cannot be used: line 1: No test named 'nonsense'"),
        ("{{" + "(" * 5000 + "1" + ")" * 5000 + "}}", "cannot be compiled"),
        ("{% for m in messages %}" * 30 + "{% endfor %}" * 30, "cannot be compiled"),
        ("x" * 200_000, "has 200,000 characters"),
    ],
)
def test_what_is_no_template(source, sentence):
    with pytest.raises(ModelError) as caught:
        ChatTemplate(source)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("{{ raise_exception('take turns') }}", "does not take this conversation: take turns"),
        ("{{ messages[7].role }}", "does not take this conversation: list object has no element 7"),
        ("{{ nothing.at.all }}", "does not take this conversation: 'nothing' is undefined"),
        ("{{ 1 / 0 }}", "fails on this conversation: ZeroDivisionError: division by zero"),
        ("{% include 'other' %}", "fails on this conversation: TypeError: no loader"),
        ("{{ '%9999999999d' is odd }}", "ask about numbers"),
        ("{{ 5|round(10**9) }}", "takes a number up to 100"),
        ("{{ [1]|tojson(indent=10**9) }}", "takes a number up to 16"),
    ],
)
def test_what_a_template_does_not_take(source, sentence):
    template = ChatTemplate(source)
    with pytest.raises(TemplateRefusalError) as caught:
        template.render(MESSAGES)
    assert sentence in str(caught.value)


HARMLESS = r"""
{{ messages|length }} {{ messages[0].role }} {{ messages[-1]['content'] }} {{ messages[::-1]|map(attribute='role')|join }}
{% for m in messages %}{{ loop.index }}{{ loop.last }}{{ loop.cycle('a', 'b') }}{{ loop.changed(m.role) }}{% endfor %}
{% for k, v in messages[0]|dictsort %}{{ k }}={{ v }};{% endfor %}
{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}
{% for i in range(9) %}{% if i == 2 %}{% continue %}{% elif i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for i in range(9) if i is odd %}{{ i }}{% else %}none{% endfor %}{% for i in [] %}{% else %}none{% endfor %}
{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + m.content|length %}{% endfor %}{{ ns.n }}
{% macro f(a, b='z') %}{{ a ~ b }}{{ caller() if caller }}{% endmacro %}{{ f('x') }}{% call f(1, 2) %}in{% endcall %}
{% set x %}a {{ 'b'|upper }}{% endset %}{{ x|trim }}|{{ x ~ 1 ~ none ~ true ~ 1.5 }}
{{ 'a-b-c'.split('-') }} {{ 'a b'.split() }} {{ 'a-b'.rsplit('-', 1)[0] }}
{{ 'x\ny'.splitlines() }} {{ ' x '.strip() ~ '|' }} {{ 'abc'.startswith(('a', 'z')) }}
{{ 'abc'.replace('b', 'BB') }} {{ 'abc'|replace('b', 'BB', 1) }} {{ 'abc'.find('c') }}
{{ '-'.join(['a', 'b']) }} {{ [1, 2]|join('-') }} {{ messages|join(', ', attribute='role') }} {{ 'x'.center(5) ~ '|' }}
{{ '{:>5}|{}'.format('a', 1.5) }} {{ '%s and %05.2f' % ('a', 2) }} {{ '%s'|format('b') }}
{{ 7 % 4 }} {{ 2 ** 10 }} {{ 7 // 2 }} {{ 7 / 2 }} {{ 2 * 'ab' }} {{ [1] * 3 }} {{ -3|abs }} {{ 1.5 - 3 }}
{{ 'line\nline'|indent(2) }} {{ 'abc'|first }}{{ [3, 1, 2]|sort }}{{ [1, 1, 2]|unique|list }}
{{ [1, 2]|sum }}{{ [1, 5]|max }}{{ [1, 5]|min }}{{ 'abc'|reverse }}{{ [1, 2]|reverse|list }}{{ 'abc'|list }}
{{ messages|selectattr('role', 'equalto', 'user')|list|length }}
{{ messages|rejectattr('role', 'in', ['user'])|list|length }}
{{ [1, 2, 3]|select('gt', 1)|list }} {{ ['a', 'b']|map('upper')|list }} {{ messages|groupby('role') }} {{ (1, 'a')|list }}
{{ x is defined }} {{ none is none }} {{ 'a' is string }} {{ {} is mapping }} {{ [] is iterable }} {{ 6 is divisibleby 3 }}
{{ x|default('d') }} {{ '5'|int + 1 }} {{ '1.5'|float }} {{ 1.234|round(1) }} {{ 'a<b>&'|e }} {{ ('<'|safe) ~ '<' }}
{{ 'a' if messages else 'b' }} {{ 'Hi' in messages[0].content }} {{ 'x' not in 'abc' }} {{ 1 < 2 <= 2 }} {{ not true }}
{{ messages[0].get('name', 'nobody') }} {{ messages[0].keys()|list }} {{ dict(a=1)['a'] }} {{ {'a': [1, {'b': none}]} }}
{% if messages[0].content is not string %}no{% else %}  {{- ' yes' -}}  {% endif %}{# comment #} end
{% filter upper %}{{ messages[0].role }}{% endfilter %}{% with a = 1 %}{{ a }}{% endwith %}{% raw %}{{ x }}{% endraw %}
{% set a, b = 1, [2, 3] %}{{ a }}{{ b[1:] }}{{ b[0] }}{{ 'abcdef'[1:4] }}{{ 'abc'[::-1] }}{{ b.index(3) }}{{ b.count(2) }}
{% set j = joiner(', ') %}{% set c = cycler('x', 'y') %}{% for m in messages %}{{ j() }}{{ c.next() }}{% endfor %}
{% for x in [[1, [2]], [3]] recursive %}{{ x if x is number else loop(x) }}{% endfor %}
{% block b %}in{% endblock %}{{ self.b() }}
""".strip().split("\n")


@pytest.mark.parametrize("source", HARMLESS)
def test_paying_changes_nothing(source):
    plain = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[ext.loopcontrols])
    expected = plain.from_string(source).render(messages=[m.as_dict() for m in MESSAGES])
    assert ChatTemplate(source).render(MESSAGES) == expected


def test_lines_of_blocks_are_taken_out_as_transformers_does():
    source = "{% if true %}\n  {% set x = 1 %}\n\ta\n  {{ x }}\n{% endif %}\n\nend\n"
    plain = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    assert ChatTemplate(source).render(MESSAGES) == plain.from_string(source).render()


def test_json_is_written_as_it_is_read():
    message = Message("user", "x", {"data": {"z": "é<&>'", "a": [1, None, True, 1.0]}})
    template = ChatTemplate("{{ messages[0].data|tojson }}|{{ messages[0].data|tojson(indent=2, sort_keys=true) }}")
    assert template.render([message]) == (
        '{"z": "é<&>\'", "a": [1, null, true, 1.0]}|'
        '{\n  "a": [\n    1,\n    null,\n    true,\n    1.0\n  ],\n  "z": "é<&>\'"\n}'
    )


def test_long_conversations_are_no_bombs():
    long = [Message("user" if i % 2 == 0 else "assistant", f"{i} " + "word " * 2000) for i in range(200)]
    text = ChatTemplate(templates.FORGETTING, variables=templates.VARIABLES).render(long)
    assert len(text) > 2_000_000
    huge = [Message("user", "x" * 30_000_000)]
    assert len(ChatTemplate(templates.CHATML).render(huge)) > 30_000_000


def test_a_template_that_was_stopped_works_again():
    template = ChatTemplate("{% for m in messages %}{{ 'ab' * (m.content|int) }}{% endfor %}")
    assert template.render([Message("user", "2")]) == "abab"
    for _ in range(2):
        with pytest.raises(ModelError, match="far more text"):
            template.render([Message("user", "99999999")])
        assert template.render([Message("user", "2")]) == "abab"


def test_the_clock_stops_what_work_does_not():
    budget = Budget(1 << 40, seconds=0.01)
    with pytest.raises(TemplateLimitError, match="takes more than"):
        budget.deep(list(range(300_000)))
