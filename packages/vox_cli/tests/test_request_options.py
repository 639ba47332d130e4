"""Options made from a request's settings: names, help, values, and that they reach the command."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command

from vox_cli import flags
from vox_cli.request_options import (
    default_text,
    metavar_of,
    parser_of,
    takes_settings,
    variable_of,
)
from vox_cli.train_request import TRAIN_SETTINGS, choose_settings
from vox_cli.value_parsers import ValueRefusedError
from vox_populi.contract.setting import setting, settings_of


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
        chosen = choose_settings(context, None)
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
