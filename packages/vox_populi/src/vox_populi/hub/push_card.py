"""`README.md` of what is sent to the hub: front matter, how to load it, what training measured.

Nothing in it names a place, a file of rows or the system prompt of the training. No torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vox_populi.files.json_fields import take_object, take_present
from vox_populi.runs.model_card import code_span

_FENCE = "---"


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What a card says."""

    repository: str
    base_name: str
    """The base's name on the hub."""
    config: Mapping[str, object]
    """The adapter's `adapter_config.json`."""
    manifest: Mapping[str, object]
    """The manifest of its run; empty for an adapter without one."""
    has_tokenizer: bool
    """Whether the upload has a tokenizer of its own."""


def adapter_card(facts: CardFacts) -> bytes:
    """The card, without dates and paths; no license, which is for the author to choose."""
    return ("\n".join(_lines(facts)) + "\n").encode()


def model_card(repository: str) -> bytes:
    """The card of a model folder that has none."""
    lines = (_FENCE, "library_name: transformers", "pipeline_tag: text-generation", _FENCE)
    title = repository.rpartition("/")[2]
    return "\n".join([*lines, "", f"# {title}", ""]).encode()


def _has_front_matter(card: bytes) -> bool:
    """Whether a card begins with the lines that the hub reads."""
    return card.replace(b"\r\n", b"\n").startswith(f"{_FENCE}\n".encode())


def with_front_matter(card: bytes, facts: CardFacts) -> bytes:
    """A card with front matter in front of it, unless it has its own."""
    if _has_front_matter(card):
        return card
    return "\n".join([*_front_matter(facts), "", ""]).encode() + card


def _front_matter(facts: CardFacts) -> Iterator[str]:
    yield _FENCE
    yield f"base_model: {facts.base_name}"
    yield "library_name: peft"
    yield "pipeline_tag: text-generation"
    yield "tags:"
    yield "- lora"
    if facts.manifest.get("candle_compat_mode") is True:
        yield "- qlora"
    yield "- vox-mens"
    yield _FENCE


def _lines(facts: CardFacts) -> Iterator[str]:
    yield from _front_matter(facts)
    base, name = facts.base_name, facts.repository.rpartition("/")[2]
    yield ""
    yield f"# {name}"
    yield ""
    yield f"LoRA adapter for [{base}](https://huggingface.co/{base}), in PEFT's form."
    yield ""
    yield "## Use"
    yield ""
    yield "```python"
    yield "from peft import AutoPeftModelForCausalLM"
    yield "from transformers import AutoTokenizer"
    yield ""
    yield f'model = AutoPeftModelForCausalLM.from_pretrained("{facts.repository}")'
    tokenizer = facts.repository if facts.has_tokenizer else base
    yield f'tokenizer = AutoTokenizer.from_pretrained("{tokenizer}")'
    yield "```"
    yield ""
    yield "## Training"
    yield ""
    yield "| | |"
    yield "|---|---|"
    for label, value in _figures(facts):
        yield f"| {label} | {value} |"
    yield ""
    yield "Losses are means over supervised tokens, in nats. The base's license and limits come"
    yield "with this adapter."


def _figures(facts: CardFacts) -> Iterator[tuple[str, str]]:
    config, manifest = facts.config, facts.manifest
    yield "adapter", f"rank {_number(config.get('r'))}, alpha {_number(config.get('lora_alpha'))}"
    if not manifest:
        return
    results, optimizer = take_object(manifest, "results"), take_object(manifest, "optimizer")
    commit = take_present(manifest, "base_commit", str)
    if commit:
        yield "base at commit", code_span(commit)
    yield "template", code_span(manifest.get("template"))
    yield "arithmetic", code_span(manifest.get("compute_dtype"))
    yield "steps", f"{results.get('steps')} of {manifest.get('rows_per_step')} rows"
    yield "supervised tokens", f"{results.get('supervised_tokens')}"
    yield (
        "optimizer",
        f"{code_span(optimizer.get('name'))}, learning rate"
        f" {_number(optimizer.get('learning_rate'))}, {code_span(optimizer.get('schedule'))}"
        f" schedule, seed {manifest.get('seed')}",
    )
    for label, key in (
        ("training loss, last epoch", "train_loss"),
        ("held-out loss before", "heldout_loss_before"),
        ("held-out loss after", "heldout_loss_after"),
    ):
        value = results.get(key)
        if isinstance(value, float):
            yield label, f"{value:.4f}"


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else "?"
