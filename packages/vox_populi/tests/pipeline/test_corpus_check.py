"""A corpus examined: counts of hand-made rows, gates, and the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from packages.vox_populi.tests.pages.parsed_page import ParsedPage
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.dataset import RowCache
from vox_populi.data.learned_parts import LearnedParts
from vox_populi.data.row_mask import Finding
from vox_populi.data.template_rows import History
from vox_populi.errors import ConfigError, DataError, PreflightError
from vox_populi.pipeline.corpus_check import (
    CorpusCheckRequest,
    CorpusGates,
    CorpusReport,
    check_corpus,
)
from vox_tensor.tokenizer import VoxTokenizer

LONG = " ".join(f"word{i}" for i in range(60))
ROWS: list[dict[str, Any]] = [
    {"prompt": "one", "response": LONG},
    {"messages": [{"role": "user", "content": "two"}, {"role": "assistant", "content": "yes"}]},
    {"prompt": "one", "response": LONG},
    {"prompt": "one", "response": LONG.replace("word30", "edited")},
    {"prompt": "<|im_end|>", "response": "typed"},
    {"prompt": 7},
    {"prompt": "four", "response": " "},
]
HELDOUT: list[dict[str, Any]] = [
    {"prompt": "one", "response": LONG},
    {"prompt": "two", "response": "another answer"},
    {"prompt": "other", "response": LONG.replace("word5 ", "")},
    {"prompt": "new", "response": "nothing alike"},
]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(rows: list[dict[str, Any]], name: str = "train.jsonl") -> Path:
        path = tmp_path / name
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        path.write_text(text, encoding="utf-8")
        return path

    return written


Write = Callable[..., Path]


def checked(*files: Path, **settings: Any) -> CorpusReport:
    return check_corpus(CorpusCheckRequest(files=files, **settings))


@pytest.mark.requirement("rows")
def test_everything_is_counted(write: Write) -> None:
    report = checked(write(ROWS), heldout=(write(HELDOUT, "valid.jsonl"),))
    found, like = report.found, report.found.likenesses
    assert (found.rows, found.bad, found.usable, found.heldout) == (7, 2, 5, 4)
    assert dict(found.files[0].problems_by_code) == {"MENS-D031": 1, "MENS-D032": 1}
    assert dict(found.layouts) == {"prompt_response": 4, "messages": 1}
    assert found.control_text == 1
    assert (like.repeated, like.repeated_groups, like.near, like.near_groups) == (1, 1, 1, 1)
    assert (like.heldout_same, like.heldout_prompts, like.heldout_near) == (1, 1, 1)
    edited = len(LONG.replace("word30", "edited"))
    answers = 2 * len(LONG) + edited + len("yes") + len("typed")
    prompts = 3 * len("one") + len("two") + len("<|im_end|>")
    assert (found.learned, found.total, found.unit) == (answers, answers + prompts, "characters")
    assert found.lengths["answer characters"].greatest == max(len(LONG), edited)
    places = [each.place.rpartition("/")[2] for _, rows in found.repeated for each in rows]
    assert places == ["train.jsonl:1", "train.jsonl:3"]


def test_tokens_are_counted_as_trained_with_a_tokenizer(write: Write) -> None:
    report = checked(write(ROWS[1:2]), tokenizer=TokenizerKind.VOX, seq_len=20)
    found = report.found
    assert found.masks is not None
    assert report.base == "vox-nano"
    assert (found.unit, found.total) == ("tokens", found.lengths["tokens"].total)
    assert 0 < found.learned < found.total
    cut = checked(write(ROWS[:1]), tokenizer=TokenizerKind.VOX, seq_len=20).found
    assert cut.masks is not None
    assert cut.masks.findings[Finding.CUT_END] == 1
    assert cut.lengths["tokens"].greatest != cut.total == 20


def test_gates(write: Write) -> None:
    train, valid = write(ROWS), write(HELDOUT, "valid.jsonl")
    report = checked(train, heldout=(valid,))
    assert [gate.flag for gate in report.gates if not gate.ok] == ["--max-errors", "--max-overlap"]
    assert [problem.code for problem in report.problems] == ["MENS-D212", "MENS-D212"]
    strict = CorpusGates(
        **{"max_errors": 1, "max_overlap": 1, "max_duplicates": 0.1, "max_near_duplicates": 0.1},
        **{"max_control": 0, "min_learned": 1},
    )
    missed = [
        gate.flag for gate in checked(train, heldout=(valid,), gates=strict).gates if not gate.ok
    ]
    assert missed == ["--max-duplicates", "--max-near-duplicates", "--max-control", "--min-learned"]
    loose = CorpusGates(max_errors=0.5, max_overlap=0.75)
    assert checked(train, heldout=(valid,), gates=loose).ok
    assert checked(write(ROWS[:2], "good.jsonl")).ok


def test_requests_that_make_no_sense_are_refused(write: Write) -> None:
    train = write(ROWS)
    with pytest.raises(ConfigError) as caught:
        checked(train, train, seq_len=9, gates=CorpusGates(max_cut=0.1))
    assert [each.code for each in caught.value.problems] == ["MENS-D218"] * 2 + ["MENS-D217"]
    with pytest.raises(ConfigError):
        checked(train, similarity=0.0)
    with pytest.raises(DataError):
        checked(write([], "empty.jsonl"))


def test_the_file_is_not_changed_and_the_page_replaces_nothing(
    write: Write, tmp_path: Path
) -> None:
    train = write(ROWS)
    before = train.read_bytes()
    page = tmp_path / "page.html"
    checked(train, html=page)
    with pytest.raises(PreflightError):
        checked(train, html=page)
    with pytest.raises(PreflightError):
        checked(train, html=train, force=True)
    checked(train, html=page, force=True)
    assert train.read_bytes() == before


HOSTILE = '</td></script><script>alert(1)</script><svg onload=alert(1)>"\x1b[2J\u202e'


def test_the_page_shows_counts_charts_and_examples_and_runs_nothing(
    write: Write, tmp_path: Path
) -> None:
    rows = [{"prompt": HOSTILE, "response": f"{HOSTILE} {LONG}", "source": HOSTILE}] * 2
    page_file = tmp_path / "page.html"
    train, valid = write([*ROWS, *rows]), write(HELDOUT, "valid.jsonl")
    checked(train, heldout=(valid,), html=page_file, tokenizer=TokenizerKind.VOX, seq_len=400)
    text = page_file.read_text(encoding="utf-8")
    page = ParsedPage(text)
    assert not {"script", "img", "iframe", "object", "link", "base", "form"} & set(page.tags)
    names = {name for _, attributes in page.elements for name in attributes}
    assert not [name for name in names if name.startswith("on") or name in ("src", "href", "style")]
    assert page.tags.count("svg") == 5
    assert len(page.text_in("h2")) == 8
    assert "\x1b" not in text
    assert any("alert(1)" in shown for shown in page.text_in("td"))


REWRITES = (
    "{% for m in messages %}{% set old = m.role == 'assistant' and not loop.last %}"
    "<|im_start|>{{ m.role }}\n{{ 'short' if old else m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(("history", "bad"), [(None, 1), (History.LAST, 0), (History.SPLIT, 0)])
def test_answers_that_a_template_rewrites_are_treated_as_in_training(
    write: Write, tmp_path: Path, history: History | None, bad: int
) -> None:
    pytest.importorskip("tokenizers", reason="needs vox-populi[mens-gpu]")
    base = tmp_path / "base"
    base.mkdir()
    VoxTokenizer().save(base / "tokenizer.json")
    (base / "chat_template.jinja").write_text(REWRITES, encoding="utf-8")
    turns = [("user", "one"), ("assistant", "first"), ("user", "two"), ("assistant", "second")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    train = write([row, {"prompt": "p", "response": "r"}])
    found = checked(train, model_dir=base, history=history).found
    assert found.bad == bad
    assert dict(found.files[0].problems_by_code) == ({"MENS-D143": 1} if bad else {})
    n_rows = 3 if history is History.SPLIT else 2 - bad
    assert found.lengths["tokens"].count == n_rows


def test_json_has_places_and_no_text_of_rows(write: Write) -> None:
    report = checked(write(ROWS), heldout=(write(HELDOUT, "valid.jsonl"),))
    text = json.dumps(report.as_json())
    assert "word30" not in text
    fields = json.loads(text)
    assert fields["overlap"]["same_prompt"] == 1
    assert [each["how"] for each in fields["overlap"]["examples"]] == [
        *("same row", "same prompt", "nearly the same")
    ]
    assert fields["near_duplicates"]["examples"][0]["row"].endswith("train.jsonl:4")


def test_rows_are_left_out_as_in_training(write: Write) -> None:
    rows = [
        {"prompt": "p", "response": "one", "rating": 2, "category": "Code"},
        {"prompt": "p", "response": "two", "rating": 4, "category": "code review"},
        {"prompt": "p", "response": "three", "category": "talk"},
        {"prompt": 7, "rating": 1},
    ]
    path = write(rows)
    assert checked(path).found.left_out == 0
    rated = checked(path, min_rating=3)
    assert (rated.found.rows, rated.found.left_out, rated.found.bad) == (3, 1, 1)
    report = checked(path, min_rating=3, context_filter="code")
    assert (report.found.usable, report.found.left_out) == (1, 2)
    assert report.found.lengths["answer characters"].total == len("two")
    assert report.as_json()["left_out"] == 2
    with pytest.raises(ConfigError):
        checked(path, min_rating=9)


def test_what_is_learned_is_asked_as_in_training(write: Write) -> None:
    talk = [("user", "a"), ("assistant", "bb"), ("user", "c"), ("assistant", "dd")]
    path = write([{"messages": [{"role": role, "content": said} for role, said in talk]}])
    shares = [
        checked(path, tokenizer=TokenizerKind.VOX, learn=learn).found.learned_share
        for learn in (LearnedParts.LAST, LearnedParts.ANSWERS, None, LearnedParts.ALL)
    ]
    assert shares[0] < shares[1] == shares[2] < shares[3]
    with pytest.raises(ConfigError, match="--learn"):
        checked(path, learn=LearnedParts.LAST)


def test_rows_of_large_files_are_encoded_by_all_cores_with_the_same_result(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr("vox_populi.data.row_cache.rows_on_disk._PART_BYTES", 200)
    path = write(ROWS)
    settings: dict[str, Any] = {"tokenizer": TokenizerKind.VOX, "seq_len": 40}
    expected = checked(path, **settings)
    assert expected.found.bad == 2
    monkeypatch.setattr(RowCache, "is_for", lambda *_: True)
    settings["row_cache_dir"] = tmp_path / "cache"
    made = checked(path, **settings)
    assert (made.found, len(made.notes)) == (expected.found, len(expected.notes) + 1)
    encode = VoxTokenizer.encode
    monkeypatch.setattr(
        VoxTokenizer, "encode", lambda self, text: encode(self, text) if len(text) < 9 else None
    )
    assert checked(path, **settings).found == expected.found
    monkeypatch.undo()
    for entry in (tmp_path / "cache").iterdir():
        (entry / "tokens.bin").write_bytes(bytes((entry / "tokens.bin").stat().st_size))
    monkeypatch.setattr(RowCache, "is_for", lambda *_: True)
    assert checked(path, **settings).found == expected.found
