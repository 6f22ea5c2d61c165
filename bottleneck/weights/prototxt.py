"""Text of protocol buffers (``.prototxt``) to nested lists of values, without trust.

The grammar is that of protobuf's text format as far as Caffe's files use it: ``name: value``,
``name { ... }``, ``name: [a, b]``, strings that stand side by side, comments. What a value means
is left to whoever knows the field.
"""

import re
from collections.abc import Iterator
from typing import Final

MAX_BYTES: Final = 16 << 20
"""The longest published deploy file (ResNet-269) has 0.3 MB."""

MAX_DEPTH: Final = 16
"""Caffe's own messages are five deep."""

_TOKEN: Final = re.compile(
    r"""\s+|\#[^\n]*
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<word>[-+]?[0-9]*\.?[0-9]+[eE][-+]?[0-9]+|[-+]?[A-Za-z0-9_.]+)
    |(?P<sign>[{}<>\[\]:,;])""",
    re.VERBOSE,
)

_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_CLOSING: Final = {"{": "}", "<": ">"}
"""How messages open and close."""

Text = dict[str, list["str | Text"]]
"""Field name to its values in order: words and strings as text, messages as the same again."""


class TextError(ValueError):
    """The text is no such message; says the line."""


def parse(data: bytes) -> Text:
    """Read a message.

    Raises
    ------
    TextError
        When it is not text of this kind, is too long or too deep.
    """
    if len(data) > MAX_BYTES:
        raise TextError(f"{len(data)} bytes, more than any such file has")
    text = data.decode("utf-8", "replace")
    return _message(_Tokens(text), "", 0)


class _Tokens:
    """What is left of the text, one token ahead."""

    def __init__(self, text: str) -> None:
        self._tokens = self._all(text)
        self.line = 1
        self.kind, self.value = "", ""
        self.next()

    def next(self) -> tuple[str, str]:
        """Go on; returns the token that was ahead."""
        now = self.kind, self.value
        self.kind, self.value = next(self._tokens, ("end", "the end"))
        return now

    def fail(self, expected: str) -> TextError:
        return TextError(f"line {self.line}: {self.value!r} where {expected} was expected")

    def _all(self, text: str) -> Iterator[tuple[str, str]]:
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise TextError(f"line {self.line}: {text[at : at + 10]!r} makes no sense")
            if match.lastgroup is not None:
                yield match.lastgroup, match.group()
            self.line += text.count("\n", at, match.end())
            at = match.end()


def _message(tokens: _Tokens, closing: str, depth: int) -> Text:
    if depth > MAX_DEPTH:
        raise TextError(f"line {tokens.line}: messages nested deeper than {MAX_DEPTH}")
    found: Text = {}
    while True:
        kind, value = tokens.kind, tokens.value
        if (kind == "end" and not closing) or (kind == "sign" and value == closing):
            tokens.next()
            return found
        if kind != "word":
            raise tokens.fail(f"a field's name or {closing!r}" if closing else "a field's name")
        tokens.next()
        found.setdefault(value, []).extend(_values(tokens, depth))
        while tokens.kind == "sign" and tokens.value in {",", ";"}:
            tokens.next()


def _values(tokens: _Tokens, depth: int) -> "list[str | Text]":
    colon = tokens.kind == "sign" and tokens.value == ":"
    if colon:
        tokens.next()
    if tokens.kind == "sign" and tokens.value in _CLOSING:
        _, opening = tokens.next()
        return [_message(tokens, _CLOSING[opening], depth + 1)]
    if not colon:
        raise tokens.fail("a colon or a message")
    if tokens.kind == "sign" and tokens.value == "[":
        return _list(tokens, depth)
    return [_scalar(tokens)]


def _list(tokens: _Tokens, depth: int) -> "list[str | Text]":
    tokens.next()
    found: list[str | Text] = []
    while not (tokens.kind == "sign" and tokens.value == "]"):
        if tokens.kind == "sign" and tokens.value in _CLOSING:
            _, opening = tokens.next()
            found.append(_message(tokens, _CLOSING[opening], depth + 1))
        else:
            found.append(_scalar(tokens))
        if tokens.kind == "sign" and tokens.value == ",":
            tokens.next()
    tokens.next()
    return found


def _scalar(tokens: _Tokens) -> str:
    if tokens.kind == "word":
        return tokens.next()[1]
    if tokens.kind != "string":
        raise tokens.fail("a value")
    parts = []
    while tokens.kind == "string":
        parts.append(re.sub(r"\\(.)", _unescaped, tokens.next()[1][1:-1]))
    return "".join(parts)


def _unescaped(match: "re.Match[str]") -> str:
    return _ESCAPES.get(match[1], match[0])
