"""Events put together out of bytes, however they are spelled and cut."""

from __future__ import annotations

from itertools import pairwise

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from gpt_agent_sync import event_parser
from gpt_agent_sync.event_parser import BOM, EventParser, ServerSentEvent, StreamLost

ENDINGS = (b"\n", b"\r", b"\r\n")


def parsed(*packets: bytes) -> list[ServerSentEvent]:
    """Return the events of packets that come one after the other."""
    parser = EventParser()
    return [event for packet in packets for event in parser.feed(packet)]


def byte_by_byte(text: bytes) -> list[bytes]:
    """Return each byte as a packet."""
    return [text[place : place + 1] for place in range(len(text))]


def plain(*data: str) -> list[ServerSentEvent]:
    """Return events without names."""
    return [ServerSentEvent("", text) for text in data]


def test_name_and_data() -> None:
    """An event has a name and data."""
    assert parsed(b"event: greeting\ndata: hello\n\n") == [ServerSentEvent("greeting", "hello")]


def test_event_without_a_name() -> None:
    """An event that says no name has none."""
    assert parsed(b"data: hello\n\n") == plain("hello")


def test_name_after_the_data() -> None:
    """Fields come in any order."""
    assert parsed(b"data: hello\nevent: late\n\n") == [ServerSentEvent("late", "hello")]


def test_last_name_is_taken() -> None:
    """Of two names of one event the later one is its name."""
    assert parsed(b"event: a\nevent: b\ndata: x\n\n") == [ServerSentEvent("b", "x")]


def test_name_does_not_carry_over() -> None:
    """The name of an event is not that of the next one."""
    assert parsed(b"event: a\ndata: 1\n\ndata: 2\n\n") == [
        ServerSentEvent("a", "1"),
        ServerSentEvent("", "2"),
    ]


def test_name_of_an_event_without_data_does_not_carry_over() -> None:
    """The name of an event that has no data, and so is none, is not that of the next one."""
    assert parsed(b"event: a\n\n", b"data: 2\n\n") == plain("2")


def test_data_of_many_lines() -> None:
    """The data lines of an event are joined by line feeds."""
    assert parsed(b"data: one\ndata:\ndata: three\n\n") == plain("one\n\nthree")


@pytest.mark.parametrize("ending", ENDINGS)
def test_line_endings(ending: bytes) -> None:
    """Lines end in LF, CR or CRLF."""
    lines = [b"event: a", b"data: 1", b"data: 2", b"", b"data: 3", b"", b""]
    assert parsed(ending.join(lines)) == [ServerSentEvent("a", "1\n2"), ServerSentEvent("", "3")]


def test_mixed_line_endings() -> None:
    """One stream may end its lines in all three ways."""
    assert parsed(b"data: 1\r\ndata: 2\rdata: 3\n\r\ndata: 4\r\r\n") == plain("1\n2\n3", "4")


def test_line_feed_after_a_carriage_return_is_no_blank_line() -> None:
    """A CRLF that is cut in two is one end of a line."""
    assert parsed(b"data: 1\r", b"\ndata: 2\r", b"\n", b"\r", b"\n") == plain("1\n2")


def test_line_feed_comes_long_after_its_carriage_return() -> None:
    """The line feed of a cut CRLF is known as such though nothing came in between."""
    assert parsed(b"data: 1\r", b"", b"\n", b"data: 2\n\n") == plain("1\n2")


def test_carriage_return_ends_its_event_at_once() -> None:
    """An event whose blank line ends in CR is told without waiting for a line feed."""
    assert parsed(b"data: 1\r\r") == plain("1")


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_other_separators_end_no_line(separator: str) -> None:
    """What other texts separate lines by is part of the data."""
    text = f"a{separator}b"
    assert parsed(f"data: {text}\r\n\r\n".encode()) == plain(text)


@pytest.mark.parametrize("comment", [b":", b": ping", b":data: no", b": event: no"])
def test_comments_are_passed_over(comment: bytes) -> None:
    """A line that begins with a colon says nothing, within an event as between them."""
    text = b"%b\n\ndata: 1\n%b\ndata: 2\n\n%b\n\n" % (comment, comment, comment)
    assert parsed(text) == plain("1\n2")


@pytest.mark.parametrize(
    "field", [b"id: 7", b"retry: 10", b"id", b"new: 1", b"Data: 1", b" data: 1"]
)
def test_other_fields_are_passed_over(field: bytes) -> None:
    """A field that is neither name nor data changes nothing."""
    assert parsed(b"%b\ndata: 1\n%b\n\n" % (field, field)) == plain("1")


