"""Reading Google-style docstrings: what is description, and what is said of each argument."""

from __future__ import annotations

import pytest

from gpt_agent_sync.tools.docstrings import read_docstring


@pytest.mark.parametrize(
    "text, description",
    [
        (None, ""),
        ("", ""),
        ("   \n  ", ""),
        ("Add.", "Add."),
        ("Add two\n    numbers.", "Add two numbers."),
        ("Add.\n\n    More of it,\n    in two lines.", "Add.\n\nMore of it, in two lines."),
        ("Add.\n\n\n\n    After two empty lines.", "Add.\n\nAfter two empty lines."),
        ("\n    Begin on the second line.\n    ", "Begin on the second line."),
        ("Add.\n\n    Args:\n        a: First.", "Add."),
        ("Add.\n\n    Returns:\n        The sum.", "Add."),
        ("Args:\n    a: First.", ""),
        ("Add.\n\n    Careful: it costs.", "Add.\n\nCareful: it costs."),
        ("Add.\n\n    Prices:\n    they vary.", "Add.\n\nPrices: they vary."),
        ("Add.\n\n    :param a: First.", "Add.\n\n:param a: First."),
    ],
)
def test_description(text: str | None, description: str) -> None:
    """The description is the text before the first section, its paragraphs each on one line."""
    assert read_docstring(text).description == description


@pytest.mark.parametrize(
    "heading", ["Returns", "Yields", "Raises", "Example", "Examples", "Note", "See Also", "Todo"]
)
def test_sections_end_the_description(heading: str) -> None:
    """Every section that Google's style knows ends the description."""
    text = f"Add.\n\n{heading}:\n    Not told to the model.\n"
    assert read_docstring(text).description == "Add."


@pytest.mark.parametrize("heading", ["Args", "Arguments", "Parameters", "Params", "args"])
def test_argument_headings(heading: str) -> None:
    """The section of the arguments goes by several names."""
    assert read_docstring(f"{heading}:\n    a: First.\n").arguments == {"a": "First."}


@pytest.mark.parametrize(
    "body, arguments",
    [
        ("    a: First.", {"a": "First."}),
        ("    a: First.\n    b: Second.", {"a": "First.", "b": "Second."}),
        ("    a: First.\n\n    b: Second.", {"a": "First.", "b": "Second."}),
        ("    a (int): First.", {"a": "First."}),
        ("    a (int, optional): First.", {"a": "First."}),
        ("    a(int): First.", {"a": "First."}),
        ("    *names: All.", {"names": "All."}),
        ("    **options: All.", {"options": "All."}),
        ("    a: First,\n        on two lines.", {"a": "First, on two lines."}),
        ("    a:\n        Below the name.", {"a": "Below the name."}),
        ("    a: First,\n        note: not a parameter.", {"a": "First, note: not a parameter."}),
        ("    a: At 12:30.", {"a": "At 12:30."}),
        ("    a:", {"a": ""}),
        ("    words that name nothing\n    a: First.", {"a": "First."}),
        ("  a: First.\n  b: Second.", {"a": "First.", "b": "Second."}),
        ("a: First.\nb: Second.", {"a": "First.", "b": "Second."}),
    ],
)
def test_arguments(body: str, arguments: dict[str, str]) -> None:
    """Each argument has the text after its colon and in the deeper lines below it."""
    assert read_docstring(f"Add.\n\nArgs:\n{body}\n").arguments == arguments


def test_type_in_nested_parentheses() -> None:
    """A type with parentheses of its own is no part of the text."""
    text = "Add.\n\nArgs:\n    a (tuple(int, int)): A pair.\n"
    assert read_docstring(text).arguments == {"a": "A pair."}


def test_next_section_ends_the_arguments() -> None:
    """What follows in another section is said of no argument."""
    text = "Add.\n\nArgs:\n    a: First.\n\nReturns:\n    int: The sum.\n"
    assert read_docstring(text).arguments == {"a": "First."}


def test_unindented_text_ends_the_arguments() -> None:
    """Text that is not indented after the arguments belongs to none of them."""
    text = "Add.\n\nArgs:\n    a: First.\n\nSide effects:\n    None at all.\n"
    assert read_docstring(text).arguments == {"a": "First."}


def test_arguments_after_another_section() -> None:
    """The arguments may come after another section."""
    text = "Add.\n\nExamples:\n    add(1, 2)\n\nArgs:\n    a: First.\n"
    assert read_docstring(text).arguments == {"a": "First."}


def test_indentation_of_the_source_does_not_matter() -> None:
    """A raw ``__doc__``, indented as in its class, reads like a cleaned one."""
    text = "Add.\n\n        Args:\n            a: First,\n                and more.\n        "
    assert read_docstring(text).arguments == {"a": "First, and more."}
