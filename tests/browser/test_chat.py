"""What users do, in a real browser, and what befalls them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.plugins.browsers import ChatSite, needs_browser
from tests.support.hosts import ROOT, Host
from tests.support.polling import wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = needs_browser

PATIENCE = 40.0
"""Seconds; a turn whose worker was killed is taken over when its lease has run out."""


def say(page: Page, text: str) -> None:
    """Send a message."""
    page.fill("textarea", text)
    page.keyboard.press("Enter")


def sees(page: Page, selector: str, text: str) -> None:
    """Wait until the last element of a kind has exactly this text."""
    from playwright.sync_api import expect

    found = page.locator(selector).last
    expect(found).to_have_text(text, timeout=1000 * PATIENCE)


def counts(page: Page, selector: str, number: int) -> None:
    """Wait until there are that many elements of a kind."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_count(number, timeout=1000 * PATIENCE)


REPLY = ".gpt-assistant .gpt-text"
WHOLE = ".gpt-assistant:not(.gpt-writing)"


def test_text_is_shown_as_it_comes(chat_site: ChatSite, page: Page) -> None:
    """Before the answer is at its end, and in place of it then."""
    chat_site.sign_up(page)
    say(page, "say One, |two, |three.")
    sees(page, REPLY, "One,")
    counts(page, WHOLE, 0)
    chat_site.model.go_on()
    sees(page, REPLY, "One, two,")
    chat_site.model.go_on()
    sees(page, REPLY, "One, two, three.")
    counts(page, WHOLE, 1)
    counts(page, ".gpt-user", 1)


def test_tool_call_is_shown_in_its_place(chat_site: ChatSite, page: Page) -> None:
    """With its name, and folded up what it was given and gave."""
    chat_site.sign_up(page)
    say(page, "note buy milk")
    sees(page, REPLY, "It was kept.")
    sees(page, ".gpt-tool summary", "Calls add_note, done")
    assert not page.locator(".gpt-tool dd").first.is_visible()
    page.click(".gpt-tool summary")
    assert page.locator(".gpt-tool dd").all_inner_texts() == ['{\n  "text": "buy milk"\n}', "kept"]
    kinds = page.locator(".gpt-items > li").evaluate_all(
        "items => items.map(item => item.className || item.firstElementChild.className)"
    )
    assert [kind.split()[-1] for kind in kinds] == ["gpt-user", "gpt-tool", "gpt-assistant"]


def test_answer_is_stopped(chat_site: ChatSite, page: Page) -> None:
    """By a button that is there while it is written, and the next question is answered."""
    chat_site.sign_up(page)
    assert not page.locator(".gpt-stop").is_visible()
    say(page, "say One, |two.")
    sees(page, REPLY, "One,")
    page.click(".gpt-stop")
    sees(page, ".gpt-note", "The answer was stopped.")
    chat_site.model.go_on()
    say(page, "say Again.")
    sees(page, REPLY, "Again.")


def test_failure_is_told_in_words(chat_site: ChatSite, page: Page) -> None:
    """And the next question is answered."""
    chat_site.sign_up(page)
    say(page, "fail")
    sees(page, ".gpt-note.gpt-failed", "The answer failed: the assistant met an error")
    say(page, "say Again.")
    sees(page, REPLY, "Again.")


both_wires = pytest.mark.parametrize(
    "chat_site",
    [
        pytest.param({"GPT_AGENT_SERVICE": "assistants"}, id="assistants"),
        pytest.param({"GPT_AGENT_SERVICE": "responses"}, id="responses"),
    ],
    indirect=True,
)


@both_wires
def test_reload_in_the_middle_shows_all_of_it(chat_site: ChatSite, page: Page) -> None:
    """What was said before, the beginning of the answer, and its end."""
    chat_site.sign_up(page)
    say(page, "say First.")
    sees(page, REPLY, "First.")
    say(page, "say One, |two.")
    sees(page, REPLY, "One,")
    page.reload()
    sees(page, REPLY, "One,")
    counts(page, ".gpt-user", 2)
    chat_site.model.go_on()
    sees(page, REPLY, "One, two.")
    counts(page, WHOLE, 2)
    assert "thread=" in page.url
    said = [text.strip() for text in page.locator(".gpt-message .gpt-text").all_inner_texts()]
    assert said == ["say First.", "First.", "say One, |two.", "One, two."]


