from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vox_populi.contract.choices import TokenizerKind
from vox_populi.errors import DataError, MissingExtraError, ModelError
from vox_populi.plan import tokenizer_choice
from vox_populi.plan.tokenizer_choice import choose_tokenizer
from vox_tensor.tokenizer import VoxTokenizer

MakeModel = Callable[..., Path]


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "vox_nano"
    folder.mkdir()
    VoxTokenizer([(b"a", b"b")]).save(folder / "tokenizer.json")
    monkeypatch.setattr(tokenizer_choice, "embedded_model_dir", lambda: folder)
    return folder


def test_vox_without_a_model_is_the_embedded_vocabulary(embedded: Path) -> None:
    chosen = choose_tokenizer(TokenizerKind.VOX, None)
    assert (chosen.path, chosen.notes) == (embedded / "tokenizer.json", ())
    assert chosen.tokenizer.vocab_size == VoxTokenizer().vocab_size + 1


def test_vox_prefers_the_model_folders_own_file(embedded: Path, make_model: MakeModel) -> None:
    folder = make_model()
    chosen = choose_tokenizer(TokenizerKind.VOX, folder)
    assert (chosen.path, chosen.notes) == (folder / "tokenizer.json", ())


@pytest.mark.parametrize("content", [None, "{}", "no json"])
def test_vox_on_a_foreign_model_says_that_the_base_never_saw_it(
    embedded: Path, make_model: MakeModel, content: str | None
) -> None:
    folder = make_model(tokenizer=False)
    if content is not None:
        (folder / "tokenizer.json").write_text(content, encoding="utf-8")
    chosen = choose_tokenizer(TokenizerKind.VOX, folder)
    assert chosen.path == embedded / "tokenizer.json"
    assert len(chosen.notes) == 1
    assert "never saw" in chosen.notes[0]


def test_a_broken_embedded_vocabulary_is_an_error(embedded: Path) -> None:
    (embedded / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="MENS-D020"):
        choose_tokenizer(TokenizerKind.VOX, None)


def test_hf_without_its_library_names_the_extra(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vox_populi.extras.is_installed", lambda module: module != "tokenizers")
    with pytest.raises(MissingExtraError, match="MENS-X001"):
        choose_tokenizer(TokenizerKind.HF, make_model())


def test_hf_reads_the_folders_file_and_agrees_with_vox(
    embedded: Path, make_model: MakeModel
) -> None:
    pytest.importorskip("tokenizers", reason="needs vox-populi[mens-gpu]")
    folder = make_model()
    hf, vox = (choose_tokenizer(kind, folder, (2,)).tokenizer for kind in TokenizerKind)
    text = "def f(x):\n    return 'naïve <|im_end|>'\n"
    assert hf.encode(text) == vox.encode(text)
    assert hf.eos_id == 2
    assert choose_tokenizer(TokenizerKind.HF, None).path == embedded / "tokenizer.json"


def test_hf_without_a_file_names_it(make_model: MakeModel) -> None:
    pytest.importorskip("tokenizers", reason="needs vox-populi[mens-gpu]")
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        choose_tokenizer(TokenizerKind.HF, make_model(tokenizer=False))
