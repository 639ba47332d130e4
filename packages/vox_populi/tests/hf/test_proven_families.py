from __future__ import annotations

from vox_populi.hf.family_registry import FAMILIES, family_of
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.proven_families import (
    THROUGH_TRANSFORMERS,
    TRANSFORMERS_VERSION,
    proven_families,
    proven_family,
    tried_families,
)
from vox_populi.hf.proven_family import Proven, ProvenBy, RowsTogether
from vox_populi.hf.transformers_classes import TESTED_MINORS


def test_every_native_family_is_listed_with_everything_proven() -> None:
    native = [each for each in proven_families() if each.source is GraphSource.NATIVE]
    assert {each.model_type for each in native} == {family.name for family in FAMILIES}
    assert all(each.proven == tuple(Proven) for each in native)
    assert all(each.rows is RowsTogether.PACKED for each in native)


def test_a_type_is_listed_once_and_natively_where_there_is_native_code() -> None:
    names = [each.model_type for each in proven_families()]
    assert len(names) == len(set(names)) > len(FAMILIES)
    assert [each.model_type for each in THROUGH_TRANSFORMERS if family_of(each.model_type)] == []
    others = [each for each in proven_families() if each.source is GraphSource.TRANSFORMERS]
    assert [each.model_type for each in others] == sorted(each.model_type for each in others)


def test_rows_that_are_not_packed_have_a_reason() -> None:
    for each in (*THROUGH_TRANSFORMERS, *tried_families()):
        is_packed = each.rows is RowsTogether.PACKED
        assert (each.leak is None and not each.why) == is_packed, each.model_type
        assert list(each.proven) == [claim for claim in Proven if claim in each.proven]
        assert not (each.rows is RowsTogether.REFUSED and each.proven)


def test_a_trial_is_listed_where_no_test_compares() -> None:
    tried = {each.model_type: each for each in tried_families()}
    listed = {each.model_type: each for each in proven_families()}
    assert len(tried) >= 80
    assert tried.keys() <= listed.keys()
    assert all(each.by is ProvenBy.TRIAL for each in tried.values())
    assert listed["llama"].by is listed["glm4"].by is ProvenBy.TESTS
    assert listed["gpt_neox"] == tried["gpt_neox"]
    hybrid = proven_family("granitemoehybrid", GraphSource.TRANSFORMERS)
    assert hybrid == tried["granitemoehybrid"] != listed["granitemoehybrid"]
    assert proven_family("granitemoehybrid", GraphSource.NATIVE) == listed["granitemoehybrid"]
    assert proven_family("unheard_of", GraphSource.TRANSFORMERS) is None
    assert (tried["bloom"].leak, tried["bamba"].leak) == (0.7, None)
    assert tried["llama4_text"].rows is RowsTogether.REFUSED
    assert [name for name, each in listed.items() if each.packed_forms] == ["gpt_oss"]
    assert listed["gpt_oss"].as_json()["packed_forms"] == ["mxfp4"]


def test_the_rows_were_measured_with_a_version_that_is_tested() -> None:
    assert tuple(map(int, TRANSFORMERS_VERSION.split("."))) in TESTED_MINORS
