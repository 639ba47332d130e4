"""What follows from what was measured of a class of transformers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from vox_populi.contract.choices import ActivationMemoryChoice, GraphId
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.plan.activation_choice import activation_problems, kept_choices
from vox_populi.plan.graph_choice import GraphChoice
from vox_populi.plan.packing_proof_facts import PackingProof, proof_notes, proof_problems

SOUND = PackingProof(
    class_name="AnyForCausalLM", version="5.23.0", alone=1e-7, packed=1e-7, gradients=2e-6
)


def test_a_sound_class_packs_and_says_whose_code_it_is() -> None:
    assert SOUND.packs
    assert SOUND.leak is None
    assert not list(proof_problems(SOUND))
    (note,) = proof_notes(SOUND)
    assert "AnyForCausalLM" in note
    assert SOUND.as_json()["packed"] is True


def test_a_leak_in_logits_or_gradients_alone_means_one_row_at_a_time() -> None:
    for leaking in (replace(SOUND, packed=0.4), replace(SOUND, gradients=0.4)):
        assert not leaking.packs
        assert leaking.leak == 0.4
        assert not list(proof_problems(leaking))
        assert "0.4" in list(proof_notes(leaking))[1]


def test_a_class_that_refuses_packed_rows_is_quoted() -> None:
    refusing = replace(SOUND, packed=math.inf, gradients=math.inf, refused="no kernel")
    assert not refusing.packs
    assert refusing.leak is None
    assert "no kernel" in list(proof_notes(refusing))[1]
    assert refusing.as_json()["differences"] == {
        "logits_alone": 1e-7,
        "logits_packed": None,
        "gradients_packed": None,
    }


def test_other_logits_of_a_row_alone_or_none_at_all_are_refused() -> None:
    for difference in (0.2, math.nan):
        (problem,) = proof_problems(replace(SOUND, alone=difference))
        assert problem.code == "MENS-P140"


def test_text_that_is_not_simply_continued_is_refused_by_name() -> None:
    (problem,) = proof_problems(replace(SOUND, marked=0.4))
    assert problem.code == "MENS-H263"
    (problem,) = proof_problems(replace(SOUND, blocks_passed=2))
    assert problem.code == "MENS-H264"


def choice(proof: PackingProof | None) -> GraphChoice:
    return GraphChoice(graph=GraphId.FULL, objective_note="", adapters=(), proof=proof)


def test_only_what_was_proven_of_a_class_is_computed_again() -> None:
    every = tuple(
        each for each in ActivationMemoryChoice if each is not ActivationMemoryChoice.AUTO
    )
    whole = replace(SOUND, repeats=True, has_mlps=True)
    assert kept_choices(choice(None)) == kept_choices(choice(whole)) == every
    without_mlps = kept_choices(choice(replace(whole, has_mlps=False)))
    assert without_mlps == tuple(e for e in every if e is not ActivationMemoryChoice.SELECTIVE)
    assert kept_choices(choice(SOUND)) == (ActivationMemoryChoice.NONE,)


@pytest.mark.parametrize(("repeats", "code"), [(False, "MENS-P142"), (True, "MENS-P160")])
def test_what_was_not_proven_is_refused_by_name(
    repeats: bool, code: str, make_contract: Callable[..., FinetuneContract]
) -> None:
    proof = replace(SOUND, repeats=repeats)
    asked = make_contract(activation_memory=ActivationMemoryChoice.SELECTIVE)
    (problem,) = activation_problems(asked, choice(proof))
    assert problem.code == code
    assert "AnyForCausalLM" in problem.what
