"""Reading Google-style docstrings: the description, and that of each argument."""

from __future__ import annotations

import inspect
import re

import attrs

_SECTION = re.compile(r"^(\w[\w ]*):\s*$")
_ARGUMENT = re.compile(r"^\*{0,2}(\w+)\s*(?:\(.*?\))?:\s*(.*)$")
_ARGUMENT_SECTIONS = frozenset({"args", "arguments", "parameters", "params"})
_SECTIONS = _ARGUMENT_SECTIONS | {
    "returns", "return", "yields", "yield", "raises", "raise", "example", "examples", "note",
    "notes", "attributes", "see also", "references", "todo", "warning", "warnings", "warns",
    "keyword args", "keyword arguments", "other parameters",
}  # fmt: skip


@attrs.frozen
class Docstring:
    """A docstring, read.

    Attributes:
        description: The text before the first section.
        arguments: The description of each argument, by name.
    """

    description: str
    arguments: dict[str, str]


def read_docstring(text: str | None) -> Docstring:
    """Read a Google-style docstring; of other styles all text is the description."""
    lines = inspect.cleandoc(text or "").splitlines()
    description: list[str] = []
    arguments: dict[str, list[str]] = {}
    section: str | None = None
    current: str | None = None
    indent = 0
    for line in lines:
        heading = _SECTION.match(line)
        if heading and heading.group(1).lower() in _SECTIONS:
            section, current, indent = heading.group(1).lower(), None, 0
        elif section is None:
            description.append(line)
        elif section in _ARGUMENT_SECTIONS and line.strip():
            # Deeper lines go on with the argument above them, whatever they look like.
            depth = len(line) - len(line.lstrip())
            indent = indent or depth
            found = _ARGUMENT.match(line.strip()) if depth == indent else None
            if found:
                current = found.group(1)
                arguments[current] = [found.group(2)]
            elif depth < indent:
                current = None
            elif current is not None:
                arguments[current].append(line.strip())
    return Docstring(
        description=_paragraphs(description),
        arguments={name: " ".join(filter(None, lines)) for name, lines in arguments.items()},
    )


def _paragraphs(lines: list[str]) -> str:
    blocks = re.split(r"\n\s*\n", "\n".join(lines).strip())
    return "\n\n".join(" ".join(block.split()) for block in blocks if block.strip())
