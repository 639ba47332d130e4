"""Which texts count as Python."""

from __future__ import annotations

import pytest

from vox_populi.infer.python_syntax import is_python


@pytest.mark.parametrize(
    "text",
    [
        "x = 1\n",
        "    def f(self):\n        return 1\n",
        "Here it is:\n```python\nx = 1\n```\nDone.",
        "```\nx = 1\n```\n\n```py\ny = 2\n```",
        'x = "\\d"',
    ],
)
def test_python_and_fenced_python_are_python(text: str) -> None:
    assert is_python(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "def f(:",
        "Here it is.",
        "```python\ndef f(:\n```",
        "x = 1\n```",
        "\0",
        "(" * 9999,
    ],
)
def test_text_that_is_not_python_is_rejected(text: str) -> None:
    assert not is_python(text)
