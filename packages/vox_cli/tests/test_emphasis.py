"""Colours: what has one, and that `--color` and NO_COLOR decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vox_cli.emphasis import with_figures, with_lead
from vox_cli.terminal import Style

Vox = Callable[..., Any]


def test_the_first_word_of_a_message_has_its_colour() -> None:
    assert with_lead("error [MENS-U001] no") == [
        ("error", Style.BOLD_RED),
        (" [MENS-U001] no", Style.PLAIN),
    ]
    assert with_lead("note: so")[0] == ("note:", Style.CYAN)
    assert "".join(text for text, _ in with_lead("step 0: held-out loss 1")) == (
        "step 0: held-out loss 1"
    )


def test_the_figures_of_a_report_are_bold_and_nothing_is_lost() -> None:
    text = "run            r\nheld-out loss  2 -> 1\n"
    pieces = with_figures(text)
    assert "".join(part for part, _ in pieces) == text
    assert [part for part, style in pieces if style is Style.BOLD] == ["held-out loss  2 -> 1"]


@pytest.mark.parametrize(
    ("words", "variables", "is_red"),
    [
        (["--color", "always"], {}, True),
        (["--color=always"], {"NO_COLOR": "1"}, True),
        (["--color", "never"], {"FORCE_COLOR": "1"}, False),
        ([], {"FORCE_COLOR": "1"}, True),
        ([], {"VOX_MENS_COLOR": "always"}, True),
        ([], {"NO_COLOR": "1"}, False),
        ([], {}, False),
    ],
)
def test_errors_are_red_where_colour_is_wanted(
    vox: Vox,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    variables: dict[str, str],
    is_red: bool,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "VOX_MENS_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    outcome = vox("mens", "train", "--flavour", *words)
    assert outcome.code == 2
    assert outcome.err.startswith(f"{Style.BOLD_RED}error" if is_red else "error [MENS-U002]")
