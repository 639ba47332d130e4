"""What every file holds of what an operator would not publish: the page says it, this looks.

Marks that stand nowhere else are planted (system prompt, filter, rows, names, folders, host, user);
every command that writes runs, and the bytes of all its files are searched for the marks.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tests_integration.tiny_models import write_tiny_model
from vox_cli.mix_config_file import read_mix_config
from vox_populi.contract.choices import Backend, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.corpus.mix import mix_corpus
from vox_populi.export.consumers import Consumer
from vox_populi.merge.choices import MergeFormat, Onto
from vox_populi.merge.serving_handoff import HANDOFF_FILE
from vox_populi.pipeline.convert import ConvertRequest, convert_adapter
from vox_populi.pipeline.export import ExportRequest, export_adapter
from vox_populi.pipeline.gguf import GgufRequest, export_gguf
from vox_populi.pipeline.import_gguf import ImportGgufRequest, import_gguf
from vox_populi.pipeline.import_peft import ImportRequest, import_adapter
from vox_populi.pipeline.merge import (
    MergeRequest,
    QloraMergeRequest,
    merge_qlora,
    merge_weights,
)
from vox_populi.pipeline.quantize import QuantizeRequest, quantize_model
from vox_populi.pipeline.train import RunOptions, run_training
from vox_populi.runs.adapter_place import AdapterForm
from vox_populi.runs.find_adapter import find_adapter
from vox_tensor.lora_spec import LoraSpec

PAGE = Path(__file__).resolve().parents[2] / "docs" / "src" / "reference" / "stored-data.md"

SYSTEM_PROMPT = "Canarysystem: be brief."
MARKS = {
    "system prompt": "Canarysystem",
    "context filter": "canaryfilter",
    "base name": "canarybase",
    "run name": "canaryrun",
}
"""By the column of the page that says which files hold it."""
NOWHERE = {
    "text of rows": "canarytext",
    "ids of rows": "canaryid",
    "sources of rows": "canarysource",
    "folders": "canaryfolder",
    "host name": "canaryhost",
    "user name": "canaryuser",
}
"""In no file but corpora, which are rows."""
COLUMNS = ("system prompt", "context filter", "base name", "run name")


def rows() -> Iterator[str]:
    for number in range(8):
        yield json.dumps(
            {
                "id": f"canaryid{number}",
                "source": "canarysource:1",
                "prompt": f"say canarytext {number}",
                "response": f"canarytext {number} it is",
                "category": "canaryfilter",
            }
        )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user, with a base and rows."""
    folder = tmp_path / "canaryfolder"
    monkeypatch.setattr(platform, "node", lambda: "canaryhost")
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, "canaryuser")
    base = folder / "inputs" / "canarybase"
    write_tiny_model(base, "llama", tokenizer=True)
    for name, key in (("config.json", "_name_or_path"), ("tokenizer_config.json", "name_or_path")):
        content = json.loads((base / name).read_text(encoding="utf-8"))
        (base / name).write_text(json.dumps({**content, key: str(base)}), encoding="utf-8")
    (base / "LICENSE").write_text("free\n", encoding="utf-8")
    (folder / "inputs" / "data").mkdir()
    text = "\n".join(rows()) + "\n"
    for name in ("train.jsonl", "valid.jsonl"):
        (folder / "inputs" / "data" / name).write_text(text, encoding="utf-8")
    return folder


def train(home: Path, run: str, backend: Backend) -> Path:
    contract = FinetuneContract.of(
        data_dir=home / "inputs" / "data",
        output_dir=home / run,
        model_dir=home / "inputs" / "canarybase",
        backend=backend,
        tokenizer=TokenizerKind.HF,
        lora=LoraSpec(rank=2, alpha=4.0),
        system_prompt=SYSTEM_PROMPT,
        context_filter="canaryfilter",
        max_steps=2,
        batch_size=4,
        grad_accum=1,
        warmup_steps=0,
        learning_rate=1e-2,
        seq_len=96,
        early_stopping_patience=3,
        eval_every=1,
        threads=1,
    )
    run_training(contract, RunOptions(checkpoint_every=1, keep_checkpoints=1))
    return home / run


def use_the_run(home: Path, run: Path) -> None:
    base = home / "inputs" / "canarybase"
    for each in MergeFormat:
        request = MergeRequest(checkpoint=run, output=home / f"merged-{each}", output_format=each)
        merge_weights(request)
    for consumer in Consumer:
        folder = home / f"for-{consumer}"
        export_adapter(ExportRequest(source=run, consumer=consumer, output_dir=folder))
    import_adapter(
        ImportRequest(source=home / "for-peft", output=home / "imported.bin", model_dir=base)
    )
    for form, output in ((AdapterForm.V3, "converted"), (AdapterForm.LORA_BIN, "converted.bin")):
        source = run if form is AdapterForm.V3 else home / "converted"
        convert_adapter(ConvertRequest(source=source, target=form, output=home / output))
    quantize_model(QuantizeRequest(model_dir=base, output=home / "four-bit"))
    export_gguf(GgufRequest(source=run, output=home / "model.gguf"))
    import_gguf(ImportGgufRequest(source=home / "model.gguf", output=home / "from-gguf"))


