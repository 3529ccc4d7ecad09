// The page of a conversation: history, events as they come, a composer.
//
// A message is known by its id, whether it comes from the history, as an event or as the answer to
// a request, so that nothing is shown twice; an event stream goes on after the event that was seen
// last, so that nothing is lost.

import DOMPurify from "./vendor/purify.js";
import { Marked } from "./vendor/marked.js";

const PAGE = 50; // messages of the history that are loaded at once
const GONE = [401, 403, 404];
const QUIET = 20; // seconds without an event of a run after which it is asked for
const PENDING = 60; // seconds for a message that others add
const LONGEST = 30000; // characters that are read as Markdown
const SLOWEST = 1000; // milliseconds that this may take

// Markdown

const escapeHtml = (text) =>
  text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

const markdown = new Marked({
  breaks: true,
  renderer: {
    // What looks like HTML stays text, and nothing is loaded from elsewhere.
    html: ({ text, block }) => (block ? `<p>${escapeHtml(text)}</p>` : escapeHtml(text)),
    image: ({ text, href }) => escapeHtml(text || href),
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

const TAGS =
  "a blockquote br code del em h1 h2 h3 h4 h5 h6 hr li ol p pre strong table tbody td th thead tr ul";

function render(text) {
  const fragment = DOMPurify.sanitize(markdown.parse(text), {
    ALLOWED_TAGS: TAGS.split(" "),
    ALLOWED_ATTR: ["align", "href", "start", "title"],
    RETURN_DOM_FRAGMENT: true,
  });
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  return fragment;
}

function element(tag, classes = "", text = "") {
  const made = document.createElement(tag);
  made.className = classes;
  made.textContent = text;
  return made;
}

// Requests

class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status; // 0 where there was no answer
  }
}

class Face {
  constructor(url, csrfToken) {
    this.url = url;
    this.csrfToken = csrfToken;
    this.threadId = "";
  }

  address(path) {
    return `${this.url}threads/${encodeURIComponent(this.threadId)}/${path}`;
  }

  get(path) {
    return this.request(this.address(path), {});
  }

  post(path, body = {}) {
    return this.send(this.address(path), body);
  }

  async createThread() {
    this.threadId = (await this.send(`${this.url}threads`, {})).id;
  }

  send(url, body) {
    const headers = { "Content-Type": "application/json" };
    if (this.csrfToken) headers["X-CSRFToken"] = this.csrfToken;
    return this.request(url, { method: "POST", headers, body: JSON.stringify(body) });
  }

  async request(url, options) {
    let answer;
    try {
      answer = await fetch(url, { credentials: "same-origin", ...options });
    } catch {
      throw new Problem(0, "there is no connection");
    }
    const body = await answer.json().catch(() => null);
    // A page in place of an answer, such as one to sign in, is a refusal.
    if (answer.redirected || (answer.ok && body === null)) throw new Problem(401, "sign in again");
    if (!answer.ok) {
      throw new Problem(answer.status, body?.error?.message ?? `the server answered ${answer.status}`);
    }
    return body;
  }
}

// Events

class EventLine {
  // handlers: event(data), open(), broken(), closed(): the browser gives up by itself
  constructor(handlers) {
    this.handlers = handlers;
    this.cursor = "";
    this.source = null;
  }

  open(url) {
    this.close();
    const address = new URL(url, location.href);
    if (this.cursor) address.searchParams.set("after", this.cursor);
    const source = new EventSource(address);
    this.source = source;
    source.onopen = () => this.handlers.open();
    source.onmessage = (message) => {
      this.cursor = message.lastEventId || this.cursor;
      let event;
      try {
        event = JSON.parse(message.data);
      } catch {
        return; // of another version's, say
      }
      this.handlers.event(event);
    };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) this.handlers.closed();
      else this.handlers.broken();
    };
  }

  close() {
    this.source?.close();
    this.source = null;
  }
}

// What is shown

class AssistantText {
  // Text that grows is rendered now and then: the longer that takes, the more rarely.
  constructor(target, change) {
    this.target = target;
    this.change = change;
    this.text = "";
    this.timer = null;
    this.cost = 0;
  }

