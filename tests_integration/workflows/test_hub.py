"""Models of the Hugging Face Hub: the real client against a small hub on loopback."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("huggingface_hub", reason="needs vox-populi[hub]")

from huggingface_hub import constants, file_download

import vox_populi
from tests_integration.hub_stand_in import TOKEN, Fault, HubStandIn, running_hub
from tests_integration.tiny_models import write_tiny_model
from vox_cli.app import run as run_command
from vox_populi.hf.hub_cache import cached_folder
from vox_populi.hf.hub_name import HubName, ModelParts
from vox_populi.pipeline.model_arguments import model_folder
from vox_tensor.errors import VoxError

NAME = "org/tiny"
OTHER_FORMS = {
    "pytorch_model.bin": b"x" * 2000,
    "model-q8_0.gguf": b"GGUF" + b"x" * 2000,
    "onnx/model.onnx": b"x" * 2000,
    "consolidated.safetensors": b"x" * 2000,
    "modeling_tiny.py": b"raise SystemExit('code of others was run')\n",
}
CARD = b"---\nlicense: apache-2.0\n---\n# Tiny\n"


class Said:
    """Keeps what is told of a transfer."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.counts: list[tuple[int, int]] = []

    def note(self, text: str) -> None:
        """Keep a note."""
        self.notes.append(text)

    def progress(self, done: int, total: int) -> None:
        """Keep a count."""
        self.counts.append((done, total))

    def close(self) -> None:
        """Nothing is open."""


