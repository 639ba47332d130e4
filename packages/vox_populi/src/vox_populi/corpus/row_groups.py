"""Groups of rows that must stay together, found by keys that they share.

Keeps 40 to 60 bytes for each different key and no text.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable

from vox_populi.corpus.key_set import KeyNumbers
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
        self._nodes = KeyNumbers()
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
