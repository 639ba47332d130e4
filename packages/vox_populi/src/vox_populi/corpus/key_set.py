"""Sets and numbers of 64-bit keys in a fraction of the memory of Python's own. No rows here."""

from __future__ import annotations

from array import array


class KeySet:
    """A set of 64-bit keys in 11 to 22 bytes each; Python's own takes about a hundred.

    Meant for hashes: unevenly distributed keys make it slow but never wrong.
    """

    def __init__(self) -> None:
        self._slots = array("Q", [0]) * 1024
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: int) -> bool:
        return self._slots[self._slot_of(key or 1)] != 0

    def add(self, key: int) -> bool:
        """Add a key; return whether it was new."""
        # 0 marks a free slot, so 0 and 1 are one key.
        key = key or 1
        slot = self._slot_of(key)
        if self._slots[slot]:
            return False
        self._slots[slot] = key
        self._count += 1
        if 4 * self._count > 3 * len(self._slots):
            self._grow()
        return True

    def _slot_of(self, key: int) -> int:
        """The slot of a key, present or not."""
        mask = len(self._slots) - 1
        slot = key & mask
        while self._slots[slot] not in (0, key):
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        held = self._slots
        self._slots = array("Q", [0]) * (2 * len(held))
        for key in held:
            if key:
                self._slots[self._slot_of(key)] = key


class KeyNumbers(KeySet):
    """Numbers of keys, in 20 to 40 bytes each."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = array("Q", [0]) * len(self._slots)

    def number_of(self, key: int, new: int) -> int:
        """The number of a key; `new`, if it has none yet."""
        is_new = self.add(key)
        slot = self._slot_of(key or 1)
        if is_new:
            self._numbers[slot] = new
        return self._numbers[slot]

    def _grow(self) -> None:
        held = list(zip(self._slots, self._numbers, strict=True))
        super()._grow()
        self._numbers = array("Q", [0]) * len(self._slots)
        for key, number in held:
            if key:
                self._numbers[self._slot_of(key)] = number
