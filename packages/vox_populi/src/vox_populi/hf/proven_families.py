"""Every model family that was tried: native ones, and by tests or a trial those of transformers.

The page `docs/src/reference/families.md` and `vox mens models` show this list. A model type that
is not in it may still train through transformers: it is proven on its own config then.
"""

from __future__ import annotations

import json
from importlib.resources import files

from vox_populi.hf.family_registry import FAMILIES
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.proven_family import Proven, ProvenBy, ProvenFamily, RowsTogether

TRANSFORMERS_VERSION = "5.23"
"""The version of transformers with which the rows below were measured."""

THROUGH_TRANSFORMERS: tuple[ProvenFamily, ...] = (
    ProvenFamily(model_type="cohere", class_name="CohereForCausalLM", proven=(Proven.GRADIENTS,)),
    ProvenFamily(
        model_type="glm4",
        class_name="Glm4ForCausalLM",
        proven=(Proven.GRADIENTS, Proven.LORA, Proven.MERGE, Proven.PEFT, Proven.GENERATION),
    ),
    ProvenFamily(
        model_type="gpt_oss",
        class_name="GptOssForCausalLM",
        proven=(
            Proven.GRADIENTS,
            Proven.LORA,
            Proven.QLORA,
            Proven.MERGE,
            Proven.GENERATION,
        ),
        packed_forms=("mxfp4",),
    ),
    ProvenFamily(
        model_type="qwen3_5",
        class_name="Qwen3_5ForConditionalGeneration",
        rows=RowsTogether.ALONE,
        why="its recurrent layers need packages that pack rows",
        proven=(Proven.LORA, Proven.MERGE, Proven.PEFT, Proven.GENERATION),
    ),
    ProvenFamily(
        model_type="qwen3_5_text",
        class_name="Qwen3_5ForCausalLM",
        rows=RowsTogether.ALONE,
        why="its recurrent layers need packages that pack rows",
        proven=(Proven.GRADIENTS, Proven.QLORA, Proven.MERGE),
    ),
    ProvenFamily(
        model_type="starcoder2", class_name="Starcoder2ForCausalLM", proven=(Proven.GRADIENTS,)
    ),
)
"""Families without a file of their own, by model type; a test measures each of them again."""


def proven_families() -> tuple[ProvenFamily, ...]:
    """All of them, native ones first, each group by model type."""
    native = sorted(
        (
            ProvenFamily(
                model_type=family.name,
                class_name=family.architectures[0],
                source=GraphSource.NATIVE,
            )
            for family in FAMILIES
        ),
        key=lambda each: each.model_type,
    )
    tested = {each.model_type for each in (*native, *THROUGH_TRANSFORMERS)}
    tried = [each for each in tried_families() if each.model_type not in tested]
    others = sorted((*THROUGH_TRANSFORMERS, *tried), key=lambda each: each.model_type)
    return (*native, *others)


def proven_family(model_type: str, source: GraphSource) -> ProvenFamily | None:
    """What is known of a type through one source of graphs."""
    known = (*proven_families(), *tried_families())
    return next((e for e in known if e.model_type == model_type and e.source is source), None)


def tried_families() -> tuple[ProvenFamily, ...]:
    """What `bench/transformers_families.py` found, of native families too."""
    listed = files("vox_populi.hf").joinpath("tried_families.json").read_text("utf-8")
    return tuple(
        ProvenFamily(
            model_type=each["model_type"],
            class_name=each["class_name"],
            rows=RowsTogether(each["rows"]),
            leak=each["leak"],
            why=each["why"],
            proven=tuple(map(Proven, each["proven"])),
            by=ProvenBy.TRIAL,
        )
        for each in json.loads(listed)
    )
