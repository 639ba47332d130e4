"""What a field's metadata says of a setting, and what is made from it."""

from __future__ import annotations

from collections import Counter
from dataclasses import MISSING, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from vox_populi.contract.finetune_contract import FinetuneContract, setting_recorded_as
from vox_populi.contract.qlora_spec import QloraSpec
from vox_populi.contract.setting import (
    Recorded,
    SettingSpec,
    build,
    in_order,
    out_of_range,
    record_of,
    setting,
    setting_metadata,
    settings_in,
    settings_of,
)
from vox_populi.contract.setting_groups import BatchSettings, OptimizationSettings
from vox_populi.number_ranges import COUNT, NumberRange, NumberSet
from vox_tensor.lora_spec import LoraSpec

WHERE = {"data_dir": Path("data"), "output_dir": Path("out")}


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    width: float = setting(2.0, "Width.", allowed=COUNT)
    hidden: bool = setting(True, "Show.", name="no_hidden", negated=True)


@dataclass(frozen=True)
class Foreign:
    size: int = 3
    unset: int = 4


@dataclass(frozen=True)
class Request:
    place: Path = field(metadata=setting_metadata("Place.", recorded=Recorded.NEVER))
    inner: Inner = field(default_factory=lambda: Inner(width=5.0))
    foreign: Foreign = field(
        default_factory=Foreign, metadata=settings_in(Foreign, size=SettingSpec(help="Size."))
    )
    colour: Colour = setting(Colour.RED, "Colour.", recorded=Recorded.IF_CHANGED)
    list_: tuple[str, ...] | None = setting(
        None,
        "List.",
        parse=lambda text: None if text == "all" else tuple(text.split(",")),
        as_text=lambda value: "all" if value is None else ",".join(value),
    )
    other: int = 1


def by_field(name: str) -> Any:
    return next(each for each in settings_of(Request) if each.field == name)


def test_fields_with_a_spec_are_settings_in_their_order_with_the_defaults_of_the_request() -> None:
    found = [(each.field, each.group, each.default) for each in settings_of(Request)]
    assert found == [
        ("place", None, MISSING),
        ("width", "inner", 5.0),
        ("hidden", "inner", True),
        ("size", "foreign", 3),
        ("colour", None, Colour.RED),
        ("list_", None, None),
    ]


def test_names_and_flags_follow_from_the_field_unless_the_spec_says_otherwise() -> None:
    assert (by_field("width").name, by_field("width").flag) == ("width", "--width")
    hidden = by_field("hidden")
    assert (hidden.name, hidden.flag, hidden.off_flag) == ("no_hidden", "--no-hidden", "--hidden")


def test_null_is_a_value_only_where_no_word_means_it() -> None:
    (steps,) = [each for each in settings_of(FinetuneContract) if each.field == "max_steps"]
    assert steps.takes_null
    assert by_field("list_").is_nullable
    assert not by_field("list_").takes_null
    assert not by_field("width").takes_null


@pytest.mark.parametrize(
    ("name", "value", "asked"),
    [("width", 1.0, 1.0), ("hidden", True, False), ("list_", None, "all"), ("list_", ("a",), "a")],
)
def test_what_is_asked_and_what_is_stored_lead_to_each_other(
    name: str, value: object, asked: object
) -> None:
    assert by_field(name).asked(value) == asked
    assert by_field(name).stored(asked) == value


def test_a_request_is_built_from_the_fields_of_its_groups() -> None:
    built = build(Request, {"place": Path("a"), "hidden": False, "size": 9, "other": 2})
    assert built == Request(Path("a"), Inner(5.0, hidden=False), Foreign(size=9), other=2)
    whole = build(Request, {"place": Path("a"), "inner": Inner(7.0), "hidden": False})
    assert whole.inner == Inner(7.0, hidden=False)


def test_a_name_that_no_field_has_is_a_callers_mistake() -> None:
    with pytest.raises(TypeError, match="Request has no setting unset, widht"):
        build(Request, {"place": Path("a"), "widht": 1.0, "unset": 1})


def test_a_record_has_json_values_and_leaves_out_what_it_is_told_to() -> None:
    request = Request(Path("a"))
    assert record_of(request) == {"list_": "all"}
    changed = build(Request, {"place": Path("a"), "list_": ("b", "c")})
    assert record_of(changed) == {"list_": "b,c"}
    assert record_of(Inner(width=3)) == {"width": 3.0, "hidden": True}
    assert isinstance(record_of(Inner(width=3))["width"], float)


def test_a_record_can_keep_some_names_first_and_some_last() -> None:
    record = {"a": 1, "b": 2, "c": 3, "d": 4}
    assert list(in_order(record, first=("c",), last=("b",)).items()) == [
        ("c", 3),
        ("a", 1),
        ("d", 4),
        ("b", 2),
    ]


def test_a_setting_that_is_recorded_if_changed_is_recorded_then_alone() -> None:
    assert not by_field("colour").is_recorded(Colour.RED)
    assert by_field("colour").is_recorded("blue")
    assert by_field("width").is_recorded(5.0)
    assert not by_field("place").is_recorded(Path("b"))


def test_numbers_out_of_range_are_named_by_flag_and_a_range_can_be_narrowed() -> None:
    settings = settings_of(Request)
    request = build(Request, {"place": Path("a"), "width": -1})
    (problem,) = out_of_range(request, settings)
    assert (problem.code, problem.where) == ("MENS-C002", "--width")
    assert not list(out_of_range(Request(Path("a"), Inner(width=4)), settings))
    narrow = {"width": NumberRange(lowest=1, highest=3)}
    assert list(out_of_range(Request(Path("a"), Inner(width=4)), settings, narrow))


def test_a_set_of_numbers_holds_its_members_alone() -> None:
    allowed = NumberSet((32, 64))
    assert allowed.holds(64)
    assert not any(allowed.holds(each) for each in (48, True, "64", 64.0))
    assert str(allowed) == "one of 32, 64"


def test_no_two_settings_of_the_contract_share_a_field_or_a_name() -> None:
    settings = settings_of(FinetuneContract)
    for counts in (Counter(e.field for e in settings), Counter(e.name for e in settings)):
        assert [name for name, count in counts.items() if count > 1] == []


def test_every_field_of_the_contract_and_its_groups_is_a_setting() -> None:
    fields = {each.field for each in settings_of(FinetuneContract)}
    for group in (FinetuneContract, QloraSpec, LoraSpec, BatchSettings, OptimizationSettings):
        groups = {each.group for each in settings_of(FinetuneContract)}
        assert set(group.__dataclass_fields__) - groups <= fields


def test_a_contract_is_built_from_names_and_equals_the_one_built_from_groups() -> None:
    built = FinetuneContract.of(**WHERE, rank=4, seq_len=64, double_quant=True, weight_decay=0.5)
    assert built == FinetuneContract(
        data_dir=Path("data"),
        output_dir=Path("out"),
        lora=LoraSpec(rank=4, alpha=32.0),
        batching=BatchSettings(seq_len=64),
        optimization=OptimizationSettings(weight_decay=0.5),
    )
    assert (built.batching.window_tokens, built.batching.rows_per_step) == (256, 16)


def test_a_leaf_of_the_record_leads_to_its_setting() -> None:
    found = setting_recorded_as("double_quant")
    assert found is not None
    assert found.flag == "--qlora-no-double-quant"
    assert setting_recorded_as("contract_schema_version") is None