  add(piece) {
    this.text += piece;
    this.timer ??= setTimeout(() => this.draw(), Math.max(16, 4 * this.cost));
  }

  finish(text) {
    clearTimeout(this.timer);
    this.text = text;
    this.draw();
  }

  draw() {
    this.timer = null;
    const began = performance.now();
    this.change(() => this.target.replaceChildren(this.render()));
    this.cost = performance.now() - began;
  }

  // What is too long, too deep or too slow to be Markdown is shown as it is.
  render() {
    if (this.text.length <= LONGEST && this.cost <= SLOWEST) {
      try {
        return render(this.text);
      } catch (error) {
        console.warn("a message is shown as it is:", error.message);
      }
    }
    return element("div", "gpt-plain", this.text);
  }
}

class Log {
  constructor(root) {
    this.root = root;
    this.items = root.querySelector(".gpt-items");
    this.messages = new Map();
    this.tools = new Map();
    this.hasGap = false;
  }

  get isEmpty() {
    return this.messages.size === 0;
  }

  clear() {
    this.items.replaceChildren();
    this.messages.clear();
    this.tools.clear();
  }

  // Keeps the newest in sight, unless the reader has gone up.
  change(act) {
    const { scrollTop, clientHeight, scrollHeight } = this.root;
    const stays = scrollTop + clientHeight < scrollHeight - 48;
    act();
    if (!stays) this.root.scrollTop = this.root.scrollHeight;
  }

  add(item, before = null) {
    this.change(() => this.items.insertBefore(item, before));
  }

  makeMessage(id, role, runId, before = null) {
    const item = element("li", `gpt-message gpt-${role === "user" ? "user" : "assistant"}`);
    item.dataset.messageId = id;
    const target = element("div", "gpt-text");
    item.append(element("span", "gpt-spoken", role === "user" ? "You:" : "Assistant:"), target);
    const text = new AssistantText(target, (act) => this.change(act));
    const message = { item, runId, isWhole: false, text, target, awaits: "" };
    this.messages.set(id, message);
    this.add(item, before);
    return message;
  }

  // What is shown already is replaced by what an event says, not by a history, which may be older.
  addMessage({ id, role, content, run_id: runId }, before = null) {
    let message = this.messages.get(id);
    const unnamed = this.messages.get(`of ${runId}`);
    if (!message && role !== "user" && unnamed) {
      message = unnamed; // its pieces came without its id
      message.item.dataset.messageId = id;
      this.messages.delete(`of ${runId}`);
      this.messages.set(id, message);
    }
    message ??= this.makeMessage(id, role, runId, before);
    message.isWhole = true;
    message.item.classList.remove("gpt-writing");
    if (role === "user") this.change(() => (message.target.textContent = content));
    else message.text.finish(content);
    return message;
  }

  addUserMessage(id, content) {
    if (this.messages.has(id) || this.adopt(id, content, "event")) return;
    this.addMessage({ id, role: "user", content }).awaits = "history";
  }

  // Some services give a user's message another id in their history than when it is added. What one
  // of the two has told is expected of the other, which is known by its words then.
  adopt(id, content, teller) {
    for (const message of this.messages.values()) {
      if (message.awaits !== teller || message.target.textContent !== content) continue;
      message.awaits = "";
      this.messages.set(id, message);
      return true;
    }
    return false;
  }

  addPiece({ message_id: messageId, run_id: runId, text }) {
    const id = messageId ?? `of ${runId}`;
    const message = this.messages.get(id) ?? this.makeMessage(id, "assistant", runId);
    if (message.isWhole) return;
    message.item.classList.add("gpt-writing");
    message.text.add(this.hasGap ? `… ${text}` : text);
    this.hasGap = false;
  }

  // Pieces are missing before the next one; the whole message will have them.
  markGap() {
    this.hasGap = true;
  }

  // What a run that goes no further has written so far.
  endPieces(runId, remove) {
    for (const [id, message] of this.messages) {
      if (message.isWhole || message.runId !== runId) continue;
      message.item.classList.remove("gpt-writing");
      if (remove) {
        message.item.remove();
        this.messages.delete(id);
      }
    }
  }

