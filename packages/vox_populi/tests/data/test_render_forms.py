from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="needs vox-populi[mens-gpu]")

from vox_populi.data import render_forms
from vox_populi.data.jinja_sandbox import CompiledTemplate, Rendered, RenderedTooLargeError
from vox_populi.data.render_forms import RenderForms

NOW = datetime(2026, 3, 9, tzinfo=UTC)
TEXTS = ("a", "b", "ab", "abcb", "", "   ", " b", "b\n", "b b", "<b>", "5", "é")


class Counted(CompiledTemplate):
    """A template that counts its renders."""

    renders = 0

    def render(self, variables: Mapping[str, object]) -> Rendered:
        self.renders += 1
        return super().render(variables)


def variables(*texts: Any, opened: bool = False, **more: object) -> dict[str, Any]:
    roles = ("user", "assistant")
    turns = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return {"messages": turns, "tools": None, "add_generation_prompt": opened, **more}


def outcome(render: Any, asked: Mapping[str, object]) -> object:
    try:
        return render(asked)
    except ValueError as error:
        return str(error)


EACH = "{{% for m in messages %}}{}{{% endfor %}}"
WRITING = [
    "<{{ m.role }}>{{ m.content }}|",
    "{{ '<|' + m['role'] + '|>' + m['content'] + '\n' }}",
    "{{ m.role ~ ':' ~ m.content ~ 1 }}",
    "{{ m.content | trim }}.",
    "{{ ('x' ~ m.content ~ 'y') | trim ~ ('x' ~ m.content).strip() }}",
    "{{ m.content.strip() }}{% if loop.index0 % 2 %}{{ messages | length }}{% endif %}",
    "{% if m.role in ['user', 'x'] and 'role' in m and m.content %}{{ m.content }}{% endif %}",
    "{% if m.content is string and m.content is defined %}{{ messages[0].content }}{% endif %}",
    "{% set n = namespace(a='') %}{% set n.a = m.content %}{{ n.a }}",
    "{% if loop.first and m.role != 'system' %}{{ bos }}{% endif %}{{ m.get('content') }}",
    "{{ (messages | last).content }}{{ (messages | list | first)['content'] }}",
    "{{ m.content or 'empty' }}{% if add_generation_prompt %}>{% endif %}",
    "{% for key, value in m.items() %}{{ key + value }}{% endfor %}{{ 'role'[1:] }}",
    "{{ m.role | upper ~ m.role.title() }}{{ m.role == 'user' }}{{ {'a': 1} }}{{ m.content }}",
]
READING = [
    *("{{ m.content[1:] }}", "{{ m.content[0] }}", "{{ m.content['upper']() }}"),
    *("{{ 'b' in m.content }}", "{{ m.content in 'abc' }}", "{{ m.content not in m.role ~ 'b' }}"),
    *("{{ m.content == 'b' }}", "{{ m.content != 'b' }}", "{{ m.content < 'b' }}"),
    *("{{ m.content >= 'b' }}", "{{ m.content in ['b', 'x'] }}", "{{ m.content is in ['b'] }}"),
    *("{{ m.content is eq 'b' }}", "{{ m.content is lower }}", "{{ m.content is sameas 'b' }}"),
    *("{{ m.content | upper }}", "{{ m.content | length }}", "{{ m.content | int }}"),
    *("{{ m.content | tojson }}", "{{ m | tojson }}", "{{ m.content | first }}", "{{ m }}"),
    *("{{ [m.content] }}", "{{ m.content | list }}", "{{ m.content | trim('b') }}"),
    *("{{ m.content.split('b') }}", "{{ m.content.upper() }}", "{{ m.content.strip('b') }}"),
    *("{{ 'abc'.replace(m.content, 'z') }}", "{{ ['b'].count(m.content) }}"),
    *("{{ '{}'.format(m.content) | upper }}", "{{ dict(a=m.content) | tojson }}"),
    *(
        "{{ ('x' ~ m.content) | upper }}",
        "{{ ('x' + m.content)[1:] }}",
        "{{ (1 ~ m.content)[1:] }}",
    ),
    *("{{ {'b': 1}[m.content] }}", "{{ {m.content: 1} }}", "{{ {m.content: 1}['b'] }}"),
    *(
        "{% for c in m.content %}<{{ c }}>{% endfor %}",
        "{{ m.content * 2 }}",
        "{{ 2 * m.content }}",
    ),
    *(
        "{{ '%s' % m.content | upper }}",
        "{{ ('%s' % (m.content,)) | upper }}",
        "{{ m.content % 1 }}",
    ),
    "{{ [m.content] ~ '' }}",
    "{% set x %}{{ m.content }}{% endset %}{{ x | upper }}",
    "{% macro x() %}{{ m.content }}{% endmacro %}{{ x()[1:] }}",
    "{% filter upper %}{{ m.content }}{% endfilter %}",
    "{% macro x() %}{{ caller() | upper }}{% endmacro %}{% call x() %}{{ m.content }}{% endcall %}",
    "{{ namespace(a=m.content).a }}{{ loop.changed(m.content) }}",
    "{{ messages | map(attribute='content') | join | upper }}",
    "{{ (m.items() | list)[1][1] | upper }}{{ m.values() | list | string | upper }}",
    "{{ messages | selectattr('content', 'equalto', 'b') | list | length }}",
    "{{ raise_exception(m.content) }}",
    "{{ (m.content ~ ' ') | trim }}",
    "{{ (' ' + m.content).strip() }}",
]
FAILING = ["{{ m.content % 1 }}", "{{ m.content + 1 }}", "{{ 1 + m.content }}", "{{ -m.content }}"]


