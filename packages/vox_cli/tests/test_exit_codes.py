from __future__ import annotations

from vox_cli.exit_codes import EXIT_CODE_OF_KIND, MEANING_OF_CODE, ExitCode
from vox_tensor.errors import FailureKind


def test_every_kind_of_failure_has_a_code_of_its_own() -> None:
    codes = [EXIT_CODE_OF_KIND[kind] for kind in FailureKind]
    assert len(set(codes)) == len(codes)
    assert not {ExitCode.DONE, ExitCode.OUR_BUG} & set(codes)


def test_every_code_is_explained() -> None:
    assert set(MEANING_OF_CODE) == set(ExitCode)


def test_codes_are_those_that_scripts_rely_on() -> None:
    assert {kind.value: int(code) for kind, code in EXIT_CODE_OF_KIND.items()} == {
        "usage": 2,
        "refused": 3,
        "run_failed": 4,
        "environment": 5,
        "gate_missed": 6,
        "missing_extra": 7,
    }
