"""Uploads to the Hugging Face Hub: the real client against a small hub on loopback."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub", reason="needs vox-populi[hub]")
pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tests_integration.hub_stand_in import TOKEN, Fault, HubStandIn, running_hub
from tests_integration.tiny_models import VOCAB, write_tiny_model
from vox_cli.app import run as run_command
from vox_populi import push_to_hub
from vox_tensor.errors import VoxError

TARGET = "org/first-adapter"
BASE = "org/tiny"
SECRET = "the prompt that stays here"
WEIGHTS = "adapter_model.safetensors"


class Vox:
    """Calls commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *argv: object) -> tuple[int, str, str]:
        """Call `vox mens ...`; code, standard output, standard error."""
        self._capsys.readouterr()
        code = run_command(["mens", *map(str, argv)])
        return (code, *self._capsys.readouterr())


@pytest.fixture
def vox(capsys: pytest.CaptureFixture[str]) -> Vox:
    return Vox(capsys)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that only has a folder, and a run on it."""
    folder = tmp_path_factory.mktemp("push")
    write_tiny_model(folder / "private-base", "llama", tokenizer=True)
    rows = [{"prompt": f"ask {n}", "response": f"say {n}"} for n in range(4)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "private-rows.jsonl").write_text(text, encoding="utf-8")
    asked = ("--model", folder / "private-base", "--data", folder / "private-rows.jsonl")
    few = ("--max-steps", "2", "--rank", "2", "--threads", "1", "--device", "cpu", "--quiet")
    more = ("--output-dir", folder / "run", "--system-prompt", SECRET, "--template", "chatml")
    assert run_command(["mens", "train", *map(str, (*asked, *few, *more))]) == 0
    adapter = ("--for", "peft", "--output-dir", folder / "adapter", "--base-name", BASE)
    assert run_command(["mens", "export-adapter", *map(str, (folder / "run", *adapter))]) == 0
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    monkeypatch.chdir(tmp_path)
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


def push(vox: Vox, home: Path, *more: object, source: str = "adapter") -> tuple[int, str, str]:
    return vox("push", home / source, TARGET, "--base-name", BASE, *more)


def sent(hub: HubStandIn, name: str = TARGET, branch: str = "main") -> dict[str, bytes]:
    repository = hub.repositories[name]
    return repository.commits[repository.branches[branch]]


def one_line(outcome: tuple[int, str, str], code: int, problem: str) -> None:
    assert (outcome[0], problem in outcome[2]) == (code, True), outcome
    errors = [line for line in outcome[2].splitlines() if line.startswith("error")]
    assert len(errors) == 1, outcome[2]
    assert TOKEN not in outcome[1] + outcome[2]


def test_a_run_is_pushed_in_a_form_that_peft_loads(
    hub: HubStandIn, vox: Vox, home: Path, tmp_path: Path
) -> None:
    code, out, err = push(vox, home, "--json", source="run")
    assert code == 0, err
    document, files = json.loads(out), sent(hub)
    assert document["private"] is hub.repositories[TARGET].private is True
    assert document["commit"] == hub.repositories[TARGET].branches["main"]
    assert {each["name"]: each["bytes"] for each in document["files"]} == {
        name: len(content) for name, content in files.items() if name != ".gitattributes"
    }
    folder = tmp_path / "fetched"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    base = AutoModelForCausalLM.from_pretrained(home / "private-base", dtype=torch.float32)
    ids = torch.arange(12).remainder(VOCAB).unsqueeze(0)
    with torch.no_grad():
        before = base(ids).logits
        adapted = PeftModel.from_pretrained(base, str(folder))(ids).logits
    assert not torch.equal(adapted, before), "something was learned"
    assert not hub.stored_with_token
    # The rows, the folders of this machine and the system prompt stay here.
    everything = b"".join(files.values())
    for private in (b"private-rows", b"private-base/", str(home).encode(), SECRET.encode()):
        assert private not in everything
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == BASE

    card = files["README.md"].decode()
    front = card.split("---\n")[1]
    assert front.splitlines()[:3] == [
        f"base_model: {BASE}",
        "library_name: peft",
        "pipeline_tag: text-generation",
    ]
    assert "license" not in front
    manifest = json.loads((home / "run/training_manifest.json").read_text(encoding="utf-8"))
    assert f"{manifest['results']['train_loss']:.4f}" in card
    assert f'from_pretrained("{TARGET}")' in card


def test_an_own_card_is_used_and_gets_the_front_matter_it_lacks(
    hub: HubStandIn, vox: Vox, home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(home / "adapter", folder)
    (folder / "README.md").write_text("# Mine\n", encoding="utf-8")
    (folder / "rows.jsonl").write_text("private\n", encoding="utf-8")
    assert vox("push", folder, TARGET)[0] == 0
    card = sent(hub)["README.md"].decode()
    assert card.startswith(f"---\nbase_model: {BASE}\n")
    assert card.endswith("# Mine\n")
    assert "rows.jsonl" not in sent(hub)
    own = "---\nlicense: mit\n---\n# Mine\n"
    (folder / "README.md").write_text(own, encoding="utf-8")
    assert vox("push", folder, TARGET)[0] == 0
    assert sent(hub)["README.md"].decode() == own
    (folder / "README.md").write_text("---\nbroken\n---\n", encoding="utf-8")
    one_line(vox("push", folder, TARGET), 3, "MENS-H251")
    assert sent(hub)["README.md"].decode() == own


def test_a_merged_model_is_pushed_to_a_branch(
    hub: HubStandIn, vox: Vox, home: Path, tmp_path: Path
) -> None:
    assert vox("merge", home / "run", "--output-dir", tmp_path / "merged", "--threads", 1)[0] == 0
    code, out, err = vox(
        "push", tmp_path / "merged", "org/merged", "--branch", "v2", "--public", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["branch"] == "v2"
    files = sent(hub, "org/merged", "v2")
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= files.keys()
    whole = (tmp_path / "merged/model.safetensors").read_bytes()
    assert files["model.safetensors"] == whole
    assert "model.safetensors" not in sent(hub, "org/merged", "main")
    assert hub.repositories["org/merged"].private is False
    assert str(tmp_path).encode() not in b"".join(files.values())
    # Unchanged files are not sent again.
    hub.asked.clear()
    assert vox("push", tmp_path / "merged", "org/merged", "--branch", "v2", "--public")[0] == 0
    assert [path for verb, path in hub.asked if verb == "PUT"] == []


def test_a_dry_run_shows_the_files_and_connects_to_nothing(
    hub: HubStandIn, vox: Vox, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    attempts: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, where: attempts.append(where))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **_: attempts.append(where))
    code, out, err = push(vox, home, "--dry-run", source="run")
    assert code == 0, err
    assert WEIGHTS in out
    assert "to upload" in out
    assert (attempts, hub.asked) == ([], [])


def test_an_upload_that_was_cut_goes_on_with_what_is_missing(
    hub: HubStandIn, vox: Vox, home: Path, tmp_path: Path
) -> None:
    write_tiny_model(tmp_path / "model", "llama", sharded=True, tokenizer=True)
    shards = sorted((tmp_path / "model").glob("*.safetensors"))
    assert len(shards) > 2
    hub.fault = Fault("cut upload", 100, after=1)
    with pytest.raises(VoxError) as error:
        push_to_hub(tmp_path / "model", "org/model")
    assert [each.code for each in error.value.problems] == ["MENS-V065"]
    assert "model-00001" not in str(sent(hub, "org/model").keys()), "nothing is committed"
    arrived = len(hub.stored)
    assert 0 < arrived < len(shards)
    hub.fault = Fault("", 0)
    hub.asked.clear()
    report = push_to_hub(tmp_path / "model", "org/model")
    puts = [path for verb, path in hub.asked if verb == "PUT"]
    assert len(puts) == len(shards) - arrived
    assert report.commit == hub.repositories["org/model"].branches["main"]
    for shard in shards:
        assert sent(hub, "org/model")[shard.name] == shard.read_bytes()


class Said:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.counts: list[tuple[int, int]] = []

    def note(self, text: str) -> None:
        """Keep nothing."""

    def progress(self, done: int, total: int) -> None:
        """Keep a count."""
        self.counts.append((done, total))

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("kind", "code"), [("quota", "MENS-V066"), ("413", "MENS-V066"), ("503", "MENS-V065")]
)
def test_what_the_hub_refuses_on_the_way_is_one_line(
    hub: HubStandIn, vox: Vox, home: Path, kind: str, code: str
) -> None:
    hub.fault = Fault(kind, 100)
    one_line(push(vox, home), 5, code)


def test_tokens_and_owners_are_told_apart(
    hub: HubStandIn, vox: Vox, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = vox("push", home / "adapter", "somebody/else", "--base-name", BASE)
    one_line(theirs, 5, "MENS-V063")
    hub.add("somebody/open", {"README.md": b"x"})
    there = vox("push", home / "adapter", "somebody/open", "--base-name", BASE, "--public")
    one_line(there, 5, "MENS-V063")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    one_line(push(vox, home), 5, "MENS-V062")
    monkeypatch.delenv("HF_TOKEN")
    hub.asked.clear()
    one_line(push(vox, home), 5, "MENS-V061")
    assert hub.asked == []
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    one_line(push(vox, home), 5, "MENS-V064")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    one_line(push(vox, home), 5, "MENS-H252")


def test_nothing_becomes_public_or_mixed_by_accident(hub: HubStandIn, vox: Vox, home: Path) -> None:
    hub.add(TARGET, {"README.md": b"x"})
    one_line(push(vox, home), 3, "MENS-V068")
    assert push(vox, home, "--public")[0] == 0
    hub.add("org/full", {"model.safetensors": b"x" * 10})
    asked = ("push", home / "adapter", "org/full", "--base-name", BASE, "--public")
    one_line(vox(*asked), 3, "MENS-V069")
    assert vox(*asked, "--force")[0] == 0
    assert {"model.safetensors", WEIGHTS} <= sent(hub, "org/full").keys()
    # A private repository stays so.
    hub.add("org/quiet", {"README.md": b"x"})
    hub.repositories["org/quiet"].private = True
    code, _, err = vox("push", home / "adapter", "org/quiet", "--base-name", BASE, "--public")
    assert code == 0
    assert "stays private" in err


def test_progress_counts_up_to_all_bytes(hub: HubStandIn, home: Path) -> None:
    said = Said()
    report = push_to_hub(home / "adapter", TARGET, base_name=BASE, watcher=said)
    size = dict(report.files)[WEIGHTS]
    assert said.counts[-1] == (size, size)
    assert all(done <= total == size for done, total in said.counts)
    assert [done for done, _ in said.counts] == sorted(done for done, _ in said.counts)


def test_what_cannot_be_pushed_is_refused_without_a_connection(
    hub: HubStandIn, vox: Vox, home: Path, tmp_path: Path
) -> None:
    """Names, unfinished runs, folders of something else, bases that nobody else knows."""
    for name in ("adapter", "org/a/b", "org/-a", f"org/a@{'0' * 40}"):
        one_line(vox("push", home / "adapter", name, "--base-name", BASE), 2, "MENS-V060")
    one_line(vox("push", home / "adapter", "org/a", "--branch", "a b"), 2, "MENS-V060")
    one_line(vox("push", home / "run", TARGET), 3, "MENS-V067")
    one_line(vox("push", home / "run", TARGET, "--base-name", str(home)), 3, "MENS-V067")
    one_line(vox("push", tmp_path / "gone", TARGET), 3, "MENS-")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/rows.jsonl").write_text("", encoding="utf-8")
    one_line(vox("push", tmp_path / "other", TARGET), 3, "MENS-H250")
    shutil.copytree(home / "run", tmp_path / "unfinished")
    for name in ("model_final.bin", "training_manifest.json"):
        (tmp_path / "unfinished" / name).unlink()
    one_line(vox("push", tmp_path / "unfinished", TARGET), 3, "MENS-A023")
    # A local folder in place of the base's name is never sent.
    shutil.copytree(home / "adapter", tmp_path / "local")
    config = json.loads((tmp_path / "local/adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = str(home / "private-base")
    (tmp_path / "local/adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    one_line(vox("push", tmp_path / "local", TARGET), 3, "MENS-V067")
    assert hub.asked == []
    done = vox("push", tmp_path / "local", TARGET, "--base-name", BASE)
    assert done[0] == 0, done
    assert "external_serving_handoff" in done[1]
    assert str(home).encode() not in b"".join(sent(hub).values())
