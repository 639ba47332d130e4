from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vox_populi.contract.adapter_target import parse_targets
from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.dataset import OnBadRow
from vox_populi.errors import EnvironmentFailure, PreflightError
from vox_populi.files.output_guard import IfOccupied
from vox_populi.plan import preflight as preflight_module
from vox_populi.plan import tokenizer_choice
from vox_populi.plan.output_folder import FolderUse
from vox_populi.plan.preflight import preflight
from vox_tensor.errors import Problem, VoxError
from vox_tensor.tokenizer import VoxTokenizer

MakeContract = Callable[..., FinetuneContract]
MakeModel = Callable[..., Path]


@pytest.fixture
def model(make_model: MakeModel) -> Path:
    return make_model()


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def problems_of(contract: FinetuneContract) -> tuple[Problem, ...]:
    root = contract.output_dir.parent
    before = snapshot(root)
    with pytest.raises(VoxError) as caught:
        preflight(contract)
    assert snapshot(root) == before
    return caught.value.problems


def codes_of(contract: FinetuneContract) -> list[str]:
    return [problem.code for problem in problems_of(contract)]


def rewrite(data_dir: Path, *lines: str, name: str = "train.jsonl") -> None:
    (data_dir / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def test_good_inputs_give_a_report_and_nothing_is_written(
    make_contract: MakeContract, model: Path, data_dir: Path, tmp_path: Path
) -> None:
    before = snapshot(tmp_path)
    report = preflight(make_contract(model_dir=model, validation_split_ratio=0.25))
    assert snapshot(tmp_path) == before
    assert (len(report.train), len(report.valid)) == (6, 2)
    assert (report.facts.n_train_rows, report.facts.n_valid_rows) == (6, 2)
    assert report.facts.longest_row == max(report.data_report.longest, 1)
    assert report.facts.tokens == report.data_report.tokens
    assert report.is_tokenised
    assert report.notes == ()
    assert report.facts.valid_file is None


def test_a_file_of_held_out_rows_replaces_the_split(
    make_contract: MakeContract, model: Path, data_dir: Path
) -> None:
    rewrite(data_dir, json.dumps({"prompt": "a", "response": "b"}), name="valid.jsonl")
    report = preflight(make_contract(model_dir=model, validation_split_ratio=0.5))
    assert (len(report.train), len(report.valid)) == (8, 1)
    assert report.facts.valid_file == "valid.jsonl"
    assert report.digests["valid"] != report.digests["data"]


def test_a_copy_of_the_training_rows_as_held_out_rows_is_noted(
    make_contract: MakeContract, model: Path, data_dir: Path
) -> None:
    (data_dir / "valid.jsonl").write_bytes((data_dir / "train.jsonl").read_bytes())
    assert "valid.jsonl" in preflight(make_contract(model_dir=model)).notes[0]


def test_digests_follow_content_and_not_place(
    make_contract: MakeContract, model: Path, data_dir: Path, tmp_path: Path
) -> None:
    contract = make_contract(model_dir=model)
    first = preflight(contract)
    first_base = first.base_digest()
    moved = model.rename(tmp_path / "moved")
    again = preflight(make_contract(model_dir=moved))
    assert again.digests == first.digests
    assert again.base_digest() == first_base
    assert contract.digest(first.digests) == make_contract().digest(again.digests)
    assert set(first.digests) == {"data", "tokenizer", "template", "base_headers"}
    rewrite(data_dir, json.dumps({"prompt": "a", "response": "b"}))
    VoxTokenizer([(b"a", b"b")]).save(moved / "tokenizer.json")
    (moved / "config.json").write_bytes((moved / "config.json").read_bytes() + b"\n")
    changed = preflight(make_contract(model_dir=moved, system_prompt="Be brief."))
    for name, digest in first.digests.items():
        assert changed.digests[name] != digest
    assert changed.base_digest() != first_base


def test_everything_is_found_at_once(
    make_contract: MakeContract, make_model: MakeModel, data_dir: Path, tmp_path: Path
) -> None:
    model = make_model("gpt2", vocab_size=200)
    shard = model / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model_final.bin").touch()
    rewrite(data_dir, '{"prompt": "a"}', "not json", '{"prompt": "a", "response": "b"}')
    rewrite(data_dir, "[]", name="valid.jsonl")
    contract = make_contract(
        model_dir=model,
        tokenizer=TokenizerKind.VOX,
        targets=parse_targets("gate"),
    )
    problems = problems_of(contract)
    places = [problem.where for problem in problems]
    assert str(shard) in str(places)
    assert f"{data_dir}/train.jsonl:1" in places
    assert f"{data_dir}/train.jsonl:2" in places
    assert f"{data_dir}/valid.jsonl:1" in places
    assert {"MENS-E001", "MENS-P002", "MENS-P013"} <= {problem.code for problem in problems}
    assert all("not json" not in str(problem) for problem in problems)


def test_a_missing_data_folder(make_contract: MakeContract, model: Path, tmp_path: Path) -> None:
    (problem,) = problems_of(make_contract(model_dir=model))
    assert (problem.code, problem.where) == ("MENS-P011", str(tmp_path / "data"))
    (tmp_path / "data").touch()
    assert codes_of(make_contract(model_dir=model)) == ["MENS-P051"]


def test_a_missing_train_file(make_contract: MakeContract, model: Path, data_dir: Path) -> None:
    (data_dir / "train.jsonl").unlink()
    (problem,) = problems_of(make_contract(model_dir=model))
    assert (problem.code, problem.where) == ("MENS-P012", str(data_dir / "train.jsonl"))


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("alpaca.csv", b"prompt,response\na,b\n", "MENS-P052", ["alpaca.csv (CSV)", "--data"]),
        ("rows.jsonl", b"{}\n", "MENS-P052", ["rows.jsonl", "--data"]),
        ("notes.txt", b"", "MENS-P052", ["notes.txt (plain text)"]),
        ("notes.pdf", b"", "MENS-P012", ["no such file", "--data"]),
    ],
)
def test_other_files_in_the_data_folder_are_named(
    make_contract: MakeContract,
    model: Path,
    data_dir: Path,
    name: str,
    content: bytes,
    code: str,
    words: list[str],
) -> None:
    (data_dir / "train.jsonl").unlink()
    (data_dir / name).write_bytes(content)
    (problem,) = problems_of(make_contract(model_dir=model))
    assert (problem.code, problem.where) == (code, str(data_dir / "train.jsonl"))
    said = f"{problem.what} {problem.fix}"
    assert [word for word in words if word not in said] == []


