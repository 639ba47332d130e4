"""Options made from a request's settings: names, help, values, and that they reach the command."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command

from vox_cli import flags
from vox_cli.refused_value import ValueRefusedError
from vox_cli.request_options import (
    default_text,
    metavar_of,
    parser_of,
    takes_settings,
    variable_of,
    with_requests,
)
from vox_cli.train_request import TRAIN_SETTINGS, choose_settings
from vox_populi.contract.setting import require_settings, setting, setting_metadata, settings_of
from vox_populi.errors import ConfigError
from vox_populi.hub.transfer import Unwatched
from vox_populi.number_ranges import COUNT


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Request:
    ratio: float = setting(0.25, "A ratio.", name="share")
    colour: Colour = setting(Colour.RED, "A colour.", words={"rot": Colour.RED})
    place: Path | None = setting(None, "A place.", metavar="FILE")
    loud: bool = setting(False, "Be loud.")
    quiet: bool = setting(False, "Whisper.", name="no_voice", negated=True)


SHARE, COLOUR, PLACE, LOUD, QUIET = settings_of(Request)


def command(seen: dict[str, Any]) -> Any:
    @takes_settings(Request)
    def run(
        context: typer.Context, last: Annotated[str | None, flags.text("Last.")] = None
    ) -> None:
        """Do it."""
        seen.update(context.params)
        seen["last is"] = last

    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(context_settings={"auto_envvar_prefix": "VOX_MENS"})(run)
    return get_command(app)


def called(*argv: str) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    command(seen).main(list(argv), standalone_mode=False)
    return seen


def test_options_stand_after_the_context_in_the_order_of_the_fields() -> None:
    params = command({}).params
    assert [(each.name, each.opts, each.secondary_opts) for each in params] == [
        ("share", ["--share"], []),
        ("colour", ["--colour"], []),
        ("place", ["--place"], []),
        ("loud", ["--loud"], ["--no-loud"]),
        ("no_voice", ["--no-voice"], ["--voice"]),
        ("last", ["--last"], []),
    ]
    assert [each.metavar for each in params] == ["X", "red|blue", "FILE", None, None, "TEXT"]
    assert params[0].help == "A ratio. [default: 0.25]"
    assert params[2].help == "A place."


def test_values_reach_the_context_typed_and_the_others_the_command() -> None:
    seen = called("--share", "1e-1", "--colour", "ROT", "--place", "p", "--voice", "--last", "z")
    assert seen == {
        "share": 0.1,
        "colour": Colour.RED,
        "place": Path("p"),
        "loud": None,
        "no_voice": False,
        "last": "z",
        "last is": "z",
    }


def test_the_environment_has_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable_of(SHARE), "0.5")
    assert called()["share"] == 0.5


def test_a_word_of_no_member_is_refused_naming_the_members() -> None:
    with pytest.raises(ValueRefusedError) as caught:
        parser_of(COLOUR)("green")
    assert "red" in caught.value.problems[0].fix


def test_texts_of_the_help() -> None:
    assert [metavar_of(each) for each in (SHARE, COLOUR, PLACE)] == ["X", "red|blue", "FILE"]
    assert [default_text(each) for each in (SHARE, COLOUR, PLACE)] == ["0.25", "red", ""]


def test_every_setting_of_training_can_be_read_back_from_its_default() -> None:
    seen: dict[str, Any] = {}

    def look(context: typer.Context) -> None:
        chosen = choose_settings(context, None, Unwatched())
        seen.update({name: each.value for name, each in chosen.items()})

    app = typer.Typer(add_completion=False)
    app.command()(look)
    get_command(app).main([], standalone_mode=False)
    without = {"output_dir"}
    assert seen.keys() == {each.name for each in TRAIN_SETTINGS} - without
    for each in TRAIN_SETTINGS:
        value = seen.get(each.name)
        if value is not None and not each.is_repeated:
            assert parser_of(each)(str(value)) == value


@dataclass(frozen=True, kw_only=True)
class Group:
    threads: int | None = setting(None, "Threads.", allowed=COUNT, default_text="some")

    def __post_init__(self) -> None:
        require_settings(self)


@dataclass(frozen=True, kw_only=True)
class Errand:
    run: Path = field(metadata=setting_metadata("A run.", argument="RUN", flags=("--run", "-r")))
    target: Colour = field(metadata=setting_metadata("For whom.", flags=("--for",)))
    files: Path | tuple[Path, ...] = setting((), "Files.", metavar="FILE")
    group: Group = field(default_factory=Group)
    is_loud: bool = setting(False, "Be loud.", name="loud")
    blocks: bool = setting(True, "No blocks.", name="no_blocks", negated=True)
    rows: int = 3
    """Not a setting."""


def errand(*argv: str) -> tuple[Errand, int]:
    seen: list[tuple[Errand, int]] = []

    def go(request: Errand, times: Annotated[int, flags.whole("Times.")] = 1) -> None:
        seen.append((request, times))

    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(context_settings={"auto_envvar_prefix": "VOX_MENS"})(with_requests(go, "vox go"))
    get_command(app).main(list(argv), standalone_mode=False)
    return seen[0]


def test_a_command_that_takes_a_request_has_its_options() -> None:
    request = Errand(run=Path("r"), target=Colour.BLUE)
    assert errand("r", "--for", "blue") == (request, 1)
    assert errand("--run", "r", "--for", "BLUE", "--times", "2") == (request, 2)
    assert errand("-r", "r", "--for", "blue") == (request, 1)
    words = ("r", "--for", "red", "--files", "a", "--files", "b", "--loud", "--no-blocks")
    assert errand(*words, "--threads", "2") == (
        Errand(
            run=Path("r"),
            target=Colour.RED,
            files=(Path("a"), Path("b")),
            group=Group(threads=2),
            is_loud=True,
            blocks=False,
        ),
        1,
    )


def test_a_request_is_refused_before_the_command_is_called() -> None:
    with pytest.raises(ConfigError) as missing:
        errand("--for", "red")
    assert [(each.code, each.where) for each in missing.value.problems] == [("MENS-U001", "RUN")]
    with pytest.raises(ConfigError) as twice:
        errand("r", "--run", "s", "--for", "red")
    assert "RUN" in str(twice.value)
    with pytest.raises(ValueRefusedError):
        errand("r", "--for", "red", "--threads", "0")
    with pytest.raises(ConfigError):
        Group(threads=0)


def test_the_environment_sets_a_request_by_the_names_of_its_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VOX_MENS_TARGET", "red")
    monkeypatch.setenv("VOX_MENS_RUN", "r")
    assert errand()[0] == Errand(run=Path("r"), target=Colour.RED)
