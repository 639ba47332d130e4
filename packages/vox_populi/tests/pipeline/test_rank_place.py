"""What the variables of a launcher say of a process."""

from __future__ import annotations

import pytest

from vox_populi.errors import ConfigError, EnvironmentFailure
from vox_populi.pipeline.launch import (
    PATIENCE_VARIABLE,
    processes_here,
    require_one_process,
    seconds_to_stop,
)
from vox_populi.pipeline.rank_place import RankPlace, rank_place
from vox_populi.pipeline.stopped_run import RankKilledError

SECOND = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "h",
    "MASTER_PORT": "1",
}


def test_a_process_that_nobody_launched_is_alone() -> None:
    assert rank_place({}) == RankPlace()
    assert rank_place({"WORLD_SIZE": "8"}) == RankPlace(), "some machines always have it"
    assert rank_place({}).is_first


def test_a_launched_process_knows_its_place() -> None:
    place = rank_place(SECOND)
    assert place == RankPlace(rank=3, size=4, local_rank=1, local_size=2, is_launched=True)
    assert not place.is_first


def test_one_launched_process_needs_no_address() -> None:
    assert rank_place({"RANK": "0", "WORLD_SIZE": "1"}) == RankPlace(is_launched=True)


def test_a_place_without_local_numbers_is_the_only_one_of_its_machine() -> None:
    local = ("LOCAL_RANK", "LOCAL_WORLD_SIZE")
    place = rank_place({name: text for name, text in SECOND.items() if name not in local})
    assert (place.local_rank, place.local_size) == (0, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"RANK": "four"}, "RANK is 'four'"),
        ({"RANK": "4"}, "RANK is 4 and WORLD_SIZE is 4"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is 0"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR is not set"),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK is '-1'"),
    ],
)
def test_contradicting_variables_are_refused(changes: dict[str, str], said: str) -> None:
    with pytest.raises(EnvironmentFailure, match="MENS-R205") as caught:
        rank_place({**SECOND, **changes})
    assert said in str(caught.value)


def test_a_flag_makes_processes_here() -> None:
    assert processes_here(4, RankPlace()) == RankPlace(size=4, local_size=4)


def test_a_launcher_has_decided_already() -> None:
    place = rank_place(SECOND)
    assert processes_here(1, place) == place
    assert processes_here(2, place) == place
    with pytest.raises(ConfigError, match="MENS-P100"):
        processes_here(4, place)


def test_what_one_process_does_is_refused_to_several() -> None:
    require_one_process(RankPlace())
    with pytest.raises(ConfigError, match="MENS-R211"):
        require_one_process(RankPlace(size=2, local_size=2))


def test_a_killed_process_ends_with_the_code_of_its_signal() -> None:
    error = RankKilledError(2, 9)
    assert error.exit_code == 137
    assert "process 2" in str(error)
    assert "SIGKILL (exit code 137)" in str(error)


def test_a_signal_without_a_name_has_its_number() -> None:
    error = RankKilledError(0, 40)
    assert error.exit_code == 168
    assert "signal 40" in str(error)


def test_the_time_to_stop_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PATIENCE_VARIABLE, raising=False)
    assert seconds_to_stop() == 30
    monkeypatch.setenv(PATIENCE_VARIABLE, "120")
    assert seconds_to_stop() == 120
    monkeypatch.setenv(PATIENCE_VARIABLE, "2m")
    with pytest.raises(EnvironmentFailure, match="MENS-R210"):
        seconds_to_stop()
