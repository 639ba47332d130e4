"""Write ragged chat rows for `rows_bench.py`: slices of the standard library's sources.

Every row has a few words of its own, as text of people does, one in seven has characters beyond
ASCII, one in three has two turns, one in five a system message. 1,000,000 rows are about 1 GiB.
"""

from __future__ import annotations

import json
import random
import sys
import sysconfig
from pathlib import Path

_MEDIAN, _SPREAD, _SHORTEST, _LONGEST = 620, 0.75, 120, 6000
_VERBS = ("review", "explain", "rewrite", "summarise", "test", "port", "document", "profile")
_BEYOND_ASCII = " \u2013 naïve café, 東京 \U0001f44b"


def sources() -> str:
    """The text of the standard library."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = (path for path in sorted(root.rglob("*.py")) if "site-packages" not in path.parts)
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)


def write_chats(path: Path, count: int, seed: int = 1) -> None:
    """Write `count` rows as JSON Lines."""
    text, draw = sources(), random.Random(seed)

    def piece(length: int) -> str:
        start = draw.randrange(len(text) - length)
        # Some slices are nothing but blanks, which is no answer.
        return text[start : start + length] if text[start : start + length].strip() else "pass"

    with path.open("w", encoding="utf-8") as file:
        for i in range(count):
            length = round(_MEDIAN * 2.718281828 ** draw.gauss(0, _SPREAD))
            length = max(_SHORTEST, min(_LONGEST, length))
            n_prompt = int(length * draw.uniform(0.2, 0.6))
            own = (f"{draw.choice(_VERBS)}{draw.randrange(10**6):x}" for _ in range(length // 300))
            prompt = f"{draw.choice(_VERBS)} {' '.join(own)}:\n{piece(n_prompt)}"
            answer = piece(length - n_prompt) + (_BEYOND_ASCII if i % 7 == 0 else "")
            turns = [("user", prompt), ("assistant", answer)]
            if i % 3 == 0:
                turns += [("user", f"And {piece(60)}?"), ("assistant", piece(120))]
            if i % 5 == 0:
                turns.insert(0, ("system", "You write short, correct Python."))
            messages = [{"role": role, "content": content} for role, content in turns]
            row = {"messages": messages, "source": f"s{i % 4}"}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write_chats(Path(sys.argv[1]), int(sys.argv[2]))
