"""Rows for `make demo-real`: notes about orders, and each as JSON with four fixed keys.

The rows follow from a seed. Names, goods and sentences of the held-out rows occur in no row that is
trained on, so a right answer there was read from the note and not remembered.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KEYS = ("customer", "item", "quantity", "day")
QUESTION = "Write this order as JSON with the keys customer, item, quantity and day."
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Pool:
    """Words and sentences from which rows are drawn."""

    names: tuple[str, ...]
    items: tuple[str, ...]
    sentences: tuple[str, ...]


TRAINED = Pool(
    names=(
        *("Maria Lopez", "John Carter", "Aisha Khan", "Peter Novak", "Grace Kim", "Tom Becker"),
        *("Lena Fischer", "Omar Haddad", "Julia Rossi", "Daniel Cohen", "Nora Lind", "Paul Meyer"),
        *("Hannah Stone", "Victor Silva", "Emma Clarke", "Ravi Patel"),
    ),
    items=(
        *("green tea", "paper towels", "olive oil", "light bulbs", "printer paper", "dog food"),
        *(
            "garden soil",
            "coffee beans",
            "wooden chairs",
            "blue pens",
            "rice noodles",
            "wool socks",
        ),
        *("honey", "candles", "tennis balls", "picture frames"),
    ),
    sentences=(
        "{name} would like {n} packs of {item}, delivered on {day}.",
        "Please send {n} boxes of {item} to {name} this {day}.",
        "On {day}, {name} needs {n} units of {item}.",
        "{name} called: {n} x {item}, pick-up on {day}.",
        "Order from {name} for {day}: {n} bags of {item}.",
        "We owe {name} {n} crates of {item} by {day}.",
        "{day} delivery for {name}. Quantity {n}, product: {item}.",
        "Can you put aside {n} cartons of {item}? {name} comes by on {day}.",
    ),
)
HELD_OUT = Pool(
    names=(
        "Chloe Martin",
        "Samuel Osei",
        "Ingrid Dahl",
        "Marco Bianchi",
        "Yuki Tanaka",
        "Ella Reed",
    ),
    items=("black pepper", "bath towels", "desk lamps", "peanut butter", "steel bolts", "oat milk"),
    sentences=(
        "{name} has asked for {n} packages of {item} and wants them on {day}.",
        "For {day}: {n} boxes of {item}, to be collected by {name}.",
        "Reserve {n} sacks of {item} for {name}, who arrives on {day}.",
    ),
)


def rows(pool: Pool, count: int, seed: int) -> Iterator[dict[str, str]]:
    """So many different rows."""
    source = random.Random(seed)
    seen: set[str] = set()
    while len(seen) < count:
        order = {
            "customer": source.choice(pool.names),
            "item": source.choice(pool.items),
            "quantity": source.randint(2, 40),
            "day": source.choice(_DAYS),
        }
        sentence = source.choice(pool.sentences)
        name, item, n, day = order.values()
        note = sentence.format(name=name, item=item, n=n, day=day)
        if note not in seen:
            seen.add(note)
            yield {"prompt": f"{QUESTION}\n{note}", "response": json.dumps(order)}


def write_rows(path: Path, found: Iterator[dict[str, str]]) -> list[dict[str, str]]:
    """Write a JSON Lines file and return its rows."""
    written = list(found)
    text = "".join(json.dumps(row) + "\n" for row in written)
    path.write_text(text, encoding="utf-8")
    return written


def has_form(answer: str) -> bool:
    """Whether an answer is one JSON object with exactly the four keys, and nothing around it."""
    try:
        value = json.loads(answer)
    except ValueError:
        return False
    return isinstance(value, dict) and tuple(value) == KEYS


def is_right(answer: str, expected: str) -> bool:
    """Whether an answer also has every value of the note."""
    return has_form(answer) and bool(json.loads(answer) == json.loads(expected))
