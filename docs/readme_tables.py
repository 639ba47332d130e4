"""The tables of README that follow from the code: model families, and what fits on a card."""

from __future__ import annotations

from collections.abc import Iterator

from memory_page import short_table

from vox_populi.hf.family_registry import FAMILIES

TABLES = ("families", "what fits")
"""Names of the tables; each is between `<!-- NAME -->` and `<!-- end -->`."""


def with_tables(readme: str) -> str:
    """README with its tables written again."""
    for name, lines in zip(TABLES, (family_table(), short_table()), strict=True):
        head, mark, rest = readme.partition(f"<!-- {name} -->")
        _, end, tail = rest.partition("<!-- end -->")
        assert all((mark, end)), f"README has no place for {name}"
        readme = "\n".join([head + mark, *lines, end + tail])
    return readme


def family_table() -> Iterator[str]:
    """Each family with its names, and whether vLLM takes adapters for it."""
    yield "| Family | `model_type` | Class in transformers | Adapters in vLLM |"
    yield "|---|---|---|---|"
    for family in FAMILIES:
        names = ", ".join(f"`{name}`" for name in (family.name, *family.other_names))
        vllm = "yes" if family.vllm_has_lora else "no: merge first"
        yield f"| {family.label} | {names} | `{family.architectures[0]}` | {vllm} |"