@both_wires
def test_workers_killed_in_the_middle(chat_site: ChatSite, page: Page) -> None:
    """The page goes on with those that take their place; no word is doubled or lost."""
    chat_site.sign_up(page)
    say(page, "say One, |two, |three.")
    sees(page, REPLY, "One,")
    chat_site.kill_workers()
    chat_site.model.go_on(2)
    sees(page, REPLY, "One, two, three.")
    counts(page, WHOLE, 1)
    # Until then the turn belongs to the worker that is gone.
    page.locator(".gpt-stop").wait_for(state="hidden", timeout=1000 * PATIENCE)
    say(page, "note it")
    sees(page, REPLY, "It was kept.")
    counts(page, ".gpt-user", 2)


def test_workers_are_restarted(chat_site: ChatSite, page: Page) -> None:
    """They do not wait for the pages' streams, and the pages go on with the next ones."""
    chat_site.sign_up(page)
    say(page, "say One, |two.")
    sees(page, REPLY, "One,")
    former = set(chat_site.workers)
    chat_site.host.process.send_signal(signal.SIGHUP)
    wait_for(lambda: former & set(chat_site.workers), lambda left: not left, timeout=PATIENCE)
    chat_site.model.go_on()
    sees(page, REPLY, "One, two.")
    counts(page, ".gpt-user", 1)


def test_server_stops_in_good_time(chat_site: ChatSite, page: Page) -> None:
    """Though a page is open, whose stream has no end of its own."""
    chat_site.sign_up(page)
    say(page, "say One.")
    sees(page, REPLY, "One.")
    assert chat_site.host.terminate() == 0


def test_two_tabs_are_in_step(chat_site: ChatSite, page: Page) -> None:
    """What is said in one is shown in the other, with the answer as it comes."""
    chat_site.sign_up(page)
    say(page, "say First.")
    sees(page, REPLY, "First.")
    other = page.context.new_page()
    other.goto(page.url)
    sees(other, REPLY, "First.")
    say(other, "say One, |two.")
    for tab in (page, other):
        sees(tab, REPLY, "One,")
    chat_site.model.go_on()
    for tab in (page, other):
        sees(tab, REPLY, "One, two.")
        counts(tab, ".gpt-user", 2)
        counts(tab, WHOLE, 2)


def test_offline_and_online(chat_site: ChatSite, page: Page) -> None:
    """A page without a network says so, keeps what was typed, and catches up."""
    chat_site.sign_up(page)
    say(page, "say One, |two.")
    sees(page, REPLY, "One,")
    page.context.set_offline(True)
    sees(page, ".gpt-status", "You are offline.")
    chat_site.model.go_on()
    page.context.set_offline(False)
    sees(page, REPLY, "One, two.")
    counts(page, WHOLE, 1)
    page.context.set_offline(True)
    say(page, "say More.")
    sees(
        page,
        ".gpt-problem",
        "Your message could not be sent: there is no connection."
        " If it arrived all the same, it shows above.",
    )
    assert page.input_value("textarea") == "say More."
    page.context.set_offline(False)
    page.click(".gpt-send")
    sees(page, REPLY, "More.")


def test_html_stays_text(chat_site: ChatSite, page: Page) -> None:
    """In questions and in answers; Markdown is shown as what it means."""
    chat_site.sign_up(page)
    text = "<b>x</b><img src=x onerror=alert(1)> **y** [z](javascript:alert(1))"
    say(page, f"say {text}")
    sees(page, ".gpt-user .gpt-text", f"say {text}")
    sees(page, REPLY, "<b>x</b><img src=x onerror=alert(1)> y z")
    counts(page, f"{REPLY} strong", 1)
    counts(page, ".gpt-items img, .gpt-items b, .gpt-items [href^=javascript]", 0)