def use_the_qlora_run(home: Path, run: Path) -> None:
    merge_qlora(QloraMergeRequest(adapter=run, output=home / "merged-qlora", onto=Onto.DEQUANT))
    merge_qlora(QloraMergeRequest(adapter=run, output=home / "merged-subset", subset=True))


def mix(home: Path) -> None:
    config = home / "mix.yaml"
    source = home / "inputs" / "data" / "train.jsonl"
    config.write_text(f"sources:\n  - path: {source}\noutput: mixed/rows.jsonl\n", encoding="utf-8")
    mix_corpus(read_mix_config(config))
    config.unlink()


def of_command(path: Path, home: Path) -> str:
    """How the page calls a file that was written."""
    folder, name = path.relative_to(home).parts[0], path.name
    if name.startswith("adapter.bin.") or folder.endswith(".bin"):
        return f"`.bin` of `{'import' if folder.startswith('imported') else 'convert'}-adapter`"
    if folder.endswith(".gguf"):
        return "`.gguf` of `export-gguf`"
    if folder.startswith("canaryrun"):
        return f"`{re.sub('step-[0-9]+', 'step-N', path.relative_to(home / folder).as_posix())}`"
    suffixes = {
        "merged-subset": " of `--subset`",
        "converted": " of `convert-adapter`",
        "for-peft": " of `export-adapter` for PEFT, vLLM and llama.cpp",
    }
    suffix = suffixes.get(folder.replace("gguf", "peft").replace("vllm", "peft"), "")
    if name == "README.md":
        suffix = " of `merge-weights` and `merge-qlora`"
    if name == HANDOFF_FILE:
        suffix = " of merges and of `export-adapter`"
    return f"`{name}`{suffix}"


def names_its_base(path: Path, home: Path) -> bool:
    """Whether a file has the base's folder, by which PEFT loads it, or is a copy of such a file."""
    is_imported = path.relative_to(home).parts[0].startswith("imported")
    return path.name == "adapter_config.json" or is_imported


def prompt_digest(run: Path) -> str:
    """The digest of layout and system prompt that a run records."""
    digest = find_adapter(run).adapter.header.template_digest
    assert digest.startswith("sha256:")
    return digest


def found_in(home: Path) -> dict[str, dict[str, str]]:
    """What the page should say: by file, the cells of its row that are not empty."""
    table: dict[str, dict[str, str]] = {}
    marks = MARKS | NOWHERE | {"prompt digest": prompt_digest(home / "canaryrun")}
    for path in sorted(home.rglob("*")):
        if not path.is_file() or path.is_relative_to(home / "inputs"):
            continue
        data = path.read_bytes()
        held = {mark for mark, text in marks.items() if text.encode() in data}
        if names_its_base(path, home):
            held -= {"folders"}
        assert path.name == "rows.jsonl" or not held & set(NOWHERE), (path, held)
        if path.name == "rows.jsonl":
            assert {"text of rows", "sources of rows"} <= held, "the marks are found where they are"
            continue
        digest = ["digest"] if "prompt digest" in held else []
        cells = {
            "system prompt": ", ".join([*(["text"] if "system prompt" in held else []), *digest]),
            "context filter": "text" if "context filter" in held else "",
            "base name": "name" if "base name" in held else "",
            "run name": "name" if "run name" in held else "",
        }
        if any(cells.values()):
            name = of_command(path, home)
            assert table.setdefault(name, cells) == cells, f"{name} of two commands differ"
    return table


def said_by_the_page() -> dict[str, dict[str, str]]:
    table = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            assert name not in table
            table[name] = dict(zip(COLUMNS, cells, strict=True))
    return table


def only_check_rows_hold_token_ids(home: Path, run: Path) -> None:
    """The one file with rows as token ids; what leaves the machine has none of them."""
    path = run / "check_rows.json"
    (first, *_) = json.loads(path.read_text(encoding="utf-8"))["rows"]
    tokenizer = Tokenizer.from_file(str(home / "inputs" / "canarybase" / "tokenizer.json"))
    assert "canarytext" in tokenizer.decode(first["ids"])
    for form in (", ", ","):
        ids = form.join(map(str, first["ids"][-6:])).encode()
        holders = [each for each in home.rglob("*") if each.is_file() and ids in each.read_bytes()]
        assert set(holders) <= set(home.rglob("check_rows.json"))


@pytest.mark.slow
def test_the_page_says_what_every_file_holds(home: Path) -> None:
    use_the_run(home, train(home, "canaryrun", Backend.LORA))
    use_the_qlora_run(home, train(home, "canaryrun-four-bit", Backend.QLORA))
    mix(home)
    only_check_rows_hold_token_ids(home, home / "canaryrun")
    assert not list(home.glob("merged*/check_rows.json"))
    found = found_in(home)
    assert found["`model_final.bin`"]["system prompt"] == "text, digest"
    assert said_by_the_page() == found
