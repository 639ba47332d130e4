from __future__ import annotations

from datetime import UTC, datetime

import pytest

from vox_populi.data.chat_template import ModelTemplate
from vox_populi.errors import DataError, ModelError
from vox_tensor.errors import VoxError

pytest.importorskip("jinja2", reason="needs vox-populi[mens-gpu]")

NOW = datetime(2026, 3, 9, tzinfo=UTC)
CHAT = [{"role": "user", "content": "<b>&'", "name": None}]


def template(text: str) -> ModelTemplate:
    return ModelTemplate(text=text, tokens={"bos_token": "<s>"}, now=NOW)


def code_of(error: VoxError) -> str:
    (problem,) = error.problems
    return problem.code


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{{ bos_token }}{{ eos_token }}|{{ messages[0].content }}", "<s>|<b>&'"),
        ("{% if true %}\n  {% set a = 1 %}\nx\n{% endif %}\n", "x\n"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{{ messages[0].content | tojson }}", '"<b>&\'"'),
        (
            "{{ {'b': 'é', 'a': 1} | tojson(indent=1, sort_keys=true) }}",
            '{\n "a": 1,\n "b": "é"\n}',
        ),
        ("{{ strftime_now('%d %b %Y') }}", "09 Mar 2026"),
        ("{{ 'name' in messages[0] }} {{ tools is none }}", "False True"),
        ("{{ add_generation_prompt }}", "False"),
        ("{% set n = namespace(a=1) %}{% set n.a = 2 %}{{ n.a }}{{ dict(b=3).b }}", "23"),
    ],
)
def test_templates_see_what_transformers_shows_them(text: str, rendered: str) -> None:
    assert template(text).render(CHAT).text == rendered


def test_generation_blocks_are_spans() -> None:
    blocks = template("a{% generation %}bc{% endgeneration %}d{% generation %}e{% endgeneration %}")
    rendered = blocks.render(CHAT)
    assert (rendered.text, rendered.generated) == ("abcde", ((1, 3), (4, 5)))
    assert blocks.marks_generated
    assert blocks.render(CHAT) == rendered
    assert not template("{# {% generation %} #}").marks_generated


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{{ raise_exception('roles must alternate') }}", "MENS-D140"),
        ("{{ messages[0].content + 1 }}", "MENS-D140"),
        ("{{ ''.__class__.__mro__ }}", "MENS-D140"),
        ("{{ messages.append(1) }}", "MENS-D140"),
        ("{% set n = namespace() %}{% set n._a = 1 %}", "MENS-D140"),
        ("{{ 'a' * 99999999 }}", "MENS-D141"),
        ("{{ [1] * 99999999 }}", "MENS-D141"),
        ("{{ 9 ** 999999 }}", "MENS-D141"),
        (
            "{% for i in range(9999) %}{% for j in range(9999) %}aaaaaaaaa{% endfor %}{% endfor %}",
            "MENS-D141",
        ),
    ],
)
def test_a_template_that_fails_or_runs_away_is_the_rows_problem(text: str, code: str) -> None:
    with pytest.raises(DataError) as caught:
        template(text).render(CHAT, place="train.jsonl:7")
    assert code_of(caught.value) == code
    assert caught.value.problems[0].where == "train.jsonl:7"


@pytest.mark.parametrize("text", ["{% if %}", "{% generation %}", "{% unknown %}", "{{"])
def test_a_text_that_is_no_template_is_refused(text: str) -> None:
    with pytest.raises(ModelError) as caught:
        template(text)
    assert code_of(caught.value) == "MENS-H110"


def test_the_digest_holds_text_tokens_and_a_used_date() -> None:
    later = datetime(2027, 1, 1, tzinfo=UTC)
    plain = ModelTemplate(text="a", tokens={"eos_token": "b"}, now=NOW)
    assert plain.digest == ModelTemplate(text="a", tokens={"eos_token": "b"}, now=later).digest
    assert plain.digest != ModelTemplate(text="a", tokens={"eos_token": "c"}, now=NOW).digest
    assert plain.digest != ModelTemplate(text="b", tokens={"eos_token": "b"}, now=NOW).digest
    dated = "{{ strftime_now('%d') }}"
    assert ModelTemplate(text=dated, now=NOW).digest != ModelTemplate(text=dated, now=later).digest
