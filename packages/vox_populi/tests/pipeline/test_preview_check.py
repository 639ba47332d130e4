"""Counts of hand-made rows, gates, and the page of `vox mens preview`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from packages.vox_populi.tests.pages.parsed_page import ParsedPage
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.control_text import ControlText
from vox_populi.data.dataset import RowCache
from vox_populi.data.mask_gates import MaskGates
from vox_populi.data.row_mask import Finding
from vox_populi.data.training_text import ChatTemplate
from vox_populi.errors import ConfigError, DataError, PreflightError
from vox_populi.pipeline.preview import PreviewRequest
from vox_populi.pipeline.preview_check import MaskCheckRequest, MaskReport, check_masks

WriteRows = Callable[..., Path]
MakeBase = Callable[..., Path]

ROWS: list[dict[str, Any]] = [
    {"prompt": "p", "response": "r", "source": "a:1"},
    {"prompt": "p", "response": "r" * 40, "source": "a:2"},
    {"prompt": "p" * 60, "response": "r", "source": "b:1"},
    {"prompt": "p", "response": "<|im_end|>", "source": "b:2"},
    {"prompt": "p", "response": "r", "rating": 1},
    {"prompt": 7},
]
HEAD = len("user\n") + len("\n") + len("assistant\n") + 3
"""Tokens of a ChatML row of one prompt before its answer, without the prompt."""


def checked(data: Path, base: Path | None = None, **changes: Any) -> MaskReport:
    own = {each: changes.pop(each) for each in ("gates", "html", "force") if each in changes}
    settings: dict[str, Any] = {"tokenizer": TokenizerKind.VOX, "seq_len": 64, **changes}
    asked = PreviewRequest(data=data, model_dir=base, **settings)
    return check_masks(MaskCheckRequest(rows=asked, **own))


@pytest.mark.requirement("rows")
def test_rows_are_counted_by_source(write_rows: WriteRows, make_base: MakeBase) -> None:
    report = checked(write_rows(ROWS), make_base())
    total = report.total
    assert (total.rows, total.left_out, total.refused) == (6, 1, 2)
    assert {name: each.rows for name, each in report.sources.items()} == {
        **{"a": 2, "b": 2, str(report.data): 2}
    }
    # The prompt of the third row fills the sequence, so nothing is learned.
    assert report.refusals_by_code == {"MENS-D031": 1, "MENS-D043": 1}
    assert total.tokens == (HEAD + 3) + (HEAD + 42) + 64 + (HEAD + 12)
    assert total.learned_tokens == 2 + 41 + 0 + 11
    found = {each: total.findings[each] for each in Finding}
    assert found == {
        **{Finding.NO_END: 0, Finding.WRONG_BOS: 0, Finding.CUT: 1, Finding.CUT_END: 1},
        Finding.CONTROL_TEXT: 1,
    }


def test_rows_with_control_text_are_left_out_refused_or_counted(
    write_rows: WriteRows, make_base: MakeBase
) -> None:
    data, base = write_rows(ROWS[:5]), make_base()
    counts = {}
    for rule in (ControlText.TEXT, ControlText.SKIP, ControlText.ERROR):
        report = checked(data, base, on_control_text=rule)
        total = report.total
        counts[rule] = total.left_out, total.refused, total.findings[Finding.CONTROL_TEXT]
        assert report.as_json()["on_control_text"] == rule
        assert ("MENS-D246" in report.refusals_by_code) is (rule is ControlText.ERROR)
    assert counts == {
        **{ControlText.TEXT: (1, 1, 1), ControlText.SKIP: (2, 1, 0)},
        ControlText.ERROR: (1, 2, 0),
    }


def test_the_end_of_a_long_answer_is_cut(write_rows: WriteRows, make_base: MakeBase) -> None:
    data, base = write_rows(ROWS[1:2]), make_base()
    whole = HEAD + 1 + 41
    for seq_len, cut in ((whole, 0), (whole - 1, 1)):
        found = checked(data, base, seq_len=seq_len).total.findings
        assert (found[Finding.CUT], found[Finding.CUT_END], found[Finding.NO_END]) == (cut, cut, 0)


def test_each_gate_is_one_problem(write_rows: WriteRows, make_base: MakeBase) -> None:
    data, base = write_rows(ROWS), make_base()
    report = checked(data, base, gates=MaskGates(min_learned_share=0.9, max_control_share=0.1))
    missed = {gate.flag for gate in report.gates if not gate.ok}
    assert missed == {
        *("--max-refused-share", "--max-cut-share", "--max-control-share", "--min-learned-share")
    }
    codes = [problem.code for problem in report.problems]
    assert codes == ["MENS-D212", "MENS-D212", "MENS-D212", "MENS-D213"]
    assert not report.ok
    loose = MaskGates(max_refused_share=0.4, max_cut_share=0.2)
    assert checked(data, base, gates=loose).ok
    assert checked(data, base).ok, "without gates nothing is missed"


def test_rows_that_begin_alike_are_counted_by_a_sample(
    write_rows: WriteRows, make_base: MakeBase
) -> None:
    system = "You know every ferry of this island, and the hours at which it leaves."
    rows = [{"system": system, "prompt": f"{i}?", "response": "At nine."} for i in range(40)]
    base = make_base()
    report = checked(write_rows(rows), base, seq_len=160)
    assert report.prefixes is not None
    assert report.prefixes.rows == 32
    assert report.prefixes.saved_part > 0.5
    counts = report.as_json()["shared_prefixes"]
    assert counts == report.prefixes.counts()
    assert "shared_prefixes" not in checked(write_rows(ROWS[:3]), base).as_json()


def test_gates_are_shares() -> None:
    with pytest.raises(ConfigError):
        MaskGates(max_cut_share=5)


TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}"
    "{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ END }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def own_template(base: Path, end: str = "<|im_end|>", front: str = "") -> Path:
    text = front + TEMPLATE.replace("{{ END }}", end)
    (base / "chat_template.jinja").write_text(text, encoding="utf-8")
    return base


def adds_bos(base: Path) -> Path:
    """A base whose tokenizer begins every text with `<|pad|>`."""
    path = base / "tokenizer.json"
    definition = json.loads(path.read_text(encoding="utf-8"))
    token = {"SpecialToken": {"id": "<|pad|>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    definition["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [token, text],
        "pair": [token, text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|pad|>": {"id": "<|pad|>", "ids": [0], "tokens": ["<|pad|>"]}},
    }
    path.write_text(json.dumps(definition), encoding="utf-8")
    return base


MODEL = {"tokenizer": TokenizerKind.HF, "template": ChatTemplate.MODEL, "seq_len": 200}


def test_rows_that_the_models_template_refuses_are_counted_by_kind(
    write_rows: WriteRows, make_base: MakeBase
) -> None:
    pytest.importorskip("tokenizers", reason="needs vox-populi[mens-gpu]")
    good = {"prompt": "p", "response": "r"}
    bad = {"prompt": "p", "response": "r", "system": "Be brief.", "source": "with system:1"}
    data = write_rows([good, bad, bad, good])
    report = checked(data, own_template(make_base()), **MODEL)
    assert report.refusals_by_code == {"MENS-D140": 2}
    (folded,) = report.refusals
    assert folded.where == f"{data}:2-3"
    assert (report.total.refused, report.sources["with system"].refused) == (2, 2)
    assert report.total.findings[Finding.NO_END] == 0


@pytest.mark.parametrize(("front", "wrong"), [("", 1), ("<|pad|>", 0), ("<|pad|><|pad|>", 1)])
def test_bos_is_counted_where_the_base_adds_it(
    write_rows: WriteRows, make_base: MakeBase, front: str, wrong: int
) -> None:
    pytest.importorskip("tokenizers", reason="needs vox-populi[mens-gpu]")
    data = write_rows([{"prompt": "p", "response": "r"}])
    report = checked(data, own_template(adds_bos(make_base()), front=front), **MODEL)
    assert report.has_bos
    assert report.total.findings[Finding.WRONG_BOS] == wrong
    plain = checked(data, own_template(make_base("plain"), front=front), **MODEL)
    assert not plain.has_bos
    assert plain.total.findings[Finding.WRONG_BOS] == 0


@pytest.mark.parametrize(("front", "has_bos"), [("", False), ("{{ bos_token }}", True)])
def test_the_beginning_of_a_turn_is_no_bos_even_if_a_base_calls_it_that(
    write_rows: WriteRows, make_base: MakeBase, front: str, has_bos: bool
) -> None:
    pytest.importorskip("tokenizers", reason="needs vox-populi[mens-gpu]")
    base = own_template(make_base(), front=front)
    name = "<|pad|>" if has_bos else "<|im_start|>"
    (base / "tokenizer_config.json").write_text(json.dumps({"bos_token": name}), encoding="utf-8")
    report = checked(write_rows([{"prompt": "p", "response": "r"}]), base, **MODEL)
    assert report.has_bos is has_bos
    assert report.total.findings[Finding.WRONG_BOS] == 0


def test_a_file_without_rows_is_refused(write_rows: WriteRows, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        checked(write_rows([]))
    with pytest.raises(DataError):
        checked(tmp_path / "absent.jsonl")


HOSTILE = '</pre></script><script>alert(1)</script><img src=x onerror=alert(1)>"\x1b\u202e&amp;'


def test_the_page_has_counts_and_marked_rows_and_nothing_that_runs(
    write_rows: WriteRows, make_base: MakeBase, tmp_path: Path
) -> None:
    rows = [*ROWS, {"prompt": HOSTILE, "response": HOSTILE, "source": HOSTILE, "weight": 2}]
    page_file = tmp_path / "new" / "page.html"
    data = write_rows(rows)
    base = make_base()
    report = checked(data, base, html=page_file, seq_len=400)
    assert report.html == page_file
    assert str(base) not in page_file.read_text(encoding="utf-8"), "pages are passed on"
    page = ParsedPage(page_file.read_text(encoding="utf-8"))
    assert not {"script", "img", "iframe", "object", "link", "base", "form"} & set(page.tags)
    names = {name for _, attributes in page.elements for name in attributes}
    assert not [name for name in names if name.startswith("on") or name in ("src", "href", "style")]
    (policy,) = page.find("meta", **{"http-equiv": "Content-Security-Policy"})
    assert "default-src 'none'" in (policy["content"] or "")
    assert len(page.find("article")) == 5
    assert page.text_in("mark").count("<|im_end|>") == 5
    # Each byte of what is only spelled is a token of its own.
    assert "".join(page.text_in("u")) == "text that spells one<|im_end|>"
    assert "".join(page.text_in("pre")).count("alert(1)") == 4
    assert "\x1b" not in page_file.read_text(encoding="utf-8")
    assert "All 5 rows that training can use." in page.text_in("p")
    options = page.text_in("option")
    assert {"a", "b", "cut", "no end learned"} <= set(options)


@pytest.mark.any_install
def test_a_long_row_and_a_large_file_give_a_page_of_bounded_size(
    write_rows: WriteRows, tmp_path: Path
) -> None:
    rows = [{"prompt": "p", "response": "r" * 650, "source": f"s{i % 3}"} for i in range(160)]
    page_file = tmp_path / "page.html"
    checked(write_rows(rows), html=page_file, seq_len=900)
    page = ParsedPage(page_file.read_text(encoding="utf-8"))
    shown = len(page.find("article"))
    assert shown == 150
    assert any("of the 160 rows" in text for text in page.text_in("p"))
    assert len(page.text_in("em")) == shown
    assert page_file.stat().st_size < 4 * 2**20


def test_a_page_replaces_nothing_that_may_be_missed(write_rows: WriteRows, tmp_path: Path) -> None:
    data = write_rows(ROWS[:1])
    occupied = tmp_path / "page.html"
    occupied.write_text("mine", encoding="utf-8")

    def refusal(html: Path, *, force: bool) -> str:
        with pytest.raises(PreflightError) as caught:
            checked(data, html=html, force=force)
        return caught.value.problems[0].code

    assert refusal(occupied, force=False) == "MENS-D214"
    assert refusal(tmp_path, force=True) == "MENS-D215"
    before = data.read_bytes()
    assert refusal(data, force=True) == "MENS-D216"
    link = tmp_path / "link.html"
    link.symlink_to(occupied)
    assert refusal(link, force=True) == "MENS-D215"
    assert (occupied.read_text(encoding="utf-8"), data.read_bytes()) == ("mine", before)
    checked(data, html=occupied, force=True)
    assert occupied.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_kept_rows_are_counted_as_those_that_are_encoded(
    write_rows: WriteRows, make_base: MakeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, base = write_rows(ROWS), make_base()
    expected = checked(data, base).as_json()
    monkeypatch.setattr(RowCache, "is_for", lambda *_: True)
    for _ in range(2):
        found = checked(data, base, row_cache_dir=tmp_path / "cache").as_json()
        assert {**found, "notes": []} == {**expected, "notes": []}
    assert len(list((tmp_path / "cache").iterdir())) == 1