def test_newest_text_stays_in_sight(chat_site: ChatSite, page: Page) -> None:
    """However much of it comes at once, unless the reader has gone up."""
    chat_site.sign_up(page)
    say(page, f"say {'long ' * 900}|{'more ' * 900}|end")
    counts(page, ".gpt-writing", 1)
    chat_site.model.go_on()
    bottom = "log => log.scrollHeight - log.scrollTop - log.clientHeight"
    log = page.locator(".gpt-log")
    wait_for(lambda: "more" in page.locator(REPLY).inner_text(), bool, timeout=PATIENCE)
    assert log.evaluate(bottom) < 50
    log.evaluate("log => { log.scrollTop = 0; }")
    chat_site.model.go_on()
    counts(page, WHOLE, 1)
    assert log.evaluate("log => log.scrollTop") == 0


def test_markdown_that_is_too_deep_is_shown_as_it_is(chat_site: ChatSite, page: Page) -> None:
    """And the next message is shown as ever."""
    chat_site.sign_up(page)
    deep = ">" * 6000
    say(page, f"say {deep}")
    sees(page, REPLY, deep)
    say(page, "say **Again**.")
    sees(page, f"{REPLY} strong", "Again")


def test_blank_message_is_refused_in_words(chat_site: ChatSite, page: Page) -> None:
    """And nothing is sent."""
    chat_site.sign_up(page)
    say(page, "  ")
    sees(page, ".gpt-problem", "Write a message first.")
    assert "thread=" not in page.url


def test_message_of_several_lines(chat_site: ChatSite, page: Page) -> None:
    """Shift and Enter begin a new line, Enter sends."""
    chat_site.sign_up(page)
    page.fill("textarea", "say a")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("b")
    page.keyboard.press("Enter")
    counts(page, WHOLE, 1)
    assert page.locator(".gpt-user .gpt-text").inner_text() == "say a\nb"


def test_finished_answer_is_spoken(chat_site: ChatSite, page: Page) -> None:
    """Once, when it is whole, by what screen readers read out."""
    chat_site.sign_up(page)
    say(page, "say One, |**two**.")
    sees(page, REPLY, "One,")
    sees(page, "[aria-live=polite]", "")
    sees(page, "[role=status]", "The assistant is answering …")
    chat_site.model.go_on()
    sees(page, "[aria-live=polite]", "One, two.")


def test_others_see_nothing(chat_site: ChatSite, page: Page, browser: Browser) -> None:
    """The address of a conversation helps nobody but its user."""
    chat_site.sign_up(page)
    say(page, "say Secret.")
    sees(page, REPLY, "Secret.")
    context = browser.new_context()
    stranger = context.new_page()
    chat_site.sign_up(stranger, "eve")
    answer = stranger.goto(page.url)
    assert answer is not None
    assert answer.status == 403
    assert "Secret" not in stranger.content()
    context.close()


def test_earlier_messages_are_loaded_when_asked_for(chat_site: ChatSite, page: Page) -> None:
    """Of a long conversation the newest are shown first."""
    chat_site.sign_up(page)
    for number in range(30):
        say(page, f"say {number}.")
        counts(page, WHOLE, number + 1)
    page.reload()
    counts(page, ".gpt-message", 50)
    page.click(".gpt-earlier")
    counts(page, ".gpt-message", 60)
    assert page.locator(".gpt-user .gpt-text").all_inner_texts() == [
        f"say {number}." for number in range(30)
    ]
    assert not page.locator(".gpt-earlier").is_visible()


@pytest.mark.parametrize("chat_site", [{"CHAT_QUEUE": "1"}], indirect=True)
def test_turn_is_run_by_celery(chat_site: ChatSite, page: Page, tmp_path: Path) -> None:
    """The page of a web process shows what a worker of Celery is told."""
    directory = tmp_path / "celery"
    directory.mkdir()
    app = f"{chat_site.framework}_chat.tasks"
    command = ["-m", "celery", "--workdir", str(ROOT / "examples"), "--app", app, "worker"]
    worker = Host(
        ["-W", "ignore", *command, "--pool", "threads", "--loglevel", "INFO"],
        directory,
        chat_site.environment,
    )
    try:
        worker.find("ready")
        chat_site.sign_up(page)
        say(page, "say One, |two.")
        sees(page, REPLY, "One,")
        chat_site.model.go_on()
        sees(page, REPLY, "One, two.")
        say(page, "note it")
        sees(page, REPLY, "It was kept.")
        assert f"{chat_site.framework}_chat.ask" in worker.log
    finally:
        worker.clear_up()
