"""Texts of others where people read them: on a terminal, and in a log."""

from __future__ import annotations

_CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
# They turn a line round, so that it reads otherwise than it is.
_BIDI = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_BREAKS = [0x2028, 0x2029]
_SURROGATES = [*range(0xD800, 0xE000)]

_ON_TERMINAL: dict[int, str] = {
    **dict.fromkeys([*_CONTROLS, *_BIDI, *_SURROGATES], "\ufffd"),
    ord("\n"): "\n",
    ord("\t"): "\t",
    ord("\r"): "",
}
_ON_A_LINE = {
    code: (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
    for code in [*_CONTROLS, *_BIDI, *_BREAKS, *_SURROGATES]
} | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\t"}
_IN_JSON = {code: f"\\u{code:04x}" for code in [*_CONTROLS, *_BIDI, *_SURROGATES] if code >= 0x7F}


def for_terminal(text: str) -> str:
    """Return a text that does nothing on a terminal but show, character by character.

    Lines and tabs stay; other controls, escape sequences with them, are shown as U+FFFD.
    """
    return text.translate(_ON_TERMINAL)


def on_one_line(text: str) -> str:
    """Return a text with its line ends and other controls written out, as Python does."""
    return text.translate(_ON_A_LINE)


def json_for_terminal(text: str) -> str:
    """Return a JSON text with the controls in it escaped that JSON leaves as they are."""
    return text.translate(_IN_JSON)