PAIRS = b"prompt,response\na,b\nc,d\n"
ARRAY = b'[\n{"prompt": "a", "response": "b"},\n{"prompt": "c", "response": "d"}\n]'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", PAIRS),
        (
            "train.json",
            ARRAY,
        ),
        ("train-00000-of-00001.csv", PAIRS),
        ("data/train.csv", PAIRS),
    ],
)
def test_training_rows_in_any_format_are_read(
    make_contract: MakeContract, model: Path, data_dir: Path, name: str, content: bytes
) -> None:
    (data_dir / "train.jsonl").unlink()
    (data_dir / "data").mkdir()
    (data_dir / name).write_bytes(content)
    (data_dir / Path(name).parent / "validation.csv").write_bytes(PAIRS)
    report = preflight(make_contract(model_dir=model))
    assert (len(report.train), len(report.valid)) == (2, 2)
    assert (report.facts.train_file, report.facts.valid_file) == (Path(name).name, "validation.csv")


def test_several_files_are_one_set_in_their_order(
    make_contract: MakeContract, model: Path, data_dir: Path
) -> None:
    table = data_dir / "more.csv"
    table.write_bytes(PAIRS)
    both = (table, data_dir / "train.jsonl")
    report = preflight(make_contract(model_dir=model, data=both, data_dir=None))
    alone = preflight(make_contract(model_dir=model, data=both[1:], data_dir=None))
    total = len(alone.train) + len(alone.valid)
    assert len(report.train) + len(report.valid) == 2 + total
    assert report.train.rows.place(3) == f"{both[1]}:1"
    assert report.facts.train_file == "more.csv and 1 more"
    assert [each.name for each in report.train.rows.contents] == ["more.csv", "train.jsonl"]
    assert report.digests["data"] not in {each.digest for each in report.train.rows.contents}
    assert alone.digests["data"] == report.train.rows.contents[1].digest