@pytest.mark.parametrize("body", [*WRITING, *READING, *FAILING])
def test_a_text_has_the_words_of_a_whole_render(body: str) -> None:
    source = EACH.format(body)
    forms = RenderForms(source, NOW, CompiledTemplate(source, NOW))
    plain = CompiledTemplate(source, NOW)
    seen = set()
    for text in (*TEXTS, *TEXTS, *reversed(TEXTS)):
        asked = variables(text, "b", bos="<s>")
        expected = outcome(plain.render, asked)
        assert outcome(forms.render, asked) == expected
        seen.add(str(expected))
    assert len(seen) > 1 or body in FAILING


@pytest.mark.parametrize("body", WRITING)
def test_a_template_that_only_writes_texts_runs_twice_for_a_shape(body: str) -> None:
    source = EACH.format(body)
    counted = Counted(source, NOW)
    forms = RenderForms(source, NOW, counted)
    for text in ("a", "a", "é", "longer"):
        forms.render(variables(text, "b"))
    assert counted.renders == 2


@pytest.mark.parametrize("body", [*READING, *FAILING])
def test_a_template_that_reads_texts_runs_each_time(body: str) -> None:
    source = EACH.format(body)
    counted = Counted(source, NOW)
    forms = RenderForms(source, NOW, counted)
    for text in ("a", "b", "é"):
        outcome(forms.render, variables(text, "b"))
    assert counted.renders == 3


@pytest.mark.parametrize(
    "other",
    [
        variables("c", "b", opened=True),
        variables("c", "b", "c"),
        variables("", "b"),
        variables("c ", "b"),
        variables(None, "b"),
        variables("c", "b") | {"tools": [{"name": "t"}]},
        {**variables(), "messages": [{"role": "user", "content": "c", "name": "n"}]},
        {**variables("c", "b"), "messages": [{"role": r, "content": "c"} for r in "xy"]},
    ],
)
def test_another_shape_is_rendered_by_itself(other: dict[str, Any]) -> None:
    source = EACH.format("{{ m.role }}{{ m.content }}{{ m.name }}")
    source += "{{ tools }}{{ add_generation_prompt }}"
    counted = Counted(source, NOW)
    forms = RenderForms(source, NOW, counted)
    for _ in range(3):
        forms.render(variables("a", "b"))
    assert forms.render(other) == CompiledTemplate(source, NOW).render(other)
    assert counted.renders == 3


def test_a_text_may_look_like_a_gap() -> None:
    source = EACH.format("\ue0000\ue000{{ m.content }}")
    forms = RenderForms(source, NOW, CompiledTemplate(source, NOW))
    plain = CompiledTemplate(source, NOW)
    for text in ("\ue0001\ue000", "\ue0000\ue000", "x", "y"):
        assert forms.render(variables(text)) == plain.render(variables(text))
    source = EACH.format("{{ m.content }}")
    forms = RenderForms(source, NOW, CompiledTemplate(source, NOW))
    rendered = [
        forms.render(variables(text))[0] for text in ("\ue0000\ue000", "a", "\ue0001\ue000")
    ]
    assert rendered == ["\ue0000\ue000", "a", "\ue0001\ue000"]


def test_long_texts_meet_the_limit_of_every_render(monkeypatch: pytest.MonkeyPatch) -> None:
    source = EACH.format("{{ m.content }}!")
    forms = RenderForms(source, NOW, CompiledTemplate(source, NOW))
    for module in ("render_forms", "jinja_sandbox"):
        monkeypatch.setattr(f"vox_populi.data.{module}.MAX_CHARACTERS", 10)
    for _ in range(2):
        assert forms.render(variables("a" * 9))[0] == "a" * 9 + "!"
    with pytest.raises(RenderedTooLargeError):
        forms.render(variables("a" * 10))


def test_shapes_are_forgotten_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_forms, "_MOST_SHAPES", 2)
    source = EACH.format("{{ m.content }}!")
    counted = Counted(source, NOW)
    forms = RenderForms(source, NOW, counted)

    def renders(*shapes: Sequence[str]) -> int:
        before = counted.renders
        for texts in shapes:
            assert forms.render(variables(*texts))[0] == "".join(f"{text}!" for text in texts)
        return counted.renders - before

    assert renders("a", "a", "a", "ab", "b") == 3
    assert renders("abc", "a") == 2


def test_generation_blocks_are_found_each_time() -> None:
    source = EACH.format("{% generation %}{{ m.content }}{% endgeneration %}")
    forms = RenderForms(source, NOW, CompiledTemplate(source, NOW))
    spans = [forms.render(variables(text))[1] for text in ("a", "b", "abc")]
    assert spans == [((0, 1),), ((0, 1),), ((0, 3),)]
