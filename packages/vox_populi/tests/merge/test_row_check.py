"""What is made of three models' scores on the same rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

from vox_populi.hf.model_config import parse_model_config  # noqa: E402 - torch may be absent
from vox_populi.merge.receipt import (  # noqa: E402
    ROW_TOLERANCES,
    TIE_TOLERANCE,
    RowCheck,
    RowTolerance,
)
from vox_populi.merge.row_check import (  # noqa: E402
    RowScores,
    row_check,
    score_rows,
    tokens_to_check,
)
from vox_populi.model.transformer import Transformer  # noqa: E402
from vox_tensor.records import IGNORE_INDEX, EncodedRow  # noqa: E402

ROWS = (EncodedRow((1, 2, 3), (IGNORE_INDEX, 2, 3)),)
TOLERANCE = ROW_TOLERANCES["merged"]


def scores(first: list[int], second: list[int], margin: float, loss: float = 1.0) -> RowScores:
    best = torch.full((len(first),), 8.0)
    return RowScores(
        loss=loss,
        top_P2=torch.tensor([first, second]).T,
        logits_P2=torch.stack([best, best - margin], dim=-1),
        largest_logit=8.0,
    )


def test_changed_choices_are_counted_apart() -> None:
    base = scores([1, 1, 1, 1], [9, 9, 9, 9], 1.0)
    adapter = scores([1, 2, 3, 4], [9, 9, 9, 9], 1.0)
    merged = scores([1, 2, 3, 1], [9, 9, 9, 9], 1.0)
    found = row_check("train", ROWS, (base, adapter, merged), TOLERANCE)
    assert (found.learned, found.same, found.changed, found.kept) == (4, 3, 3, 2)
    assert found.kept_changes == pytest.approx(2 / 3)


@pytest.mark.parametrize(("margin", "same"), [(0.5, 0), (2.0, 0)])
def test_the_second_best_token_counts_only_in_a_tie(margin: float, same: int) -> None:
    bound = TIE_TOLERANCE.bound(8.0)
    base, merged = scores([7], [8], 1.0), scores([2], [1], 1.0)
    tie = row_check("train", ROWS, (base, scores([1], [2], bound / 2), merged), TOLERANCE)
    clear = row_check("train", ROWS, (base, scores([1], [2], margin), merged), TOLERANCE)
    assert (tie.same, clear.same) == (1, same)


def check(**changes: object) -> RowCheck:
    whole = RowCheck(
        origin="held_out",
        rows=4,
        tokens=400,
        learned=200,
        changed=100,
        same=200,
        kept=100,
        base_loss=3.0,
        adapter_loss=1.0,
        merged_loss=1.0,
        tolerance=RowTolerance(agreement=0.97, kept_changes=0.98, lost_gain=0.1, why="a test"),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    ("changes", "is_within"),
    [
        ({}, True),
        ({"same": 194}, True),
        ({"same": 193}, False),
        ({"kept": 98}, True),
        ({"kept": 97}, False),
        ({"merged_loss": 1.199}, True),
        ({"merged_loss": 1.201}, False),
        ({"merged_loss": 0.1}, True),
        ({"merged_loss": float("nan")}, False),
        ({"adapter_loss": float("nan")}, False),
        # An adapter that gained nothing, and one that changed no choice.
        ({"adapter_loss": 3.0, "merged_loss": 9.0}, True),
        ({"changed": 0, "kept": 0}, True),
        ({"changed": 0, "kept": 0, "same": 193}, False),
    ],
)
def test_each_yardstick_decides_alone(changes: dict[str, object], is_within: bool) -> None:
    assert check(**changes).is_within == is_within


def test_the_receipt_has_the_figures_and_nothing_of_the_rows() -> None:
    found = check(merged_loss=1.1).as_json()
    assert found["gain_kept"] == pytest.approx(0.95)
    assert found["loss"] == {"base": 3.0, "adapter": 1.0, "merged": 1.1}
    assert found["is_within"] is True
    assert not {"ids", "prompts"} & set(found)
    nan = check(merged_loss=float("nan")).as_json()
    assert nan["gain_kept"] is None
    assert nan["loss"] == {"base": 3.0, "adapter": 1.0, "merged": None}


def config(**changes: object) -> object:
    raw = {
        "model_type": "llama",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
        "vocab_size": 40,
        **changes,
    }
    return parse_model_config(raw, "test")


def test_a_larger_model_runs_fewer_tokens_and_never_too_few() -> None:
    small = config()
    large = config(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32)
    middle = config(hidden_size=1024, intermediate_size=4096, num_hidden_layers=28)
    assert tokens_to_check(small) == 1024  # type: ignore[arg-type]  # built by the parser
    assert tokens_to_check(large) == 256  # type: ignore[arg-type]
    assert 256 < tokens_to_check(middle) < 1024  # type: ignore[arg-type]


def test_scores_are_those_of_each_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    model = Transformer(config())  # type: ignore[arg-type]
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    rows = [
        EncodedRow((5, 6, 7, 8), (IGNORE_INDEX, IGNORE_INDEX, 7, 8)),
        EncodedRow((9, 10, 11), (IGNORE_INDEX, 10, 11)),
    ]
    # Three positions at a time, so that the last chunk is a shorter one.
    monkeypatch.setattr("vox_populi.merge.row_check._CHUNK_LOGITS", 3 * 40)
    both = score_rows(lambda: model, rows)
    alone = [score_rows(lambda: model, [row]) for row in rows]
    assert both.top_P2.tolist() == [top for each in alone for top in each.top_P2.tolist()]
    assert both.loss == pytest.approx(sum(each.loss for each in alone) / 2, rel=1e-6)
    assert alone[0].loss != alone[1].loss
