"""The readers of sidecars refuse every document that the shipped JSON Schemas refuse."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from packages.vox_populi.tests.schemas import meets_schema, validator_of
from vox_populi.adapters.v3.manifest import parse_manifest_v3
from vox_populi.adapters.v3.version2 import parse_meta_v2
from vox_populi.errors import ArtifactError
from vox_populi.files.whole_file import with_own_digest

GOLDEN = Path(__file__).parents[1] / "golden"
SIDECARS = sorted(path.relative_to(GOLDEN).as_posix() for path in GOLDEN.glob("*/*.json"))
SCHEMAS = {2: "adapter-meta-v2", 3: "adapter-manifest-v3"}
REPLACEMENTS: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, 3, -1, 1.5, 10**30, "", "x", "nf4", "a" * 64, [], ["q", "q"],
    ["x", ""], [1], {}, {"x": "y"}, {"x": 1},
)  # fmt: skip


def document_of(sidecar: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((GOLDEN / sidecar).read_text(encoding="utf-8"))
    return document


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every node below the root."""
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict | list):
        children = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


def mutants(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One change each: a node removed, replaced, or something added beside it."""
    for path in places(document):
        for change in (*REPLACEMENTS, "remove", "add"):
            mutant = copy.deepcopy(document)
            parent: Any = mutant
            for key in path[:-1]:
                parent = parent[key]
            if change == "remove":
                del parent[path[-1]]
            elif change == "add" and isinstance(parent, dict):
                parent["unheard_of"] = 1
            else:
                parent[path[-1]] = change
            yield mutant


@pytest.mark.parametrize("sidecar", SIDECARS)
def test_golden_files_meet_their_schema(sidecar: str) -> None:
    document = document_of(sidecar)
    assert meets_schema(document, SCHEMAS[document["version"]])
    assert not meets_schema({}, SCHEMAS[document["version"]])


def parse(document: dict[str, Any], version: int) -> object:
    parser = parse_meta_v2 if version == 2 else parse_manifest_v3
    return parser(document, Path("sidecar.json"))


def with_right_digest(document: dict[str, Any], mutant: dict[str, Any]) -> dict[str, Any]:
    """A mutant of a manifest of ours whose digest fits, so that its fields decide."""
    digest = "manifest_sha256"
    if digest not in document or mutant.get(digest) != document[digest]:
        return mutant
    del mutant[digest]
    return with_own_digest(mutant)


@pytest.mark.any_install
@pytest.mark.parametrize("sidecar", SIDECARS)
def test_the_reader_refuses_what_the_schema_refuses(sidecar: str) -> None:
    document = document_of(sidecar)
    version = document["version"]
    schema = validator_of(SCHEMAS[version])
    refused = 0
    for each in mutants(document):
        mutant = with_right_digest(document, each)
        if not schema.is_valid(mutant):
            refused += 1
            with pytest.raises(ArtifactError, match="MENS-A504"):
                parse(mutant, version)
    assert refused > len(document)
    assert parse(document, version)


@pytest.mark.parametrize("folder", ["v3_ours_full", "v3_ours_proxy", "v3_ours_lora"])
def test_a_changed_manifest_of_ours_is_never_accepted(folder: str) -> None:
    document = document_of(f"{folder}/populi_adapter_manifest_v3.json")
    text = json.dumps(document)
    for mutant in mutants(document):
        # A replacement may be what was there.
        if json.dumps(mutant) != text:
            with pytest.raises(ArtifactError, match="MENS-A504"):
                parse(mutant, 3)
    assert parse(document, 3)


def test_a_line_feed_after_a_digest_is_refused() -> None:
    document = document_of("v3_ours_full/populi_adapter_manifest_v3.json")
    document["adapter_sha256"] += "\n"
    with pytest.raises(ArtifactError, match="adapter_sha256 is not a SHA-256"):
        parse(with_right_digest(document, document), 3)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (("modules", "l0.o", "ours"), "modules.l0.o.ours is missing"),
        (("quant", "base_quant"), "quant.base_quant is missing"),
        (("rank",), "rank is missing"),
    ],
)
def test_a_missing_field_is_named_with_its_place(place: tuple[str, ...], said: str) -> None:
    document = document_of("v3_ours_full/populi_adapter_manifest_v3.json")
    parent = document
    for key in place[:-1]:
        parent = parent[key]
    del parent[place[-1]]
    with pytest.raises(ArtifactError, match=said):
        parse(with_right_digest(document, document), 3)


def test_all_missing_and_unknown_fields_are_named() -> None:
    document = document_of("v2_first_era/candle_qlora_adapter_meta.json")
    del document["rank"], document["vocab"]
    document["scale"] = 2.0
    with pytest.raises(ArtifactError, match="vocab is missing; rank is missing; scale is not kno"):
        parse(document, 2)


PAGE = Path(__file__).parents[5] / "docs" / "src" / "reference" / "adapter-formats.md"


@pytest.mark.skipif(not PAGE.is_file(), reason="the pages are not beside the package")
def test_the_examples_of_the_reference_page_are_golden_files() -> None:
    blocks = PAGE.read_text(encoding="utf-8").split("```json\n")[1:]
    shown = [json.loads(block.partition("```")[0]) for block in blocks]
    assert shown == [
        document_of("v3_ours_full/populi_adapter_manifest_v3.json"),
        document_of("v3_second_era/populi_adapter_manifest_v3.json"),
        document_of("v3_ours_full/candle_qlora_adapter_meta.json"),
        document_of("v2_first_era/candle_qlora_adapter_meta.json"),
    ]