  // The history, oldest first. What is not there yet comes before what follows it; where nothing of
  // it is there, before what events have told, which is newer. Returns what was added.
  merge(history, isLate) {
    for (const { id } of history) {
      if (this.messages.has(id)) this.messages.get(id).awaits = "";
    }
    for (const { id, role, content } of history) {
      if (role === "user" && !this.messages.has(id)) this.adopt(id, content, "history");
    }
    const isKnown = history.some(({ id }) => this.messages.has(id));
    let next = isKnown ? null : this.items.firstElementChild;
    const added = [];
    for (const message of [...history].reverse()) {
      if (!this.messages.get(message.id)?.isWhole) {
        added.unshift(this.addMessage(message, next));
        if (isLate && message.role === "user") added[0].awaits = "event";
      }
      next = this.messages.get(message.id).item;
    }
    return added;
  }

  // Whether a history and what is shown have nothing in common, so that messages between are missing.
  isApart(history) {
    const shown = [...this.messages.values()].some(({ isWhole }) => isWhole);
    return shown && history.length === PAGE && !history.some(({ id }) => this.messages.has(id));
  }

  addNote(text, failed = false) {
    this.add(element("li", failed ? "gpt-note gpt-failed" : "gpt-note", text));
  }

  addTool({ id, name, arguments: given }) {
    if (this.tools.has(id)) return;
    const item = element("li");
    const details = element("details", "gpt-tool");
    const summary = element("summary", "", "Calls ");
    const state = element("span", "", " …");
    const list = element("dl");
    summary.append(element("code", "", name), state);
    details.append(summary, list);
    item.append(details);
    this.tools.set(id, { details, state, list });
    this.addValue(list, "Arguments", given);
    this.add(item);
  }

  endTool(id, state, title, value, failed = false) {
    const tool = this.tools.get(id);
    if (!tool) return;
    this.change(() => {
      tool.state.textContent = state;
      tool.details.classList.toggle("gpt-failed", failed);
      this.addValue(tool.list, title, value);
    });
  }

  addValue(list, title, value) {
    const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
    const shown = element("dd");
    shown.append(element("pre", "", text));
    list.append(element("dt", "", title), shown);
  }
}

// The conversation