@pytest.mark.parametrize(
    "spelled, data",
    [
        (b"data:hello", "hello"),
        (b"data: hello", "hello"),
        (b"data:  hello", " hello"),
        (b"data: hello ", "hello "),
        (b"data:\thello", "\thello"),
        (b"data::hello", ":hello"),
        (b"data: a: b", "a: b"),
    ],
)
def test_one_space_after_the_colon_is_left_out(spelled: bytes, data: str) -> None:
    """Of what comes after the colon only one space, if there is one, is not the value's."""
    assert parsed(spelled + b"\n\n", b": by line\n" + spelled + b"\n\n") == plain(data, data)


def test_field_without_a_colon() -> None:
    """A line that is just a field's name gives it the empty value."""
    assert parsed(b"event: a\nevent\ndata\ndata\n\n") == plain("\n")


@pytest.mark.parametrize("spelled", [b"data\n\n", b"data:\n\n", b"data: \n\n"])
def test_empty_data_are_an_event(spelled: bytes) -> None:
    """An event whose data are empty is one."""
    assert parsed(spelled) == plain("")


@pytest.mark.parametrize("text", [b"\n\n\n", b"event: a\n\n", b": ping\n\n", b"id: 1\n\n", b""])
def test_no_data_is_no_event(text: bytes) -> None:
    """What has no data is no event."""
    assert parsed(text) == []


@pytest.mark.parametrize(
    "rest", [b"data: 2", b"data: 2\n", b"event: a\ndata: 2\r\n", b"event: a\ndata: 2\ndata: 3\r"]
)
def test_event_that_is_not_ended_is_none(rest: bytes) -> None:
    """What comes after the last blank line is no event."""
    assert parsed(b"data: 1\n\n" + rest) == plain("1")


@pytest.mark.parametrize("text", [BOM + b"data: 1\n\n", BOM + b"\r\ndata: 1\r\n\r\n"])
def test_byte_order_mark_is_left_out(text: bytes) -> None:
    """A byte order mark at the beginning of the stream is not part of its first line."""
    assert parsed(text) == plain("1")


@pytest.mark.parametrize("place", [1, 2, 3])
def test_byte_order_mark_may_be_cut(place: int) -> None:
    """A byte order mark is known though it comes in two packets."""
    text = BOM + b"data: 1\n\n"
    assert parsed(text[:place], text[place:]) == plain("1")


def test_byte_order_mark_later_on_is_text() -> None:
    """A byte order mark that does not begin the stream is like any character."""
    assert parsed(b"data: \xef\xbb\xbf1\n\n", BOM + b"data: 2\n\n") == plain("\ufeff1")


def test_only_one_byte_order_mark_is_left_out() -> None:
    """A second byte order mark is part of the first line, which so is no field."""
    assert parsed(BOM + BOM + b"data: 1\n\ndata: 2\n\n") == plain("2")


@pytest.mark.parametrize(
    "spelled, text",
    [
        (b"a\xffb", "a\ufffdb"),
        (b"\xe2\x82", "\ufffd"),
        (b"\xc3(", "\ufffd("),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
    ],
)
def test_bytes_that_are_no_text_are_replaced(spelled: bytes, text: str) -> None:
    """Bytes that are not UTF-8 become replacement characters, in names as in data."""
    assert parsed(b"event: %b\ndata: %b\n\ndata: 2\n\n" % (spelled, spelled)) == [
        ServerSentEvent(text, text),
        ServerSentEvent("", "2"),
    ]


def test_characters_may_be_cut() -> None:
    """A character whose bytes come one by one is whole."""
    assert parsed(*byte_by_byte("data: h\u00e9\u20ac\U0001f600\n\n".encode())) == plain(
        "h\u00e9\u20ac\U0001f600"
    )


def test_events_are_told_when_they_are_whole() -> None:
    """Each packet gives the events that it ends."""
    parser = EventParser()
    told = [parser.feed(packet) for packet in (b"data: 1\n", b"\ndata: 2\n\nda", b"ta: 3\n\n")]
    assert told == [[], plain("1", "2"), plain("3")]


def test_parsers_know_nothing_of_each_other() -> None:
    """A new parser begins anew, whatever another one was left with."""
    assert parsed(b"event: a\ndata: 1\r") + parsed(b"\ndata: 2\n\n") == plain("2")


@attrs.frozen
class Spelled:
    """A stream and the events that it tells."""

    text: bytes
    events: list[ServerSentEvent]


