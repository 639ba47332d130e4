"""Groups of rows that must stay together, found by keys that they share.

Keeps 40 to 60 bytes for each different key and no text.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable

from vox_tensor.records import Role, TrainingRecord

_PROMPT = 1 << 63
"""The top bit marks the key of a prompt, so that the smallest key of a group is a label's."""


def label_key(value: object) -> int:
    """The key of a JSON value: 63 bits of a hash."""
    return _hash(value) & ~_PROMPT


def prompt_key(record: TrainingRecord) -> int:
    """The key of what a row asks: every message before its first answer.

    A row that begins with an answer is asked for by all of it.
    """
    asked = []
    for message in record.messages:
        if message.role is Role.ASSISTANT:
            break
        asked.append([message.role.value, message.content])
    if not any(role != Role.SYSTEM for role, _ in asked):
        asked = [[message.role.value, message.content] for message in record.messages]
    return _hash(asked) | _PROMPT


def _hash(value: object) -> int:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


class RowGroups:
    """Joins keys into groups; the smallest key of a group is its name, a label's if it has one.

    The groups and their names do not depend on the order in which keys are joined.
    """

    def __init__(self) -> None:
        self._nodes = _KeyNumbers()
        self._keys = array("Q")
        self._parents = array("Q")

    def join(self, keys: Iterable[int]) -> int:
        """Put the groups of all keys together; return the number of one of them."""
        nodes = [self._node(key) for key in keys]
        first = nodes[0]
        for node in nodes[1:]:
            self._unite(first, node)
        return first

    @property
    def n_keys(self) -> int:
        """Number of different keys."""
        return len(self._keys)

    def name(self, group: int) -> int:
        """The name of a group, by the number that `group_of` gives."""
        return self._keys[group]

    def group_of(self, node: int) -> int:
        """The number of the group that a number from `join` is in by now."""
        parents = self._parents
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    def _node(self, key: int) -> int:
        node = self._nodes.number_of(key, len(self._keys))
        if node == len(self._keys):
            self._keys.append(key)
            self._parents.append(node)
        return node

    def _unite(self, one: int, other: int) -> None:
        low, high = self.group_of(one), self.group_of(other)
        if self._keys[high] < self._keys[low]:
            low, high = high, low
        self._parents[high] = low


class _KeyNumbers:
    """Numbers of 64-bit keys, in 20 to 40 bytes each; Python's own dictionary takes a hundred."""

    def __init__(self) -> None:
        self._slots = array("Q", [0]) * 1024
        self._numbers = array("Q", [0]) * 1024
        self._count = 0

    def number_of(self, key: int, new: int) -> int:
        """The number of a key; `new`, if it has none yet."""
        # 0 marks a free slot, so 0 and 1 are one key.
        key = key or 1
        slot = self._slot_of(key)
        if self._slots[slot]:
            return self._numbers[slot]
        self._slots[slot], self._numbers[slot] = key, new
        self._count += 1
        if 4 * self._count > 3 * len(self._slots):
            self._grow()
        return new

    def _slot_of(self, key: int) -> int:
        mask = len(self._slots) - 1
        slot = key & mask
        while self._slots[slot] not in (0, key):
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        held = zip(self._slots, self._numbers, strict=True)
        size = 2 * len(self._slots)
        self._slots, self._numbers = array("Q", [0]) * size, array("Q", [0]) * size
        for key, number in held:
            if key:
                slot = self._slot_of(key)
                self._slots[slot], self._numbers[slot] = key, number
