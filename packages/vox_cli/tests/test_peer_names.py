"""The table of peers' names cannot rot: whatever it names is looked up in the real commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any

import pytest

from vox_cli.command_loading import load_command
from vox_cli.command_table import COMMANDS, GROUP_HELP
from vox_populi.contract.choices import Backend, ComputeDtype, DeviceKind, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.optimizer_choice import OptimizerKind
from vox_populi.contract.qlora_spec import BaseQuant
from vox_populi.contract.setting import settings_of
from vox_populi.data.dataset import OnBadRow, OnLongRow
from vox_populi.data.learned_parts import LearnedParts
from vox_populi.data.training_text import ChatTemplate
from vox_populi.export.consumers import Consumer, GgufType
from vox_populi.merge.choices import MergeFormat
from vox_populi.operator_messages.peer_names import (
    ABSENT_SETTINGS,
    COMMAND_NOTES,
    OWN_SETTINGS,
    PEER_COMMANDS,
    PEER_SETTINGS,
    PEER_WORDS,
)
from vox_populi.runs.adapter_place import AdapterForm
from vox_tensor.schedule import ScheduleKind

Vox = Callable[..., Any]

PARSERS: Mapping[tuple[str, ...], Any] = {entry.words: load_command(entry) for entry in COMMANDS}
SETS: tuple[type[StrEnum], ...] = (
    Backend, BaseQuant, ComputeDtype, DeviceKind, TokenizerKind, OnBadRow, OnLongRow,
    ChatTemplate, Consumer, GgufType, AdapterForm, MergeFormat, ScheduleKind,
    OptimizerKind, LearnedParts,
)  # fmt: skip
TRAIN = ("mens", "train")


def flags_of(words: tuple[str, ...]) -> dict[str, Any]:
    """Every spelling of every flag of a command."""
    return {
        name: each
        for each in PARSERS[words].params
        if each.param_type_name == "option"
        for name in (*each.opts, *each.secondary_opts)
    }


ALL_FLAGS = {name for words in PARSERS for name in flags_of(words)}


def candidates(table: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    yield from sorted({each for meant in table.values() for each in meant})


def complaint_about(candidate: str) -> str | None:
    """What is wrong with something that the table says one can type."""
    if not candidate.startswith("--"):
        command, metavar = candidate.split()
        parsers = [p for words, p in PARSERS.items() if words[-1] == command]
        arguments = [p.metavar for each in parsers for p in each.params if p.metavar == metavar]
        return None if arguments else "no such argument"
    flags = [word for word in candidate.split() if word.startswith("--")]
    holders = [words for words in PARSERS if set(flags) <= set(flags_of(words))]
    if not holders:
        return "no command has these flags"
    return None


@pytest.mark.parametrize("candidate", [*candidates(PEER_SETTINGS), *candidates(OWN_SETTINGS)])
def test_every_setting_that_is_offered_exists_and_takes_the_value(vox: Vox, candidate: str) -> None:
    assert complaint_about(candidate) is None
    if candidate.startswith("--") and len(candidate.split()) == 2:
        assert vox("mens", "train", *candidate.split(), "--print-config").code == 0


@pytest.mark.parametrize("name", sorted(PEER_SETTINGS))
def test_every_setting_of_a_peer_is_answered_with_its_entry(vox: Vox, name: str) -> None:
    for words in PARSERS:
        first = next((c for c in PEER_SETTINGS[name] if c.split()[0] in flags_of(words)), None)
        if first is None or words[0] != "mens":
            continue
        flag = "--" + name.replace("_", "-")
        outcome = vox(*words, flag, "1", "--json")
        assert outcome.code == 2
        (problem,) = outcome.document["problems"]
        assert (problem["code"], problem["where"]) == ("MENS-U002", flag)
        assert problem["fix"] == f"Did you mean {first}?"
        return
    pytest.fail("no command has it")


def test_no_name_of_a_peer_is_one_of_ours() -> None:
    ours = {name.removeprefix("--").replace("-", "_") for name in ALL_FLAGS}
    assert set(PEER_SETTINGS) & ours == set()
    assert set(ABSENT_SETTINGS) & (ours | set(PEER_SETTINGS)) == set()
    assert set(OWN_SETTINGS) - ours == {"ce_last_k"} - ours


def test_no_word_of_a_peer_is_a_command_of_ours() -> None:
    # A word below `vox mens` only; in a group of ours, `run` is not what a peer means by it.
    ours = {word.replace("-", "_") for entry in COMMANDS for word in entry.words[:2]}
    assert (set(PEER_COMMANDS) | set(COMMAND_NOTES)) & ours == set()


@pytest.mark.parametrize("offer", list(candidates(PEER_COMMANDS)))
def test_every_command_that_is_offered_exists_with_its_flags(offer: str) -> None:
    words = [word for word in offer.split() if not word.startswith("--")]
    flags = [word for word in offer.split() if word.startswith("--")]
    if offer in ("--help", "--version"):
        return
    command = next((w for w in PARSERS if tuple(words[: len(w)]) == w), None)
    if command is None:
        assert tuple(words) in GROUP_HELP
        assert flags == []
        return
    assert set(flags) <= set(flags_of(command))


def test_every_value_that_is_offered_is_a_choice_somewhere() -> None:
    choices = {member.value for kind in SETS for member in kind}
    assert [word for word in candidates(PEER_WORDS) if word not in choices] == []


@pytest.mark.parametrize("reason", sorted({*ABSENT_SETTINGS.values(), *COMMAND_NOTES.values()}))
def test_every_flag_and_command_in_a_reason_exists(reason: str) -> None:
    flags = {word.strip("`,;:.()") for word in reason.split() if word.strip("`(").startswith("--")}
    assert flags - {"--local-dir"} <= ALL_FLAGS
    for quoted in reason.split("`")[1::2]:
        program, *words = quoted.split()
        assert program == "hf" or tuple(words[:2]) in PARSERS


def test_every_field_of_a_request_is_known_by_its_setting() -> None:
    settings = settings_of(FinetuneContract)
    names = {each.name for each in settings}
    wrong = {
        each.field: each.name
        for each in settings
        if each.field not in names
        and _offered(each.field, TRAIN) != (each.off_flag if each.spec.negated else each.flag)
    }
    assert wrong == {}


def _offered(field: str, words: tuple[str, ...]) -> str | None:
    entries = (*PEER_SETTINGS.get(field, ()), *OWN_SETTINGS.get(field, ()))
    return next((each for each in entries if each in flags_of(words)), None)
