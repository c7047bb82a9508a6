"""Numbers and Asterisk patterns (``_`` then X Z N . ! and [sets]), and the table that finds the most specific match.

The order is Asterisk's: numbers before patterns; patterns compare element by element, a smaller set before a larger,
``.`` before ``!`` before the end. ``-`` and blanks only separate. Nothing here knows what a match leads to.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

MAX_PATTERN = 80
MAX_NUMBER = 80

_CLASSES = {"X": "0123456789", "Z": "123456789", "N": "23456789"}
_SEPARATORS = str.maketrans("", "", "- ")


class PatternError(ValueError):
    """A number or pattern that means nothing; the text says what is wrong with it."""


class Tail(Enum):
    """What may follow a pattern's elements: nothing, ``.`` (one character or more) or ``!`` (any number, at once)."""

    NONE = ""
    SOME = "."
    ANY = "!"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One number or pattern: the characters possible at each place, and its tail. ``text`` is as it was written."""

    text: str
    literal: bool
    elements: tuple[str, ...]
    tail: Tail = Tail.NONE

    @property
    def number(self) -> str:
        """A literal's characters without separators."""
        return "".join(self.elements)

    def matches(self, number: str) -> bool:
        """Whether the whole of ``number`` (without separators) is meant."""
        elements = self.elements
        if self.tail is Tail.NONE:
            if len(number) != len(elements):
                return False
        elif len(number) < len(elements) + (self.tail is Tail.SOME):
            return False
        return all(character in element for character, element in zip(number, elements, strict=False))


def without_separators(number: str) -> str:
    """``number`` without the ``-`` and blanks that only help reading."""
    return number.translate(_SEPARATORS) if "-" in number or " " in number else number


def parse_pattern(text: str) -> Pattern:
    """Read a number, or a pattern with a leading ``_``; PatternError if it is neither."""
    if not text:
        raise PatternError("empty")
    if len(text) > MAX_PATTERN:
        raise PatternError(f"longer than {MAX_PATTERN} characters")
    if not text.isascii() or not text.isprintable():
        raise PatternError("a character that is not printable ASCII")
    if text[0] != "_":
        number = without_separators(text)
        if not number:
            raise PatternError("nothing but separators")
        return Pattern(text, True, tuple(number))
    elements, tail = _parse_elements(text)
    if not elements and tail is Tail.NONE:
        raise PatternError("nothing after the _")
    return Pattern(text, False, elements, tail)


def _parse_elements(text: str) -> tuple[tuple[str, ...], Tail]:
    elements: list[str] = []
    at = 1
    while at < len(text):
        character = text[at]
        at += 1
        if character in "- ":
            continue
        if character in ".!":
            if without_separators(text[at:]):
                raise PatternError(f"characters after the {character}, which must be the last")
            return tuple(elements), Tail(character)
        if character == "[":
            end = text.find("]", at)
            if end < 0:
                raise PatternError("a [ without its ]")
            elements.append(_parse_set(text[at:end]))
            at = end + 1
        elif character == "]":
            raise PatternError("a ] without its [")
        else:
            elements.append(_CLASSES.get(character.upper(), character))
    return tuple(elements), Tail.NONE


def _parse_set(text: str) -> str:
    if not text:
        raise PatternError("an empty set []")
    characters: set[str] = set()
    at = 0
    while at < len(text):
        first = last = text[at]
        if text[at + 1 : at + 2] == "-" and at + 2 < len(text):
            last = text[at + 2]
            if last < first:
                raise PatternError(f"the range {first}-{last}, which runs backwards")
            at += 2
        characters.update(map(chr, range(ord(first), ord(last) + 1)))
        at += 1
    return "".join(sorted(characters))


def _specificity(element: str) -> tuple[int, str, bytes]:
    """The place of an element among its like: size of the set, its first character, then its bit mask (as Asterisk)."""
    mask = bytearray(16)
    for character in element:
        code = ord(character)
        mask[code >> 3] |= 1 << (code & 7)
    return len(element), element[0], bytes(mask)


def sort_key(pattern: Pattern) -> tuple[object, ...]:
    """The key by which most specific comes first; equal keys mean the same set of numbers."""
    if pattern.literal:
        return (0, pattern.number)
    tail = {Tail.SOME: 1, Tail.ANY: 2, Tail.NONE: 3}[pattern.tail]
    return (1, *((0, *_specificity(element)) for element in pattern.elements), (tail,))


Value = TypeVar("Value")


