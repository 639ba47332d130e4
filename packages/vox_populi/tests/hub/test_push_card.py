from __future__ import annotations

from typing import Any

import pytest

from vox_populi.hub.push_card import CardFacts, adapter_card, model_card, with_front_matter

yaml = pytest.importorskip("yaml", reason="needs pyyaml")

MANIFEST: dict[str, Any] = {
    "base_commit": "a" * 40,
    "template": "chatml",
    "compute_dtype": "float32",
    "rows_per_step": 8,
    "seed": 3,
    "train_file": "private-rows.jsonl",
    "system_prompt": "private prompt",
    "results": {"steps": 7, "supervised_tokens": 900, "train_loss": 1.25},
    "optimizer": {"name": "adamw", "learning_rate": 2e-4, "schedule": "linear"},
}


def facts(**changes: Any) -> CardFacts:
    given: dict[str, Any] = {
        "repository": "me/first",
        "base_name": "org/base",
        "config": {"r": 8, "lora_alpha": 16},
        "manifest": MANIFEST,
        "has_tokenizer": True,
    }
    return CardFacts(**{**given, **changes})


def front_of(card: bytes) -> dict[str, Any]:
    _, front, _ = card.decode().split("---\n", 2)
    found = yaml.safe_load(front)
    assert isinstance(found, dict)
    return found


def test_the_front_matter_is_what_the_hub_reads() -> None:
    assert front_of(adapter_card(facts())) == {
        "base_model": "org/base",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "vox-mens"],
    }
    qlora = facts(manifest={**MANIFEST, "candle_compat_mode": True})
    assert front_of(adapter_card(qlora))["tags"] == ["lora", "qlora", "vox-mens"]
    assert front_of(model_card("me/whole"))["library_name"] == "transformers"


def test_figures_are_stated_and_private_things_are_not() -> None:
    card = adapter_card(facts()).decode()
    for figure in ("rank 8, alpha 16", "7 of 8 rows", "900", "1.2500", "0.0002", "a" * 40):
        assert figure in card
    assert "private" not in card
    assert "held-out" not in card, "nothing was held out"


def test_an_adapter_without_a_run_has_no_figures() -> None:
    card = adapter_card(facts(manifest={}, has_tokenizer=False)).decode()
    assert "rank 8" in card
    assert "steps" not in card
    assert 'AutoTokenizer.from_pretrained("org/base")' in card


@pytest.mark.parametrize("own", [b"---\nlicense: mit\n---\n# Mine\n", b"---\r\na: 1\r\n---\r\n"])
def test_a_card_with_front_matter_stays_as_it_is(own: bytes) -> None:
    assert with_front_matter(own, facts()) == own


def test_a_card_without_gets_it() -> None:
    card = with_front_matter(b"# Mine\n", facts())
    assert front_of(card)["base_model"] == "org/base"
    assert card.endswith(b"---\n\n# Mine\n")
