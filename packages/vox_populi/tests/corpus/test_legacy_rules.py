from __future__ import annotations

import os
from pathlib import Path

import pytest

from vox_populi.corpus.legacy_rules import SOURCE_RULES, LegacyFilter, read_legacy_rules
from vox_populi.errors import ConfigError

RULE = 'schema_version = 1\n[[rule]]\nname = "old-api"\npattern = "v1/"\n'


def rules(folder: Path, text: str | bytes) -> Path:
    path = folder / "rules.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("line", "marks"),
    [
        ("export VOX_EMIT_EXPRESS_SERVER=1", ["express-server-flag"]),
        ("It writes an Express app to server.ts.", ["express-server-output"]),
        ("server.ts: an express() app", ["express-server-output"]),
        ("VOX_EMIT_EXPRESS_SERVER=1 is legacy and opt-in", []),
        ("Axum with api.ts replaces the Express server.ts", []),
        ("The default story is Axum and api.ts.", []),
        ("Express yourself", []),
        ("server.ts alone", []),
        ("expression.server.ts", []),
    ],
)
def test_the_rules_that_ship_mark_express_servers(line: str, marks: list[str]) -> None:
    found = read_legacy_rules(SOURCE_RULES).marks(["before\n" + line + "\nafter", "other"])
    assert list(found) == marks


def test_a_rule_looks_at_one_line_at_a_time(tmp_path: Path) -> None:
    text = RULE.replace("v1/", "^a.*b$") + 'unless = "new"\n'
    found = read_legacy_rules(rules(tmp_path, text))
    assert found.marks(["x\na to b"]) == ("old-api",)
    assert found.marks(["a\nb"]) == ()
    assert found.marks(["a new b", "a b\nnew"]) == ("old-api",)
    assert found.marks(["a new b"]) == ()


def test_a_marked_row_is_left_out_or_tagged(tmp_path: Path) -> None:
    found = read_legacy_rules(rules(tmp_path, RULE))
    assert LegacyFilter(found).tags(["GET v1/x"]) is None
    assert LegacyFilter(found).tags(["GET v2/x"]) == {}
    assert LegacyFilter(found, keeps=True).tags(["GET v1/x"]) == {"legacy": ["old-api"]}
    assert LegacyFilter().tags(["GET v1/x"]) == {}


@pytest.mark.parametrize(
    "text",
    [
        *("", "no toml", "schema_version = 1\n", RULE.replace("= 1", "= 2", 1)),
        RULE.replace("[[rule]]", "[rule]"),
        RULE.replace("[[rule]]", "[[rules]]"),
        RULE + "severity = 1\n",
        RULE.replace('"old-api"', '"Old API"'),
        RULE.replace('"old-api"', "7"),
        RULE.replace('pattern = "v1/"', ""),
        RULE.replace('"v1/"', "7"),
        RULE.replace('"v1/"', '"(a"'),
        RULE + 'unless = "(?=a)"\n',
        RULE + 'ignore_case = "yes"\n',
        RULE + "reason = 1\n",
        RULE + RULE.partition("\n")[2],
        b"\xff\xfe",
        b"# " + b"x" * 300_000,
        "a = " + "[" * 5000,
    ],
)
def test_a_bad_file_is_refused_in_plain_lines(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        read_legacy_rules(rules(tmp_path, text))
    assert {problem.code for problem in caught.value.problems} == {"MENS-D236"}


def test_all_that_is_wrong_is_reported(tmp_path: Path) -> None:
    text = RULE + "x = 1\n" + RULE.partition("\n")[2].replace("v1/", "*") + "[other]\n"
    with pytest.raises(ConfigError) as caught:
        read_legacy_rules(rules(tmp_path, text))
    assert len(caught.value.problems) == 3


def test_a_pipe_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "none", "."):
        with pytest.raises(ConfigError):
            read_legacy_rules(tmp_path / name)
