"""What a server serves: one base in memory, runs and merged folders as `generate` answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.setting_groups import ComputeSettings
from vox_populi.data.supervision import encode_prompt
from vox_populi.errors import ArtifactError, ConfigError
from vox_populi.infer.sampling_spec import SamplingSpec
from vox_populi.merge.choices import MergeFormat
from vox_populi.pipeline.generate import load_model
from vox_populi.pipeline.merge import MergeRequest, merge_weights
from vox_populi.pipeline.serve import NamedAdapter, ServeRequest
from vox_populi.pipeline.serve_models import find_models
from vox_populi.pipeline.serve_run import build_engine
from vox_populi.pipeline.train import RunOptions, run_training
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_populi.serve.text_job import Ended, TextEvent, TextJob
from vox_tensor.records import Message, Role

MakeContract = Callable[..., FinetuneContract]


def requested(*sources: Path, **more: Any) -> ServeRequest:
    return ServeRequest(sources=sources, compute=ComputeSettings(threads=1), **more)


def trained(contract: FinetuneContract) -> Path:
    return run_training(contract, RunOptions()).run


def answers(request: ServeRequest, prompt: str) -> dict[str, tuple[int, ...]]:
    """The greedy answer of every model of a server."""
    found = find_models(request)
    engine = build_engine(request, found)
    ended: dict[str, tuple[int, ...]] = {}
    is_over = Event()

    def listener(name: str) -> Callable[[TextEvent], None]:
        def listen(event: TextEvent) -> None:
            if isinstance(event, Ended):
                ended[name] = event.ids
                if len(ended) == len(found.models):
                    is_over.set()

        return listen

    for each in found.models:
        ids = encode_prompt([Message(Role.USER, prompt)], each.found.tokenizer, each.found.policy)
        engine.submit([
            TextJob(
                model=each.name,
                prompt_ids=ids,
                max_new_tokens=8,
                sampling=SamplingSpec(),
                deadline=time.monotonic() + 60,
                on_event=listener(each.name),
            )
        ])  # fmt: skip
    thread = Thread(target=engine.run)
    thread.start()
    assert is_over.wait(30)
    engine.stop()
    thread.join(30)
    return ended


def generated(prompt: str, **weights: Any) -> tuple[int, ...]:
    model = load_model(WeightsChoice(threads=1, **weights))
    return model.generate(prompt, max_new_tokens=8).ids


def test_runs_over_one_base_answer_as_generate_and_the_base_is_served_beside_them(
    make_qlora: MakeContract,
) -> None:
    contract = make_qlora(learning_rate=0.1, epochs=6)
    first = trained(contract)
    second = trained(replace(contract, output_dir=contract.output_dir.with_name("second"), seed=5))
    found = answers(requested(first, adapters=(NamedAdapter("two", second),)), "Say one.")
    assert set(found) == {"base", "first", "two"}
    assert found["first"] == generated("Say one.", run=first)
    assert found["two"] == generated("Say one.", run=second)
    assert len(set(found.values())) == 3
    facts = [each.facts() for each in find_models(requested(first)).models]
    assert [each["quantization"] for each in facts] == ["nf4", "nf4"]
    assert facts[0]["fingerprint"] != facts[1]["fingerprint"]


def test_a_merged_model_is_served_under_its_folders_name_and_a_base_only_if_it_can_be(
    make_contract: MakeContract, tmp_path: Path
) -> None:
    contract = make_contract(learning_rate=0.1, epochs=6)
    run = trained(contract)
    assert contract.model_dir is not None
    broken = contract.model_dir / "chat_template.jinja"
    broken.write_text("{% if %}", encoding="utf-8")
    found = find_models(requested(run))
    assert [each.name for each in found.models] == ["first"]
    assert any("not served" in note for note in found.notes), "its template cannot be used"
    broken.unlink()
    merged = tmp_path / "merged"
    merge_weights(MergeRequest(checkpoint=run, output=merged, output_format=MergeFormat.VOX))
    assert answers(requested(merged), "Say one.") == {
        "merged": generated("Say one.", model_dir=merged)
    }


def test_what_cannot_be_served_together_is_refused(
    make_contract: MakeContract, make_base: Callable[..., Path]
) -> None:
    contract = make_contract()
    run = trained(contract)
    other_base = make_base("other", seed=3)
    other = trained(
        replace(contract, model_dir=other_base, output_dir=contract.output_dir.with_name("other"))
    )

    def code(*sources: Path, **more: Any) -> str:
        with pytest.raises((ConfigError, ArtifactError)) as caught:
            find_models(requested(*sources, **more))
        return caught.value.problems[0].code

    assert code(run, other) == "MENS-S005"
    assert code(run, run) == "MENS-S004"
    assert code(contract.output_dir, adapters=(NamedAdapter("a", other_base),)) == "MENS-S009"
    assert code(other_base, other_base.with_name("base")) == "MENS-S005"
    assert code(other_base / "nothing") == "MENS-S007"