def test_problems_of_several_files_name_file_and_row(
    make_contract: MakeContract, model: Path, data_dir: Path
) -> None:
    bad = data_dir / "bad.csv"
    bad.write_bytes(b"prompt,response\na,b\nc\nd\ne,f\ng\n")
    cut = data_dir / "cut.json"
    cut.write_bytes(b'[\n{"prompt": "a", "response": "b"},')
    asked = make_contract(model_dir=model, data=(bad, cut, data_dir / "train.jsonl"), data_dir=None)
    found = [(each.code, each.where) for each in problems_of(asked)]
    assert found == [("MENS-D166", f"{bad}:row:2-3,5"), ("MENS-D162", str(cut))]


def test_a_file_in_the_place_of_the_folder_is_told_what_to_pass(
    make_contract: MakeContract, model: Path, data_dir: Path
) -> None:
    file = data_dir / "train.jsonl"
    (problem,) = problems_of(make_contract(model_dir=model, data_dir=file))
    assert problem.code == "MENS-P050"
    assert problem.fix.endswith(str(data_dir))
    file.rename(data_dir / "other.jsonl")
    (problem,) = problems_of(make_contract(model_dir=model, data_dir=data_dir / "other.jsonl"))
    assert problem.code == "MENS-P051"
    assert problem.fix == f"Pass --data {data_dir / 'other.jsonl'}"


@pytest.mark.parametrize("name", ["validation.jsonl", "val.jsonl", "dev.jsonl", "eval.jsonl"])
def test_held_out_rows_are_found_under_their_usual_names(
    make_contract: MakeContract, model: Path, data_dir: Path, name: str
) -> None:
    (data_dir / name).write_bytes((data_dir / "train.jsonl").read_bytes().splitlines(True)[0])
    (data_dir / "test.jsonl").touch()
    report = preflight(make_contract(model_dir=model))
    assert report.facts.valid_file == name
    assert len(report.valid) == 1
    assert "valid" in report.digests
    assert any("test.jsonl" in note and name in note for note in report.notes)


def test_a_folder_named_train_jsonl_is_refused(
    make_contract: MakeContract, model: Path, data_dir: Path
) -> None:
    (data_dir / "train.jsonl").unlink()
    (data_dir / "train.jsonl").mkdir()
    assert codes_of(make_contract(model_dir=model)) == ["MENS-D002"]


def test_an_empty_data_set(make_contract: MakeContract, model: Path, data_dir: Path) -> None:
    rewrite(data_dir)
    (problem,) = problems_of(make_contract(model_dir=model))
    assert problem.where == str(data_dir / "train.jsonl")


def test_a_fully_masked_data_set_is_one_line(
    make_contract: MakeContract, model: Path, data_dir: Path
) -> None:
    row = {"prompt": "x" * 40, "response": "y"}
    rewrite(data_dir, json.dumps(row), json.dumps(row))
    assert len(problems_of(make_contract(model_dir=model, seq_len=8))) == 1
    assert len(preflight(make_contract(model_dir=model, seq_len=128)).train) == 2


def test_skipped_rows_are_counted_in_a_note(
    make_contract: MakeContract, model: Path, data_dir: Path
) -> None:
    rewrite(data_dir, "{}", '{"prompt": "a", "response": "b"}')
    contract = make_contract(model_dir=model, on_bad_row=OnBadRow.SKIP)
    report = preflight(contract)
    assert len(report.train) == 1
    assert "1 bad_row" in report.notes[0]


def test_rows_cut_short_are_counted_in_a_note(
    make_contract: MakeContract, model: Path, data_dir: Path
) -> None:
    rewrite(data_dir, json.dumps({"prompt": "a", "response": "b" * 100}))
    report = preflight(make_contract(model_dir=model, seq_len=64))
    assert "cut to 64 tokens" in report.notes[0]