lines_of_text = st.text("ab: \t\0\x0b\x85\u2028\ufeff\u00e9\u20ac\U0001f600", max_size=8)
noise = st.one_of(
    lines_of_text.map(lambda text: f":{text}"),
    lines_of_text.map(lambda text: f"id: {text}"),
    st.sampled_from(["retry: 5", "id", "unknown: 1"]),
)


@st.composite
def fields(draw: st.DrawFn, name: str, value: str) -> str:
    """Spell a field in one of the ways that mean the same."""
    spellings = [f"{name}: {value}"]
    if not value.startswith(" "):
        spellings.append(f"{name}:{value}")
    if not value:
        spellings.append(name)
    return draw(st.sampled_from(spellings))


@st.composite
def streams(draw: st.DrawFn) -> Spelled:
    """Make events, and spell them with any ends of lines, and with noise in between."""
    lines, events = [], []
    for _ in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from(["", "a"]) | lines_of_text)
        data = draw(st.lists(lines_of_text, min_size=1, max_size=3))
        said = [draw(fields("data", line)) for line in data]
        if name or draw(st.booleans()):
            said.insert(draw(st.integers(0, len(said))), draw(fields("event", name)))
        for line in draw(st.lists(noise, max_size=2)):
            said.insert(draw(st.integers(0, len(said))), line)
        lines += [*said, *[""] * draw(st.integers(1, 2))]
        events.append(ServerSentEvent(name, "\n".join(data)))
    mark = BOM if draw(st.booleans()) else b""
    return Spelled(mark + draw(ended(lines)), events)


@st.composite
def ended(draw: st.DrawFn, lines: list[str]) -> bytes:
    """End each line in one of the three ways; a lone LF after a CR would not end one."""
    text = b""
    for line in lines:
        ending = draw(st.sampled_from(ENDINGS))
        if not line and ending == b"\n" and text.endswith(b"\r"):
            ending = b"\r\n"
        text += line.encode() + ending
    return text


@settings(deadline=None)
@given(stream=streams())
def test_spelling_does_not_matter(stream: Spelled) -> None:
    """However events are spelled, they are read as they were meant."""
    assert parsed(stream.text) == stream.events


@settings(deadline=None)
@given(stream=streams(), data=st.data())
def test_cuts_do_not_matter(stream: Spelled, data: st.DataObject) -> None:
    """Wherever a stream is cut into packets, its events are the same."""
    places = st.lists(st.integers(0, len(stream.text)), max_size=12)
    cuts = [0, *sorted(data.draw(places)), len(stream.text)]
    packets = [stream.text[begin:end] for begin, end in pairwise(cuts)]
    assert parsed(*packets) == stream.events


@settings(deadline=None)
@given(stream=streams())
def test_packets_of_one_byte(stream: Spelled) -> None:
    """A stream that comes byte by byte tells the same events."""
    assert parsed(*byte_by_byte(stream.text)) == stream.events


@settings(deadline=None)
@given(text=st.lists(st.sampled_from([b"data", b":", b" ", b"\r", b"\n", b"event", b"\xff"])))
def test_any_bytes_are_read_alike_whole_and_cut(text: list[bytes]) -> None:
    """Whatever bytes come, the events are the same whether they come at once or one by one."""
    whole = b"".join(text)
    assert parsed(*byte_by_byte(whole)) == parsed(whole)


# events that are too large

PIECE = 100_000


@pytest.mark.parametrize(
    "packet",
    [
        b"x" * PIECE,
        b"data: " + b"x" * PIECE + b"\n",
        b"event: " + b"x" * PIECE + b"\r\n",
        b"data\n",
    ],
    ids=["text", "lines", "names", "empty-lines"],
)
def test_event_has_a_bounded_size(monkeypatch: pytest.MonkeyPatch, packet: bytes) -> None:
    """An event that goes on and on is given up, however it is put together."""
    monkeypatch.setattr(event_parser, "MOST_BYTES", 3 * PIECE)
    parser = EventParser()
    packet *= max(1, PIECE // len(packet))
    with pytest.raises(StreamLost, match="more than 300000 bytes"):
        any(parser.feed(packet) for _ in range(10))


@pytest.mark.parametrize("event", [b"data: 1\n\n", b": ping\n\n", b": ping\n", b"event: x\r\n\r\n"])
def test_any_number_of_events_may_come(monkeypatch: pytest.MonkeyPatch, event: bytes) -> None:
    """What is over does not count, nor what is passed over."""
    monkeypatch.setattr(event_parser, "MOST_BYTES", 100)
    parser = EventParser()
    for _ in range(100):
        parser.feed(event)
    assert parser.feed(b"\n\ndata: 2\n\n") == plain("2")
