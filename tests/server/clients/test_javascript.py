"""OpenAI's client for JavaScript and Vercel's AI SDK, run by Node; never in CI.

Their packages come from npm into a temporary folder: the one thing here that needs more than
loopback.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.server.clients.demo import ANSWER, ASK, KEY, DemoServer, echo

NODE, NPM = shutil.which("node"), shutil.which("npm")

pytestmark = [
    pytest.mark.skipif(not (NODE and NPM), reason="no Node, or no npm"),
    pytest.mark.skipif(
        any(os.environ.get(name) for name in ("CI", "TESTS_SKIP_NOTHING")),
        reason="packages are fetched from npm, which is not for CI",
    ),
    # Most of it is npm's.
    pytest.mark.timeout(240),
]

PACKAGES = ("openai@^6", "ai@^6", "@ai-sdk/openai@^3", "zod@^4")

# Before each program, which is a block. It gives one object to "tell", which ends up in the test;
# "sent" has the bodies of the AI SDK, and "cities" what its tool was asked.
HEAD = """
import OpenAI from 'openai';
import { generateText, generateObject, streamText, tool, stepCountIs } from 'ai';
import { createOpenAI } from '@ai-sdk/openai';
import { z } from 'zod';

const baseURL = process.env.BASE_URL, apiKey = process.env.KEY, ASK = process.env.ASK;
const sent = [], cities = [];
async function noting(url, init) {
  if (init?.body) sent.push(JSON.parse(init.body));
  return fetch(url, init);
}
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const model = createOpenAI({ baseURL, apiKey, fetch: noting }).responses('demo');
const parameters = {
  type: 'object', properties: { city: { type: 'string' } }, required: ['city'],
  additionalProperties: false,
};
const description = 'Weather.';
const tools = {
  get_weather: tool({
    description,
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => { cities.push(city); return 'sunny in ' + city; },
  }),
};
const loop = { model, tools, stopWhen: stepCountIs(3), maxRetries: 0 };
const tell = (value) => console.log(JSON.stringify(value));
"""

Run = Callable[[str], Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the packages; tests are skipped where npm's registry is not there."""
    assert NPM is not None
    made = tmp_path_factory.mktemp("javascript")
    (made / "package.json").write_text('{"private": true, "type": "module"}')
    ended = subprocess.run(
        [NPM, "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES],
        cwd=made,
        env={**os.environ, "npm_config_update_notifier": "false"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if ended.returncode:
        pytest.skip(f"npm could not install: {ended.stderr[-500:]}")
    return made


@pytest.fixture
def run(folder: Path, demo: DemoServer) -> Run:
    """Return a function that runs a program and returns what it told."""
    assert NODE is not None
    environment = {
        **os.environ,
        "BASE_URL": demo.base_url,
        "KEY": KEY,
        "ASK": ASK,
        "AI_SDK_LOG_WARNINGS": "false",
    }

    def run(program: str) -> Any:
        (folder / "program.mjs").write_text(f"{HEAD}{{{program}}}\n")
        ended = subprocess.run(
            [str(NODE), "program.mjs"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return run


def told(demo: DemoServer) -> list[tuple[str, str]]:
    """Return what users and the model said, by what the model was told last."""
    return [(role, text) for role, text in demo.was_told if role in ("user", "assistant") and text]


def test_response(run: Run) -> None:
    """OpenAI's client for JavaScript calls the tool by a response, and tells its output."""
    found = run(
        """
        const tools = [
          { type: 'function', name: 'get_weather', description, parameters, strict: true },
        ];
        const first = await client.responses.create({ model: 'demo', input: ASK, tools });
        const calls = first.output.filter((item) => item.type === 'function_call');
        const second = await client.responses.create({
          model: 'demo', tools, previous_response_id: first.id,
          input: calls.map(({ call_id }) => ({
            type: 'function_call_output', call_id, output: 'sunny in Paris',
          })),
        });
        tell([calls.map((call) => call.arguments), second.output_text]);
        """
    )
    assert found == [['{"city": "Paris"}'], ANSWER]


def test_streamed_response(run: Run) -> None:
    """The deltas of a response that OpenAI's client for JavaScript streams are the answer."""
    found = run(
        """
        let text = '';
        const stream = client.responses.stream({ model: 'demo', input: 'hello' });
        stream.on('response.output_text.delta', (event) => { text += event.delta; });
        tell([text || null, (await stream.finalResponse()).output_text, text]);
        """
    )
    assert found == [None, echo("hello"), echo("hello")]


def test_run(run: Run) -> None:
    """OpenAI's client for JavaScript runs an assistant with a tool to its end."""
    found = run(
        """
        const { assistants, threads } = client.beta;
        const tools = [
          { type: 'function', function: { name: 'get_weather', description, parameters } },
        ];
        const assistant = await assistants.create({ model: 'demo', tools });
        const thread = await threads.create({ messages: [{ role: 'user', content: ASK }] });
        const waiting = await threads.runs.createAndPoll(
          thread.id, { assistant_id: assistant.id }, { pollIntervalMs: 10 },
        );
        const calls = waiting.required_action.submit_tool_outputs.tool_calls;
        const run = await threads.runs.submitToolOutputsAndPoll(
          waiting.id,
          {
            thread_id: thread.id,
            tool_outputs: calls.map(({ id }) => ({ tool_call_id: id, output: 'sunny in Paris' })),
          },
          { pollIntervalMs: 10 },
        );
        const last = (await threads.messages.list(thread.id)).data[0];
        tell([calls.length, run.status, last.content[0].text.value]);
        """
    )
    assert found == [1, "completed", ANSWER]


def test_streamed_run(run: Run) -> None:
    """The events of a run that OpenAI's client for JavaScript streams give text and message."""
    found = run(
        """
        const { assistants, threads } = client.beta;
        const assistant = await assistants.create({ model: 'demo' });
        const thread = await threads.create({ messages: [{ role: 'user', content: 'hello' }] });
        const seen = [];
        let text = '';
        const stream = threads.runs.stream(thread.id, { assistant_id: assistant.id })
          .on('textCreated', () => seen.push('textCreated'))
          .on('textDelta', (delta) => { text += delta.value; })
          .on('textDone', () => seen.push('textDone'))
          .on('messageDone', () => seen.push('messageDone'))
          .on('runStepDone', () => seen.push('runStepDone'));
        const run = await stream.finalRun();
        tell([text, seen, run.status]);
        """
    )
    order = ["textCreated", "textDone", "messageDone", "runStepDone"]
    assert found == [echo("hello"), order, "completed"]


def test_generated_text_calls_the_tool_once(run: Run) -> None:
    """The AI SDK generates a text in two steps, and calls the tool once."""
    found = run(
        """
        const { text, steps } = await generateText({ ...loop, prompt: ASK });
        tell([text, steps.length, cities]);
        """
    )
    assert found == [ANSWER, 2, ["Paris"]]


def test_streamed_text_calls_the_tool_once(run: Run) -> None:
    """The AI SDK streams a text in two steps, and calls the tool once."""
    found = run(
        """
        const errors = [], deltas = [];
        const result = streamText({
          ...loop, prompt: ASK, onError: ({ error }) => errors.push(String(error)),
        });
        for await (const delta of result.textStream) deltas.push(delta);
        tell([deltas.join(''), deltas.length > 1, cities, errors]);
        """
    )
    assert found == [ANSWER, True, ["Paris"], []]


def test_second_turn_refers_to_the_first(run: Run, demo: DemoServer) -> None:
    """The AI SDK refers to the first turn's items in the second one, and the model is told them."""
    found = run(
        """
        const messages = [{ role: 'user', content: ASK }];
        const first = await generateText({ ...loop, messages });
        messages.push(...first.response.messages, { role: 'user', content: 'hello' });
        const second = await generateText({ ...loop, messages });
        tell([second.text, sent.at(-1).input.map((item) => item.type ?? item.role), cities]);
        """
    )
    text, kinds, cities = found
    assert (text, cities) == (echo("hello"), ["Paris"])
    assert "item_reference" in kinds
    assert told(demo) == [("user", ASK), ("assistant", ANSWER), ("user", "hello")]


def test_second_turn_of_what_is_not_stored(run: Run, demo: DemoServer) -> None:
    """The AI SDK says the first turn again in the second one where nothing is stored."""
    found = run(
        """
        const messages = [{ role: 'user', content: ASK }];
        const options = { ...loop, providerOptions: { openai: { store: false } } };
        const first = await generateText({ ...options, messages });
        messages.push(...first.response.messages, { role: 'user', content: 'hello' });
        const second = await generateText({ ...options, messages });
        tell([second.text, sent.at(-1).input.map((item) => item.type ?? item.role)]);
        """
    )
    text, kinds = found
    assert text == echo("hello")
    assert "item_reference" not in kinds
    assert told(demo) == [("user", ASK), ("assistant", ANSWER), ("user", "hello")]


def test_previous_response(run: Run, demo: DemoServer) -> None:
    """The AI SDK goes on from the response before."""
    text = run(
        """
        const first = await generateText({ model, prompt: 'hello', maxRetries: 0 });
        const { responseId } = first.providerMetadata.openai;
        const second = await generateText({
          model, prompt: 'more', maxRetries: 0,
          providerOptions: { openai: { previousResponseId: responseId } },
        });
        tell(second.text);
        """
    )
    assert (text, told(demo)) == (
        echo("more"),
        [("user", "hello"), ("assistant", echo("hello")), ("user", "more")],
    )


def test_generated_object(run: Run) -> None:
    """The AI SDK generates an object by its schema."""
    found = run(
        """
        const schema = z.object({ city: z.string() });
        tell((await generateObject({ model, schema, prompt: 'Paris', maxRetries: 0 })).object);
        """
    )
    assert found == {"city": "Paris"}