def test_a_wrong_model_path_is_one_line(
    make_contract: MakeContract, data_dir: Path, tmp_path: Path
) -> None:
    for kind in TokenizerKind:
        contract = make_contract(model_dir=tmp_path / "nowhere", tokenizer=kind)
        (problem,) = problems_of(contract)
        assert problem.where == str(tmp_path / "nowhere")


def test_a_model_path_that_the_system_does_not_take(
    make_contract: MakeContract, data_dir: Path
) -> None:
    assert codes_of(make_contract(model_dir=Path("x" * 5000))) == ["MENS-H001"]


def test_a_truncated_shard_does_not_hide_what_the_plan_refuses(
    make_contract: MakeContract, make_model: MakeModel, data_dir: Path
) -> None:
    model = make_model("gpt2")
    shard = model / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-4])
    found = codes_of(make_contract(model_dir=model, targets=parse_targets("gate")))
    assert "MENS-P002" in found
    assert any(code.startswith("MENS-H") for code in found)


def test_a_tokenizer_larger_than_the_embedding(
    make_contract: MakeContract, make_model: MakeModel, data_dir: Path
) -> None:
    model = make_model(vocab_size=VoxTokenizer().vocab_size - 1)
    (problem,) = problems_of(make_contract(model_dir=model))
    assert (problem.code, problem.where) == ("MENS-P013", str(model / "tokenizer.json"))
    assert "260" in problem.what


def test_a_tokenizer_as_large_as_the_embedding_is_fine(
    make_contract: MakeContract, make_model: MakeModel, data_dir: Path
) -> None:
    model = make_model(vocab_size=VoxTokenizer().vocab_size)
    assert preflight(make_contract(model_dir=model)).tokenizer.vocab_size == 261


def test_a_used_output_folder_is_refused_unless_it_will_be_moved_aside(
    make_contract: MakeContract, model: Path, data_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").touch()
    contract = make_contract(model_dir=model)
    with pytest.raises(PreflightError, match="MENS-E001"):
        preflight(contract)
    assert preflight(contract, FolderUse(if_occupied=IfOccupied.MOVE_ASIDE)).facts.n_train_rows == 8


def test_an_output_folder_that_cannot_be_made_is_the_environments_fault(
    make_contract: MakeContract, model: Path, data_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(EnvironmentFailure, match="MENS-E002"):
        preflight(make_contract(model_dir=model))


def test_without_tokenizers_rows_are_checked_and_a_plan_is_possible(
    make_contract: MakeContract, model: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vox_populi.extras.is_installed", lambda module: module != "tokenizers")
    contract = make_contract(model_dir=model, tokenizer=TokenizerKind.HF, seq_len=2)
    report = preflight(contract)
    assert not report.is_tokenised
    assert report.facts.n_train_rows == 8
    assert report.facts.longest_row is None
    assert "tokenizers" in report.notes[0]
    assert "tokenizer" not in report.digests
    rewrite(data_dir, "{}")
    assert problems_of(contract)[0].where == f"{data_dir}/train.jsonl:1"


def test_without_tokenizers_a_missing_vocabulary_is_found_all_the_same(
    make_contract: MakeContract,
    make_model: MakeModel,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vox_populi.extras.is_installed", lambda module: module != "tokenizers")
    model = make_model(tokenizer=False)
    contract = make_contract(model_dir=model, tokenizer=TokenizerKind.HF)
    assert [p.where for p in problems_of(contract)] == [str(model / "tokenizer.json")]


def test_the_embedded_base_is_the_default(
    make_contract: MakeContract, model: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (preflight_module, tokenizer_choice):
        monkeypatch.setattr(module, "embedded_model_dir", lambda: model)
    assert preflight(make_contract()).inventory.model_dir == model


def test_an_install_without_the_embedded_base_says_so_once(
    make_contract: MakeContract, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vox_populi.hf.embedded._FOLDER", "absent")
    assert len(codes_of(make_contract())) == 1
