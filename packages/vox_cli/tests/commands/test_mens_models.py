from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vox_cli.models_text import models_text
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.proven_families import proven_families
from vox_populi.hf.proven_family import ProvenFamily, RowsTogether
from vox_populi.pipeline.list_models import ModelsReport

Vox = Callable[..., Any]


def test_families_are_listed_without_naming_a_command(vox: Vox) -> None:
    listed, named = vox("mens", "models"), vox("mens", "models", "list")
    assert (listed.code, listed.err) == (0, "")
    assert listed.out == named.out
    lines = listed.out.splitlines()
    assert [line.split()[0] for line in lines[1 : lines.index("")]] == [
        each.model_type for each in proven_families()
    ]


def test_the_document_has_every_family(vox: Vox) -> None:
    document = vox("mens", "models", "--json").document
    assert [each["model_type"] for each in document["families"]] == [
        each.model_type for each in proven_families()
    ]
    assert {each["graph"] for each in document["families"]} == {
        GraphSource.NATIVE,
        GraphSource.TRANSFORMERS,
    }


def test_the_group_has_a_help_and_refuses_other_words(vox: Vox) -> None:
    assert "Commands:" in vox("mens", "models", "--help").out
    wrong = vox("mens", "models", "nothing")
    assert (wrong.code, "MENS-U008" in wrong.err) == (2, True)


@pytest.mark.parametrize("room", [20, 40, 80, 200, None])
def test_the_table_fits_and_names_the_leak(room: int | None) -> None:
    leaking = ProvenFamily(
        model_type="leaky", class_name="LeakyForCausalLM", rows=RowsTogether.ALONE, leak=0.25
    )
    text = models_text(ModelsReport(families=(leaking, *proven_families())), room)
    table = text.partition("\n\n")[0].splitlines()
    assert all(len(line) <= (room or 400) for line in table)
    assert ("leak 0.2" in text) == (room is None or room > 40)
