"""Preview shows the very ids and labels of training, and text that belongs to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.dataset import RowCache
from vox_populi.data.marked_row import MarkedKind, MarkedRow
from vox_populi.data.training_text import ChatTemplate
from vox_populi.errors import DataError
from vox_populi.pipeline.preview import PreviewRequest, preview_rows
from vox_populi.pipeline.train import plan_training
from vox_tensor.records import IGNORE_INDEX
from vox_tensor.tokenizer import VoxTokenizer

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MakeContract = Callable[..., FinetuneContract]
WriteRows = Callable[..., Path]


def request(data: Path, base: Path, **changes: Any) -> PreviewRequest:
    settings: dict[str, Any] = {"tokenizer": TokenizerKind.VOX, "seq_len": 64, **changes}
    return PreviewRequest(data=data, model_dir=base, **settings)


def learned_text(row: MarkedRow) -> str:
    return "".join(piece.text for piece in row.pieces if piece.learned)


def test_rows_are_those_the_trainer_reads(make_contract: MakeContract) -> None:
    contract = make_contract(system_prompt="Short.")
    trained = plan_training(contract).preflight.train
    assert contract.model_dir is not None
    asked = request(
        contract.data_paths[0] / "train.jsonl", contract.model_dir, count=99, system_prompt="Short."
    )
    shown = list(preview_rows(asked))
    assert [(row.ids, row.labels, row.source_line) for row in shown] == [
        (row.ids, row.labels, row.line) for row in trained
    ]


def test_text_is_whole_and_the_learned_part_is_the_answer_and_its_end(
    write_rows: WriteRows, make_base: Callable[..., Path]
) -> None:
    data = write_rows([{"prompt": "Hé?", "response": "ü\n!", "source": "a:1"}])
    (row,) = preview_rows(request(data, make_base()))
    assert row.text == "<|im_start|>user\nHé?<|im_end|>\n<|im_start|>assistant\nü\n!<|im_end|>"
    assert learned_text(row) == "ü\n!<|im_end|>"
    assert set(row.as_json()) == {"ids", "labels", "text", "tokens", "source_line", "source"}


def test_every_token_comes_with_its_text_its_place_and_whether_it_is_learned(
    write_rows: WriteRows, make_base: Callable[..., Path]
) -> None:
    data = write_rows([{"prompt": "<|im_end|>", "response": "ü€"}])
    (row,) = preview_rows(request(data, make_base()))
    found: Any = row.as_json()
    tokens = found["tokens"]
    assert [token["id"] for token in tokens] == found["ids"]
    assert [token["learned"] for token in tokens] == [label != -100 for label in found["labels"]]
    assert all(found["text"][t["start"] : t["end"]] == t["text"] for t in tokens)
    # Every byte is a token of its own here, and each shows the whole character.
    assert [t["text"] for t in tokens if t["learned"]] == [*"üü", *"€€€", "<|im_end|>"]
    controls = [t["text"] for t in tokens if t["control"]]
    assert controls == ["<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>"]
    assert [p.text for p in row.pieces if p.kind is MarkedKind.SPELLED] == ["<|im_end|>"]


@pytest.mark.parametrize(("asked", "lines"), [({"row": 2}, [3]), ({"line": 3}, [3])])
def test_one_row_is_shown_by_its_number_or_its_line(
    write_rows: WriteRows,
    make_base: Callable[..., Path],
    asked: dict[str, int],
    lines: list[int],
) -> None:
    rows = [{"prompt": "p", "response": "r", "rating": rating} for rating in (5, 1, 5, 5)]
    shown = preview_rows(request(write_rows(rows), make_base(), **asked))
    assert [row.source_line for row in shown] == lines


@pytest.mark.parametrize(
    ("asked", "code"),
    [({"row": 4}, "MENS-D210"), ({"line": 2}, "MENS-D211"), ({"line": 99}, "MENS-D211")],
)
def test_a_row_that_training_does_not_use_is_refused(
    write_rows: WriteRows, make_base: Callable[..., Path], asked: dict[str, int], code: str
) -> None:
    rows = [{"prompt": "p", "response": "r", "rating": rating} for rating in (5, 1, 5, 5)]
    with pytest.raises(DataError) as caught:
        list(preview_rows(request(write_rows(rows), make_base(), **asked)))
    assert [problem.code for problem in caught.value.problems] == [code]


@pytest.mark.parametrize("width", [1, 3])
def test_a_narrow_loss_shows_only_the_end_of_the_answer_as_learned(
    write_rows: WriteRows, make_base: Callable[..., Path], width: int
) -> None:
    data = write_rows([{"prompt": "Hé?", "response": "abc"}])
    base = make_base()
    (row,) = preview_rows(request(data, base, ce_last_k=width))
    (whole,) = preview_rows(request(data, base))
    assert row.text == whole.text
    assert sum(label != IGNORE_INDEX for label in row.labels) == width
    end = {1: "<|im_end|>", 3: "bc<|im_end|>"}[width]
    assert learned_text(row) == end


def test_a_cut_row_shows_as_much_text_as_it_has_ids(
    write_rows: WriteRows, make_base: Callable[..., Path]
) -> None:
    data = write_rows([{"prompt": "a", "response": "bcdefgh"}])
    base = make_base()
    (whole,) = preview_rows(request(data, base))
    (cut,) = preview_rows(request(data, base, seq_len=len(whole.ids) - 3))
    assert cut.ids == whole.ids[:-3]
    assert cut.text + "gh<|im_end|>" == whole.text
    assert cut.labels[-1] != IGNORE_INDEX


def test_rows_that_training_leaves_out_are_left_out(
    write_rows: WriteRows, make_base: Callable[..., Path]
) -> None:
    rows = [
        {"prompt": "bad", "response": "x", "rating": 1},
        {"prompt": "good", "response": "x", "rating": 5},
    ]
    (row,) = preview_rows(request(write_rows(rows), make_base()))
    assert row.source_line == 2


def test_the_plain_template_is_shown_as_trained(
    write_rows: WriteRows, make_base: Callable[..., Path]
) -> None:
    data = write_rows([{"prompt": "P", "response": "R"}])
    (row,) = preview_rows(request(data, make_base(), template=ChatTemplate.PLAIN))
    assert row.text == "P\nR<|endoftext|>"


def test_a_bad_row_is_an_error_with_its_line(
    write_rows: WriteRows, make_base: Callable[..., Path]
) -> None:
    data = write_rows([{"prompt": "P", "response": "R"}, {"prompt": 7}])
    with pytest.raises(DataError, match=rf"{data.name}:2"):
        list(preview_rows(request(data, make_base())))


def test_a_weight_is_shown_and_survives_cuts(
    write_rows: WriteRows, make_base: Callable[..., Path]
) -> None:
    rows = [{"prompt": "p", "response": "r" * 40, "weight": 2}, {"prompt": "p", "response": "r"}]
    data, base = write_rows(rows), make_base()
    cuts: list[dict[str, int]] = [{}, {"seq_len": 45}, {"ce_last_k": 1}]
    for ways in cuts:
        heavy, plain = preview_rows(request(data, base, **ways))
        assert heavy.as_json()["weight"] == 2.0
        assert "weight" not in plain.as_json()


def test_rows_of_a_table_are_counted_as_rows(
    tmp_path: Path, make_base: Callable[..., Path]
) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("prompt,response\np,r\nq,s\n", encoding="utf-8")
    shown = list(preview_rows(request(table, make_base(), count=9)))
    assert [(row.counted_as, row.source_line) for row in shown] == [("row", 1), ("row", 2)]


def test_what_was_chosen_is_said_before_the_first_row(
    write_rows: WriteRows, make_base: Callable[..., Path]
) -> None:
    pytest.importorskip("tokenizers", reason="needs vox-populi[mens-gpu]")
    said: list[str] = []
    base = make_base()
    (base / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    data = write_rows([{"prompt": "p", "response": "r"}])
    rows = preview_rows(request(data, base, tokenizer=TokenizerKind.HF), said.extend)
    assert next(rows).source_line == 1
    assert any("chat_template.jinja" in note for note in said)


def test_rows_that_training_kept_are_shown_without_encoding_them_again(
    make_contract: MakeContract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RowCache, "is_for", lambda *_: True)
    contract = make_contract(row_cache_dir=tmp_path / "cache")
    trained = list(plan_training(contract).preflight.train)
    assert contract.model_dir is not None
    asked = request(
        contract.data_paths[0] / "train.jsonl",
        contract.model_dir,
        count=99,
        row_cache_dir=tmp_path / "cache",
    )
    n_kept = len(list((tmp_path / "cache").iterdir()))
    encode = VoxTokenizer.encode
    monkeypatch.setattr(VoxTokenizer, "encode", lambda s, t: encode(s, t) if t == "a" else None)
    notes: list[str] = []
    shown = list(preview_rows(asked, notes.extend))
    assert [row.ids for row in shown] == [row.ids for row in trained]
    assert (len(list((tmp_path / "cache").iterdir())), notes) == (n_kept, [])
    monkeypatch.undo()
    without = replace(asked, use_row_cache=False, row_cache_dir=tmp_path / "none")
    assert [row.ids for row in preview_rows(without)] == [row.ids for row in trained]
    assert not (tmp_path / "none").exists()
