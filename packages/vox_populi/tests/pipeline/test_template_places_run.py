"""`--template FILE.jinja`, `--template model:NAME` and `--template-date`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from packages.vox_populi.tests.pipeline.test_model_template_run import (
    TEMPLATE,
    MakeContract,
    code_of,
    make,
    prompt_of,
    trained,
)
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.training_text import ChatTemplate, TemplatePlace
from vox_populi.errors import ArtifactError, ModelError, PreflightError
from vox_populi.merge.choices import MergeFormat
from vox_populi.pipeline.load_model import find_weights
from vox_populi.pipeline.merge import MergeRequest, merge_weights
from vox_populi.pipeline.preview import PreviewRequest, preview_rows
from vox_populi.pipeline.train import plan_training
from vox_populi.pipeline.weights_choice import WeightsChoice

__all__ = ["make"]


def test_a_template_of_a_file_is_recorded_and_the_file_may_vanish(
    make: MakeContract, tmp_path: Path
) -> None:
    file = tmp_path / "own.jinja"
    file.write_text(TEMPLATE.replace("Be brief.", "Be kind."), encoding="utf-8")
    contract = make(template_kind=TemplatePlace(file=file))
    assert contract.model_dir is not None
    planned = plan_training(contract)
    assert planned.contract.canonical()["template"] == "file"
    assert str(file) not in json.dumps([planned.contract.canonical(), planned.notes])
    report = trained(contract)
    assert contract.data_dir is not None
    rows = contract.data_dir / "train.jsonl"
    (request,) = [
        PreviewRequest(
            data=rows,
            model_dir=contract.model_dir,
            template=TemplatePlace(file=file),
            count=1,
        )
    ]
    (shown,) = preview_rows(request)
    assert "Be kind." in shown.text
    file.unlink()
    run = WeightsChoice(run=report.run, threads=1)
    found = find_weights(run)
    assert found.policy.own is not None
    assert "Be kind." in found.policy.own.text
    assert prompt_of(run) != prompt_of(
        replace(run, template=ChatTemplate.MODEL, force_template=True)
    )
    with pytest.raises(ArtifactError) as caught:
        find_weights(replace(run, template=ChatTemplate.MODEL))
    assert code_of(caught.value) == {"MENS-A030"}
    with pytest.raises(ModelError) as missing:
        find_weights(replace(run, template=TemplatePlace(file=file)))
    assert code_of(missing.value) == {"MENS-H116"}
    output = tmp_path / "merged"
    merge_weights(MergeRequest(checkpoint=report.run, output=output, output_format=MergeFormat.HF))
    assert prompt_of(WeightsChoice(model_dir=output, threads=1)) == prompt_of(run)
    served = (output / "chat_template.jinja").read_text(encoding="utf-8")
    assert served == found.policy.own.text


def test_a_named_template_of_the_folder_is_used_by_its_name(make: MakeContract) -> None:
    contract = make()
    folder = contract.model_dir
    assert folder is not None
    named = folder / "additional_chat_templates"
    named.mkdir()
    text = TEMPLATE.replace("Be brief.", "Use tools.")
    (named / "tool_use.jinja").write_text(text, encoding="utf-8")
    with pytest.raises(PreflightError) as caught:
        plan_training(make(template_kind=TemplatePlace(name="rag")))
    assert code_of(caught.value) == {"MENS-H111"}
    with pytest.raises(PreflightError) as other:
        plan_training(
            make(template_kind=TemplatePlace(name="tool_use"), tokenizer=TokenizerKind.VOX)
        )
    assert code_of(other.value) == {"MENS-H114"}
    report = trained(make(template_kind=TemplatePlace(name="tool_use")))
    found = find_weights(WeightsChoice(run=report.run, threads=1))
    assert found.policy.own is not None
    assert found.policy.own.text == text


def test_the_date_of_a_template_can_be_set_and_is_recorded(make: MakeContract) -> None:
    dated = TEMPLATE.replace("Be brief.", "{{ strftime_now('%d %b %Y') }}")
    contract = make(template=dated, template_date="2026-11-26")
    planned = plan_training(contract)
    assert any("2026-11-26" in note for note in planned.notes)
    usual = plan_training(make(template=dated))
    assert planned.preflight.train[0].ids != usual.preflight.train[0].ids
    assert planned.contract.canonical() != usual.contract.canonical()
    undated = plan_training(make(template_date="2026-11-26"))
    assert any("--template-date has no effect" in note for note in undated.notes)
    report = trained(make(template=dated, template_date="2026-11-26"))
    found = find_weights(WeightsChoice(run=report.run, threads=1))
    assert found.policy.own is not None
    assert found.policy.own.source.day == "2026-11-26"
