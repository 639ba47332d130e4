"""A path passed without a flag: which kind of weights it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vox_populi.errors import ConfigError
from vox_populi.pipeline.weights_choice import WeightsChoice, with_source


def test_a_source_goes_where_its_flag_would_put_it(tmp_path: Path) -> None:
    run, peft, model = (tmp_path / name for name in ("run", "peft", "model"))
    for folder in (run, peft, model):
        folder.mkdir()
    (run / "training_manifest.json").write_text("{}")
    (peft / "adapter_config.json").write_text(json.dumps({}))
    (model / "config.json").write_text("{}")
    file = tmp_path / "model_final.bin"
    missing = tmp_path / "missing"
    assert with_source(WeightsChoice(source=run)) == WeightsChoice(run=run)
    assert with_source(WeightsChoice(source=peft)) == WeightsChoice(adapter=peft)
    assert with_source(WeightsChoice(source=model)) == WeightsChoice(model_dir=model)
    assert with_source(WeightsChoice(source=missing)) == WeightsChoice(model_dir=missing)
    file.write_bytes(b"bin")
    assert with_source(WeightsChoice(source=file)) == WeightsChoice(checkpoint=file)
    moved = WeightsChoice(source=run, model_dir=model)
    assert with_source(moved) == WeightsChoice(run=run, model_dir=model)
    assert with_source(WeightsChoice(run=run)) == WeightsChoice(run=run)


def test_a_source_and_a_flag_for_the_same_exclude_each_other(tmp_path: Path) -> None:
    for name in ("run", "checkpoint", "adapter"):
        given: dict[str, Any] = {name: tmp_path}
        with pytest.raises(ConfigError) as caught:
            WeightsChoice(source=tmp_path, **given)
        assert caught.value.problems[0].code == "MENS-U030"
    with pytest.raises(ConfigError):
        WeightsChoice(run=tmp_path, adapter=tmp_path)
    with pytest.raises(ConfigError):
        with_source(WeightsChoice(source=tmp_path, model_dir=tmp_path))