class Conversation {
  constructor(main) {
    const find = (name) => main.querySelector(`.gpt-${name}`);
    this.log = new Log(find("log"));
    this.face = new Face(main.dataset.faceUrl, main.dataset.csrfToken);
    this.line = new EventLine({
      event: (event) => this.take(event),
      open: () => this.opened(),
      broken: () => this.sayLater("The line is broken. Trying again …"),
      closed: () => this.comeBack(),
    });
    this.form = find("composer");
    this.input = this.form.elements.content;
    this.sendButton = find("send");
    this.stopButton = find("stop");
    this.earlierButton = find("earlier");
    this.status = find("status");
    this.spoken = main.querySelector("[aria-live]");
    this.problem = find("problem");
    this.waiting = []; // events that come before the history
    this.told = 0; // how many have told whether a run is active
    this.isLoaded = false;
    this.isRunning = false;
    this.tries = 0;
    this.whenOpen = [];
    this.pending = null; // the timer of a message that others add

    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.submit();
    });
    this.input.addEventListener("input", () => this.fitInput());
    this.stopButton.addEventListener("click", () => this.stop());
    this.earlierButton.addEventListener("click", () => this.loadEarlier());
    addEventListener("online", () => this.face.threadId && this.connect());
    addEventListener("offline", () => this.say("You are offline."));
    // A page that is left would keep its line, and a worker of the server, as long as it is cached.
    addEventListener("pagehide", () => this.line.close());
    addEventListener("pageshow", (event) => event.persisted && this.face.threadId && this.connect());

    this.face.threadId = main.dataset.threadId;
    if (this.face.threadId) this.connect();
    this.input.disabled = false; // as it is while nobody listens to it
    this.input.focus();
  }

  say(text) {
    clearTimeout(this.saying);
    this.status.textContent = text;
  }

  // A line that ends in good order is there again in a moment.
  sayLater(text) {
    clearTimeout(this.saying);
    this.saying = setTimeout(() => this.say(text), 3000);
  }

  // For screen readers, one after the other.
  speak(text) {
    this.spoken.append(element("p", "", text));
    while (this.spoken.childElementCount > 5) this.spoken.firstElementChild.remove();
  }

  note(text, failed = false) {
    this.log.addNote(text, failed);
    this.speak(text);
  }

  // connecting

  connect() {
    clearTimeout(this.timer);
    this.line.open(this.face.address("events"));
  }

  async opened() {
    this.tries = 0;
    this.showState();
    for (const tell of this.whenOpen.splice(0)) tell();
    await this.load();
  }

  // Called at each beginning of the line: what a restarted server no longer tells is in the history.
  async load() {
    const { source } = this.line;
    const { told } = this;
    let history, running;
    try {
      ({ messages: history, running } = await this.face.get(`messages?order=desc&limit=${PAGE}`));
    } catch (problem) {
      if (source === this.line.source) this.comeBack(problem);
      return;
    }
    history.reverse();
    const isFirst = !this.isLoaded;
    this.isLoaded = true;
    if (!isFirst && this.log.isApart(history)) this.log.clear();
    if (isFirst || this.log.isEmpty) this.earlierButton.hidden = history.length < PAGE;
    if (told === this.told) this.setRunning(running); // else an event knows better
    // First the events of the turn, which have an order; the history may know its end already.
    for (const event of this.waiting.splice(0)) this.take(event);
    for (const { target } of this.log.merge(history, !isFirst)) {
      if (!isFirst) this.speak(target.textContent);
    }
  }

  // The browser does not try again after an answer that is no stream, nor do we after a refusal.
  async comeBack(problem = null) {
    this.line.close();
    if (problem === null) {
      problem = await this.face.get("messages?limit=1").then(
        () => null,
        (met) => met,
      );
    }
    if (GONE.includes(problem?.status)) {
      this.say(`This conversation cannot be shown: ${problem.message}.`);
      this.input.disabled = this.sendButton.disabled = true;
      this.setRunning(false);
      return;
    }
    const seconds = Math.min(30, 2 ** this.tries++) * (0.5 + Math.random() / 2);
    this.say("The line is broken. Trying again …");
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), 1000 * seconds);
  }

  async loadEarlier() {
    const first = this.log.items.querySelector(".gpt-message");
    const after = encodeURIComponent(first.dataset.messageId);
    try {
      const { messages } = await this.face.get(`messages?order=desc&limit=${PAGE}&after=${after}`);
      const height = this.log.root.scrollHeight;
      for (const message of messages) {
        this.log.addMessage(message, this.log.items.firstElementChild);
      }
      this.log.root.scrollTop += this.log.root.scrollHeight - height;
      this.earlierButton.hidden = messages.length < PAGE;
      this.log.root.focus({ preventScroll: true });
    } catch (problem) {
      this.say(`Earlier messages could not be loaded: ${problem.message}.`);
    }
  }

  // events

  take(event) {
    if (!this.isLoaded) {
      this.waiting.push(event);
      return;
    }
    this[`take${event.type}`]?.(event);
    if (this.isRunning) this.askWhenQuiet();
  }

  takeUserMessageAdded({ id, content }) {
    const text = typeof content === "string" ? content : "(a message with other content)";
    this.log.addUserMessage(id, text);
    this.endPending();
    this.tellRunning(true);
  }

  takeRunStarted() {
    this.tellRunning(true);
  }

  takeAssistantMessageDelta(event) {
    this.log.addPiece(event);
  }

  takeAssistantMessageAdded({ message_id: id, run_id, content }) {
    const wasWhole = this.log.messages.get(id)?.isWhole;
    const { target } = this.log.addMessage({ id, role: "assistant", run_id, content });
    if (!wasWhole) this.speak(target.textContent);
  }

  takeRunCompleted() {
    this.tellRunning(false);
  }

  takeRunFailed({ id, message }) {
    this.log.endPieces(id, false);
    this.note(`The answer failed: ${message ?? "the assistant gave no reason"}`, true);
    this.tellRunning(false);
  }

  takeRunCancelled({ id }) {
    this.log.endPieces(id, false);
    this.note("The answer was stopped.");
    this.tellRunning(false);
  }

  takeRateLimited({ run_id: runId, retry_in: seconds }) {
    this.log.endPieces(runId, true); // it begins anew
    this.say(`The assistant is busy. Trying again in ${Math.ceil(seconds)} s …`);
  }

  takeToolCallRequested(event) {
    this.log.addTool(event);
  }

  takeToolCallOutputRecorded({ id, output }) {
    this.log.endTool(id, ", done", "Result", output);
  }

  takeToolCallFailed({ id, message }) {
    this.log.endTool(id, ", failed", "Error", message, true);
  }

  takeToolCallInterrupted({ name }) {
    this.note(`${name} was interrupted, and waits for somebody to look at it.`, true);
  }

  takeToolOutputSubmissionFailed() {
    this.note("The results of the tools could not be sent.", true);
  }

  // What is missing may hold the end of the run, too.
  takeEventsMissed() {
    this.log.markGap();
    this.load();
  }

  // writing

  async submit() {
    const text = this.input.value;
    if (this.sendButton.disabled) return;
    if (!text.trim()) return this.refuse("Write a message first.");
    if (this.isRunning || this.pending) return this.refuse("Wait for the answer, or stop it.");
    this.refuse("");
    this.sendButton.disabled = true;
    try {
      if (!this.face.threadId) await this.begin();
      const { id } = await this.face.post("messages", { content: text });
      if (this.input.value === text) this.input.value = "";
      this.fitInput();
      if (id && this.isLoaded) this.log.addUserMessage(id, text);
      if (!id) this.beginPending(text);
    } catch (problem) {
      const doubt = problem.status === 0 ? " If it arrived all the same, it shows above." : "";
      this.refuse(`Your message could not be sent: ${problem.message}.${doubt}`);
    } finally {
      this.sendButton.disabled = false;
    }
  }

  // A message that others add is waited for: a second one might come before it.
  beginPending(text) {
    this.say("Your message is on its way …");
    this.pending = setTimeout(() => {
      this.pending = null;
      if (!this.input.value) this.input.value = text;
      this.say("");
      this.refuse("Your message has not arrived. If it does, it shows above.");
    }, 1000 * PENDING);
  }

  endPending() {
    clearTimeout(this.pending);
    this.pending = null;
  }

  async begin() {
    await this.face.createThread();
    const address = new URL(location.href);
    address.searchParams.set("thread", this.face.threadId);
    history.replaceState(null, "", address);
    // The line comes first, so that nothing is missed; where it takes long, the history mends it.
    const opened = new Promise((tell) => this.whenOpen.push(tell));
    this.connect();
    await Promise.race([opened, new Promise((tell) => setTimeout(tell, 5000))]);
  }

  async stop() {
    this.stopButton.disabled = true;
    try {
      await this.face.post("cancel");
    } catch (problem) {
      if (problem.status !== 409) this.refuse(`It could not be stopped: ${problem.message}.`);
    } finally {
      this.stopButton.disabled = false;
    }
  }

  refuse(text) {
    this.log.change(() => (this.problem.textContent = text)); // it takes room from the log
    if (text) this.input.focus();
  }

  tellRunning(isRunning) {
    this.told += 1;
    this.setRunning(isRunning);
  }

  // Its end may be told by nobody, where the server that would have told it is gone.
  askWhenQuiet() {
    clearTimeout(this.quiet);
    this.quiet = setTimeout(() => {
      if (this.isRunning && this.line.source) this.load();
    }, 1000 * QUIET);
  }

  setRunning(isRunning) {
    this.isRunning = isRunning;
    if (isRunning) this.askWhenQuiet();
    if (!isRunning && document.activeElement === this.stopButton) this.input.focus();
    this.stopButton.hidden = !isRunning;
    this.showState();
  }

  showState() {
    this.say(this.isRunning ? "The assistant is answering …" : "");
  }

  fitInput() {
    this.input.style.height = "auto";
    this.input.style.height = `${this.input.scrollHeight + 2}px`;
  }
}

for (const main of document.querySelectorAll(".gpt-chat")) new Conversation(main);