class Outcome(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


class Vox:
    """Calls commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *argv: str) -> Outcome:
        """Call `vox mens ...`."""
        self._capsys.readouterr()
        code = run_command(["mens", *argv])
        return Outcome(code, *self._capsys.readouterr())


@pytest.fixture
def vox(capsys: pytest.CaptureFixture[str]) -> Vox:
    return Vox(capsys)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in shards, with an index."""
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    write_tiny_model(folder, "llama", sharded=True, tokenizer=True)
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    return folder


@pytest.fixture
def hub(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        running.add(NAME, {**OTHER_FORMS, "README.md": CARD}, tiny)
        yield running


def fetch(name: str = NAME, **more: Any) -> Path:
    return model_folder(Path(name), may_download=True, **more)


def code_of(error: pytest.ExceptionInfo[VoxError]) -> str:
    assert len(error.value.problems) == 1
    return f"{error.value.problems[0].code.removeprefix('MENS-')} {error.value.kind.value}"


def test_without_the_flag_no_connection_is_attempted(
    hub: HubStandIn, vox: Vox, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, where: attempts.append(where))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **_: attempts.append(where))
    asked = (
        ("generate", NAME, "--prompt", "a"),
        ("generate", "--model", f"{NAME}@main", "--prompt", "a"),
        ("train", "--model", NAME, "--data", "rows.jsonl", "--output-dir", "out"),
        ("merge", "run", "--model", NAME, "--output-dir", "out"),
        ("serve", NAME),
        ("corpus", "stats", "rows.jsonl", "--model", NAME),
    )
    Path("rows.jsonl").write_text('{"prompt": "a", "response": "b"}\n', encoding="utf-8")
    for argv in asked:
        outcome = vox(*argv)
        assert outcome.code == 3, argv
        assert "MENS-H090" in outcome.err
        assert "--allow-download" in outcome.err
        assert f"hf download {NAME}" in outcome.err
        assert outcome.err.count("\n") == 1
    assert attempts == []
    assert hub.asked == []


def test_only_what_is_needed_is_downloaded_and_then_it_is_there(
    hub: HubStandIn, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Said()
    folder = fetch(watcher=said)
    needed = {path.name for path in tiny.iterdir()} | {"README.md"}
    assert set(hub.fetched()) == needed
    assert {path.name for path in folder.iterdir()} == needed
    for path in tiny.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()
    size = sum(path.stat().st_size for path in tiny.glob("*.safetensors"))
    assert said.counts[-1] == (size, size)
    assert len(said.notes) == 1
    assert not hub.stored_with_token
    before = len(hub.asked)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert model_folder(Path(NAME), may_download=False, watcher=said) == folder
    assert model_folder(Path(f"{NAME}@{folder.name}"), may_download=True) == folder
    assert len(hub.asked) == before
    assert len(said.notes) == 2
    # The same place that the hub's own library finds.
    found = file_download.try_to_load_from_cache(NAME, "config.json", folder.parents[2])
    assert Path(str(found)) == folder / "config.json"


def test_a_command_that_reads_text_fetches_no_weights(hub: HubStandIn, vox: Vox) -> None:
    Path("rows.jsonl").write_text('{"prompt": "a", "response": "b"}\n', encoding="utf-8")
    outcome = vox("corpus", "stats", "rows.jsonl", "--model", NAME, "--allow-download", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["base"] == NAME
    assert not any(name.endswith(".safetensors") for name in hub.fetched())
    assert model_folder(Path(NAME), may_download=False, parts=ModelParts.TEXT).is_dir()
    with pytest.raises(VoxError) as error:
        model_folder(Path(NAME), may_download=False)
    assert code_of(error) == "H227 refused"
    assert "--allow-download" in error.value.problems[0].fix


def test_plan_manifest_and_run_know_the_commit(
    hub: HubStandIn, vox: Vox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(json.dumps({"prompt": f"p{n}", "response": f"r{n}"}) + "\n" for n in range(4))
    Path("rows.jsonl").write_text(rows, encoding="utf-8")
    asked = ("train", "--model", NAME, "--data", "rows.jsonl", "--output-dir", "run")
    missing = vox(*asked[:4], "nowhere.jsonl", *asked[5:], "--allow-download")
    assert missing.code == 3
    assert hub.asked == []
    commit = hub.repositories[NAME].branches["main"]
    planned = vox(*asked, "--allow-download", "--dry-run", "--json")
    assert planned.code == 0, planned.err
    model = json.loads(planned.out)["model"]
    assert (model["name"], model["commit"]) == (NAME, commit)
    # A newer commit on the branch does not matter to what was recorded.
    hub.add(NAME, {"config.json": b"{}"})
    few = ("--max-steps", "1", "--rank", "2", "--threads", "1", "--device", "cpu", "--quiet")
    assert vox(*asked, *few).code == 0
    manifest = json.loads(Path("run/training_manifest.json").read_text(encoding="utf-8"))
    assert (manifest["base_model"], manifest["base_commit"]) == (NAME, commit)
    # The cache is somewhere else now: name and commit find the base again.
    home = tmp_path / "elsewhere"
    shutil.move(tmp_path / "home", home)
    monkeypatch.setenv("HF_HOME", str(home))
    answered = vox("generate", "run", "--prompt", "p1", "--max-new-tokens", "1", "--device", "cpu")
    assert answered.code == 0, answered.err


def test_a_cut_connection_is_taken_up_where_it_ended(
    hub: HubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)  # Else files are smaller than one.
    hub.fault = Fault("cut", 2)
    folder = fetch()
    assert len(hub.ranges) == 2
    assert all(each != "bytes=0-" for each in hub.ranges)
    assert folder.is_dir()


def test_a_download_that_failed_goes_on_with_what_is_missing(hub: HubStandIn) -> None:
    fetch(parts=ModelParts.TEXT)
    hub.asked.clear()
    hub.fault = Fault("503", 1)
    with pytest.raises(VoxError) as error:
        fetch()
    assert code_of(error) == "H224 environment"
    hub.asked.clear()
    fetch()
    assert hub.fetched()
    assert all(name.endswith(".safetensors") for name in hub.fetched())
    assert sum("/cdn/" in path for _, path in hub.asked) > 1


def test_bytes_that_differ_are_not_kept(hub: HubStandIn) -> None:
    hub.fault = Fault("flip", 1)
    with pytest.raises(VoxError) as error:
        fetch()
    assert code_of(error) == "H225 environment"
    name = HubName(NAME)
    assert cached_folder(name) is None, "a branch is only what has arrived"
    assert fetch() == cached_folder(name)


def test_a_gated_model_needs_a_token_which_is_not_kept(
    hub: HubStandIn, vox: Vox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories[NAME].gated = True
    asked = ("quantize", "--model", NAME, "--output-dir", "small", "--allow-download")
    refused = vox(*asked)
    assert refused.code == 5
    assert "MENS-H220" in refused.err
    monkeypatch.setenv("HF_TOKEN", "hf_anotherOne")
    wrong = vox(*asked)
    assert wrong.code == 5
    assert "MENS-H230" in wrong.err
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    done = vox(*asked, "--verbose")
    assert done.code == 0, done.err
    assert hub.tokens == {TOKEN, "hf_anotherOne"}
    assert not hub.stored_with_token
    for shown in (refused, wrong, done):
        assert "hf_" not in shown.out + shown.err
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 5
    assert not any(TOKEN.encode() in path.read_bytes() for path in written)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("org/gone", "H221 refused"),
        (f"{NAME}@v9", "H222 refused"),
        ("org/pickles", "H228 refused"),
    ],
)
def test_what_the_hub_does_not_have_is_refused(hub: HubStandIn, name: str, expected: str) -> None:
    hub.add("org/pickles", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(VoxError) as error:
        fetch(name)
    assert code_of(error) == expected


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"model_type": "nobody_knows"}, "MENS-H201"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "MENS-H20"),
        ({"model_type": "llama", "hidden_size": -1}, "MENS-H"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_after_its_config(
    hub: HubStandIn, vox: Vox, config: dict[str, Any], code: str
) -> None:
    pytest.importorskip("transformers", reason="needs vox-populi[mens-train]")
    content = {"config.json": json.dumps(config).encode(), "tokenizer.json": b"{}"}
    hub.add("org/strange", {**content, "model.safetensors": b"x" * 5000})
    Path("rows.jsonl").write_text('{"prompt": "a", "response": "b"}\n', encoding="utf-8")
    asked = ("--data", "rows.jsonl", "--output-dir", "out", "--allow-download")
    outcome = vox("train", "--model", "org/strange", *asked)
    assert (outcome.code, code in outcome.err) == (3, True), outcome.err
    assert hub.fetched() == ["config.json"]
    assert sum("/resolve/" in path for _, path in hub.asked) <= 2, "one file, asked for once"
    assert not any("/cdn/" in path for _, path in hub.asked)
    assert not Path("out").exists()


def test_python_programs_ask_for_a_download_as_commands_do(
    hub: HubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("rows.jsonl").write_text('{"prompt": "a", "response": "b"}\n', encoding="utf-8")
    calls: tuple[Callable[[], object], ...] = (
        lambda: vox_populi.plan_training("rows.jsonl", "out", model=NAME),
        lambda: vox_populi.train_adapter("rows.jsonl", "out", model=NAME),
        lambda: vox_populi.load_model(model=NAME),
        lambda: vox_populi.evaluate_model("rows.jsonl", model=NAME),
        lambda: vox_populi.merge_adapter("run", "out", model=NAME),
        lambda: vox_populi.export_adapter("run", "out", "peft", model=NAME),
        lambda: vox_populi.push_to_hub("run", "org/mine", model=NAME),
    )
    for call in calls:
        with pytest.raises(VoxError) as error:
            call()
        assert code_of(error) == "H090 refused"
    assert hub.asked == []
    lines: list[str] = []
    loaded = vox_populi.load_model(model=NAME, allow_download=True, progress=lines.append)
    assert loaded.name == NAME
    assert NAME in lines[0]
    assert any(line.startswith("100% ") for line in lines)
    planned = vox_populi.plan_training(
        "rows.jsonl", "out", model=NAME, tokenizer="hf", allow_download=True
    )
    assert planned.plan.config.model_type == "llama"
    assert hub.fetched()
    assert not Path("out").exists()


def test_without_a_network_the_cache_will_do(
    hub: HubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(VoxError) as error:
        fetch()
    assert code_of(error) == "H223 environment"
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    folder = fetch()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    said = Said()
    assert fetch(watcher=said) == folder
    assert "cannot be reached" in said.notes[0]


def test_a_forbidden_network_is_not_asked(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(VoxError) as error:
        fetch()
    assert code_of(error) == "H229 environment"
    assert hub.asked == []


def test_a_full_disk_is_told_before_the_first_byte(
    hub: HubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(parts=ModelParts.TEXT)
    usage = shutil.disk_usage(Path.cwd())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    hub.asked.clear()
    with pytest.raises(VoxError) as error:
        fetch()
    assert code_of(error) == "H226 environment"
    assert [path for _, path in hub.asked] == [f"/api/models/{NAME}/revision/main"]
