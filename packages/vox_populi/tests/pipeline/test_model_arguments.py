from __future__ import annotations

import os
from pathlib import Path

import pytest

import vox_populi
from vox_populi import extras
from vox_populi.contract.download_choice import ALLOW_DOWNLOAD
from vox_populi.contract.setting import settings_of
from vox_populi.errors import MissingExtraError, ModelError
from vox_populi.pipeline.merge import AnyMergeRequest
from vox_populi.pipeline.model_arguments import forbid_downloads, with_model_folders
from vox_populi.pipeline.weights_choice import WeightsChoice

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = Path("org/name")


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in the cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "cache" / "models--org--name" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (folder.parents[1] / "refs").mkdir()
    (folder.parents[1] / "refs" / "main").write_text(COMMIT, encoding="ascii")
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(b"{}")
    return folder


def test_every_model_of_a_request_becomes_a_folder(snapshot: Path) -> None:
    assert with_model_folders(WeightsChoice(source=NAME)).source == snapshot
    made = with_model_folders(WeightsChoice(model_dir=NAME, adapter=Path("peft")))
    assert (made.model_dir, made.adapter) == (snapshot, Path("peft"))
    here = AnyMergeRequest(source=Path("run"), output=Path("out"), model_dir=Path("models"))
    assert with_model_folders(here) is here


def test_without_the_extra_the_message_says_what_to_install(
    snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda _: False)
    with pytest.raises(MissingExtraError, match=r"MENS-X001.*extra hub"):
        with_model_folders(WeightsChoice(source=Path("org/other"), allow_download=True))
    with pytest.raises(ModelError, match="MENS-H090"):
        with_model_folders(WeightsChoice(source=Path("org/other")))


def test_other_processes_of_a_run_do_not_download(
    snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    forbid_downloads()
    monkeypatch.setenv("HF_HUB_OFFLINE", os.environ["HF_HUB_OFFLINE"])  # So that it is taken back.
    asked = WeightsChoice(source=NAME, allow_download=True)
    assert with_model_folders(asked).source == snapshot


def test_a_request_has_both_settings_or_neither() -> None:
    assert ALLOW_DOWNLOAD in {each.field for each in settings_of(WeightsChoice)}
    root = Path(str(vox_populi.__file__)).parent
    texts = {path: path.read_text(encoding="utf-8") for path in root.rglob("*.py")}
    takes = {path for path, text in texts.items() if "model=ModelParts." in text}
    allows = {path for path, text in texts.items() if "= download_setting()" in text}
    assert len(takes) > 8
    alone = {"serve.py", "download_choice.py"}  # Its sources are no settings; no request.
    assert {path for path in allows if path.name not in alone} == takes
