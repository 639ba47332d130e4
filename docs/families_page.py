"""The page of model families: what was proven of each, and by which tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.proven_families import TRANSFORMERS_VERSION, proven_families
from vox_populi.hf.proven_family import Proven, ProvenFamily, RowsTogether

PAGE = "docs/src/reference/families.md"

_NATIVE_TESTS: Mapping[Proven, tuple[str, ...]] = {
    Proven.LOGITS: (
        "test_packed_logits_equal_transformers_row_by_row",
        "test_packed_equals_unpacked",
    ),
    Proven.GRADIENTS: (
        "test_loss_and_adapter_gradients_match_peft",
        "test_adapters_of_experts_have_the_loss_and_gradients_of_peft",
    ),
    Proven.LORA: ("test_every_family_learns_from_its_own_folder_and_tokenizer",),
    Proven.QLORA: ("test_every_family_learns_on_a_4_bit_base",),
    Proven.MERGE: (
        "test_merging_folds_the_adapter_in_exactly",
        "test_merge_folder_loads_in_transformers_and_computes_what_peft_computes",
        "test_a_merged_mixture_is_base_and_adapter_in_transformers",
    ),
    Proven.PEFT: (
        "test_peft_loads_our_export_and_computes_the_same",
        "test_peft_loads_adapters_of_experts_and_computes_the_same",
    ),
    Proven.GENERATION: ("test_greedy_output_is_that_of_transformers",),
}
"""The tests that compare native code, each for every family that has what it compares."""

_TRANSFORMERS_TESTS: Mapping[Proven, tuple[str, ...]] = {
    Proven.GRADIENTS: ("test_loss_and_gradients_of_packed_rows_are_those_of_peft_row_by_row",),
    Proven.LORA: ("test_what_a_run_learned_is_what_other_programs_load",),
    Proven.QLORA: ("test_what_a_run_learned_is_what_other_programs_load",),
    Proven.MERGE: ("test_what_a_run_learned_is_what_other_programs_load",),
    Proven.PEFT: ("test_what_a_run_learned_is_what_other_programs_load",),
    Proven.GENERATION: ("test_greedy_text_is_that_of_transformers",),
}
"""The same for the graphs of transformers."""

_MEANINGS: Mapping[Proven, str] = {
    Proven.LOGITS: "logits of packed rows are those that transformers computes for each row alone",
    Proven.GRADIENTS: "loss and the gradient of every adapter are PEFT's on the same weights",
    Proven.LORA: "a LoRA run learns",
    Proven.QLORA: "a QLoRA run on 4-bit weights learns",
    Proven.MERGE: "the merged model loads in transformers and computes base plus adapter",
    Proven.PEFT: "PEFT loads the exported adapter strictly and computes the same",
    Proven.GENERATION: "greedy text is that of transformers",
}


def families_page() -> str:
    """The page, without the notice that it is generated."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from _HEAD.splitlines()
    for title, source, tests in (
        ("Native code", GraphSource.NATIVE, _NATIVE_TESTS),
        ("Through transformers", GraphSource.TRANSFORMERS, _TRANSFORMERS_TESTS),
    ):
        yield from ("", f"## {title}", "")
        yield from _INTRODUCTIONS[source].splitlines()
        yield from ("", *_table([e for e in proven_families() if e.source is source]))
        yield from ("", "| Proven | Meaning | Tests |", "|---|---|---|")
        for each, names in tests.items():
            yield f"| {each} | {_MEANINGS[each]} | {', '.join(f'`{name}`' for name in names)} |"


def _table(families: list[ProvenFamily]) -> Iterator[str]:
    yield "| `model_type` | Class in transformers | Rows | Proven | By |"
    yield "|---|---|---|---|---|"
    for each in families:
        proven = "all of the below" if each.proven == tuple(Proven) else ", ".join(each.proven)
        proven = "; reads ".join((proven, *each.packed_forms))
        names = f"| `{each.model_type}` | `{each.class_name}` "
        yield f"{names}| {_rows(each)} | {proven or '-'} | {each.by} |"


def _rows(family: ProvenFamily) -> str:
    measured = "differs by" if family.rows is RowsTogether.REFUSED else "leak"
    parts = [] if family.leak is None else [f"{measured} {family.leak:.1g}"]
    parts += [family.why] if family.why else []
    return f"{family.rows} ({'; '.join(parts)})" if parts else family.rows.value


_HEAD = f"""\
# Model families

What was proven of each family, with transformers {TRANSFORMERS_VERSION} as the reference.
`vox mens models` prints the same list. The models are small and have random weights; sums are
compared in float32.

Rows are *packed* where tests show that rows in one pass do not see each other. A class that mixes
them, or refuses packed rows, computes them *one at a time*; the largest relative difference that
was measured is the leak. What *tests* prove is proven again with every change; *a trial* was made
once, and its figures are on [a page of their own](transformers-families.md)."""

_INTRODUCTIONS = {
    GraphSource.NATIVE: """\
One transformer of ours, described by a file for each family
([how](../explanation/model-families.md)).""",
    GraphSource.TRANSFORMERS: """\
The class in transformers computes the model ([how](../howto/transformers-graph.md)). A type that is
not listed may train too: before any weights are read, the class is proven on a toy of the base's
own config, or refused.""",
}