class _Node(Generic[Value]):
    """What may come after the same elements: further elements in order of specificity, and the values that end here."""

    __slots__ = ("any", "by_character", "children", "end", "some")

    def __init__(self) -> None:
        self.children: dict[str, _Node[Value]] = {}
        self.by_character: dict[str, list[_Node[Value]]] = {}
        self.some: Value | None = None
        self.any: Value | None = None
        self.end: Value | None = None

    def child(self, element: str) -> _Node[Value]:
        node = self.children.get(element)
        if node is None:
            node = self.children[element] = _Node()
        return node

    def freeze(self) -> None:
        if len(self.children) == 1:
            [(element, node)] = self.children.items()
            only = [node]
            self.by_character = dict.fromkeys(element, only)
            node.freeze()
            return
        for element in sorted(self.children, key=_specificity):
            node = self.children[element]
            for character in element:
                self.by_character.setdefault(character, []).append(node)
            node.freeze()


class PatternTable(Generic[Value]):
    """Values by pattern. Build once with ``add`` and ``freeze``; a pattern has one value (a list, if several).

    Looking up costs a dict access for a number and a walk along the matching branches for patterns.
    """

    __slots__ = ("_exact", "_numbers", "_root")

    def __init__(self) -> None:
        self._exact: dict[str, Value] = {}
        self._numbers: list[str] = []
        self._root: _Node[Value] = _Node()

    def add(self, pattern: Pattern, value: Value) -> None:
        """Let ``pattern`` lead to ``value``, in place of what it led to."""
        if pattern.literal:
            number = pattern.number
            if number not in self._exact:
                insort(self._numbers, number)
            self._exact[number] = value
            return
        node = self._root
        for element in pattern.elements:
            node = node.child(element)
        if pattern.tail is Tail.SOME:
            node.some = value
        elif pattern.tail is Tail.ANY:
            node.any = value
        else:
            node.end = value

    def get(self, pattern: Pattern) -> Value | None:
        """The value of this very pattern, or None."""
        if pattern.literal:
            return self._exact.get(pattern.number)
        node: _Node[Value] | None = self._root
        for element in pattern.elements:
            node = node.children.get(element) if node else None
        if node is None:
            return None
        return {Tail.SOME: node.some, Tail.ANY: node.any, Tail.NONE: node.end}[pattern.tail]

    def freeze(self) -> None:
        """Make ready for looking up; to be called after the last ``add``."""
        self._root.freeze()

    def first(self, number: str) -> tuple[Value, bool] | None:
        """The first of what ``find`` gives, faster."""
        exact = self._exact.get(number)
        if exact is not None:
            return exact, False
        return _first(self._root, number, 0, len(number))

    def find(self, number: str) -> Iterator[tuple[Value, bool]]:
        """Each value whose pattern matches the whole ``number``, most specific first; True if through a ``!``."""
        exact = self._exact.get(number)
        if exact is not None:
            yield exact, False
        yield from _walk(self._root, number, 0, len(number))

    def may_grow(self, number: str) -> bool:
        """Whether more digits could match, or match more specifically (Asterisk's "match more").

        The first pattern, in order, that ``number`` could begin decides: a ``!`` is content with what is there.
        """
        at = bisect_left(self._numbers, number)
        if at < len(self._numbers) and self._numbers[at] == number:
            at += 1
        if at < len(self._numbers) and self._numbers[at].startswith(number):
            return True
        return bool(_grows(self._root, number, 0, len(number)))


def _walk(node: _Node[Value], number: str, at: int, length: int) -> Iterator[tuple[Value, bool]]:
    if at < length:
        children = node.by_character.get(number[at])
        if children:
            for child in children:
                yield from _walk(child, number, at + 1, length)
        if node.some is not None:
            yield node.some, False
    if node.any is not None:
        yield node.any, True
    if at == length and node.end is not None:
        yield node.end, False


def _first(node: _Node[Value], number: str, at: int, length: int) -> tuple[Value, bool] | None:
    while at < length:
        children = node.by_character.get(number[at])
        at += 1
        if children is not None:
            # Most of a trie is a single way; only a fork needs a call.
            if len(children) == 1 and node.some is None and node.any is None:
                node = children[0]
                continue
            for child in children:
                found = _first(child, number, at, length)
                if found is not None:
                    return found
        if node.some is not None:
            return node.some, False
        return None if node.any is None else (node.any, True)
    if node.any is not None:
        return node.any, True
    return None if node.end is None else (node.end, False)


def _grows(node: _Node[Value], number: str, at: int, length: int) -> bool | None:
    if at == length:
        if node.by_character or node.some is not None:
            return True
    else:
        for child in node.by_character.get(number[at], ()):
            grows = _grows(child, number, at + 1, length)
            if grows is not None:
                return grows
        if node.some is not None:
            return True
    return False if node.any is not None else None
