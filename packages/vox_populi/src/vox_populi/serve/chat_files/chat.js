"use strict";
// Text of models and of the server goes in by textContent alone.

const at = (id) => document.getElementById(id);
let key = "";
let columns = [];
let running = null;

function make(tag, className, text) {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text || "";
  return node;
}

function showProblem(text) {
  at("problem").textContent = text;
  at("problem").hidden = !text;
}

async function ask(path, options) {
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = "Bearer " + key;
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) return answer;
  if (answer.status === 401) {
    at("access").hidden = false;
    at("key").focus();
  }
  let said = "The server answered " + answer.status + ".";
  try {
    said = (await answer.json()).error.message;
  } catch (error) {
    // A proxy may answer in another form; the status is said then.
  }
  throw new Error(said);
}

function inWords(error) {
  return error instanceof TypeError ? "The server cannot be reached." : error.message;
}

function addColumn(names, chosen) {
  const place = make("section", "column");
  const choice = make("select", "");
  choice.setAttribute("aria-label", "Model");
  for (const name of names) choice.append(new Option(name, name, false, name === chosen));
  const log = make("div", "log");
  place.append(choice, log);
  at("columns").append(place);
  columns.push({ choice, log, turns: [] });
}

async function start() {
  try {
    const listed = (await (await ask("/v1/models")).json()).data;
    const names = listed.map((model) => model.id);
    showProblem("");
    at("access").hidden = true;
    at("columns").replaceChildren();
    columns = [];
    // The base comes first if it is served.
    for (const name of names.slice(0, 2)) addColumn(names, name);
    at("columns").classList.toggle("single", names.length < 2);
    at("prompt").focus();
  } catch (error) {
    showProblem(inWords(error));
  }
}

function isAtEnd() {
  const root = document.documentElement;
  return root.scrollHeight - root.clientHeight - window.scrollY < 40;
}

function showEnd() {
  window.scrollTo(0, document.documentElement.scrollHeight);
}

function requestOf(column, turns) {
  const system = at("system").value.trim();
  const messages = system ? [{ role: "system", content: system }] : [];
  const body = { model: column.choice.value, messages: [...messages, ...turns], stream: true };
  for (const name of ["temperature", "top_p", "max_tokens", "seed"]) {
    if (at(name).value !== "") body[name] = Number(at(name).value);
  }
  if (at("logprobs").checked) body.logprobs = true;
  return body;
}

async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const line = block.split(/\r?\n/).find((each) => each.startsWith("data:"));
      if (!line) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

function addPiece(place, choice) {
  const text = choice.delta.content || "";
  const scored = choice.logprobs && choice.logprobs.content;
  if (!scored || !scored.length) {
    place.append(text);
    return text;
  }
  const node = make("span", "", text);
  // One stop of Tab per answer; the arrow keys go on from there.
  node.tabIndex = place.querySelector("span") ? -1 : 0;
  const scores = scored.map((each) => JSON.stringify(each.token) + " " + each.logprob.toFixed(4));
  node.setAttribute("aria-description", scores.join(", "));
  place.append(node);
  return text;
}

async function answerIn(column, prompt, signal) {
  const asked = make("div", "turn user", prompt);
  // New chat gives the column another list; this answer stays with its own.
  const turns = column.turns;
  turns.push({ role: "user", content: prompt });
  const turn = make("div", "turn assistant");
  const text = make("div", "");
  turn.append(make("div", "who", column.choice.value), text);
  turn.setAttribute("aria-live", "polite");
  turn.setAttribute("aria-busy", "true");
  column.log.append(asked, turn);
  showEnd();
  let whole = "";
  let ending = "";
  try {
    const answer = await ask("/v1/chat/completions", { method: "POST", body: JSON.stringify(requestOf(column, turns)), signal });
    for await (const event of events(answer)) {
      if (event.error) throw new Error(event.error.message);
      const follows = isAtEnd();
      for (const choice of event.choices) {
        whole += addPiece(text, choice);
        if (choice.finish_reason === "length") turn.append(make("p", "problem", "Cut off at max tokens."));
      }
      if (follows) showEnd();
    }
    if (!whole) ending = "The answer is empty.";
  } catch (error) {
    ending = error.name === "AbortError" ? "Stopped." : inWords(error);
  }
  const follows = isAtEnd();
  if (ending) turn.append(make("p", "problem", ending));
  // Without an answer the question is not part of the conversation either.
  if (whole) turns.push({ role: "assistant", content: whole });
  else turns.pop();
  turn.setAttribute("aria-busy", "false");
  const copy = make("button", "copy", "Copy");
  copy.type = "button";
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(whole);
      copy.textContent = "Copied";
    } catch (error) {
      copy.textContent = "The browser does not allow copying";
    }
  });
  if (whole) turn.append(copy);
  if (follows) showEnd();
}

async function send() {
  const prompt = at("prompt").value;
  if (!prompt.trim() || running || !columns.length) return;
  running = new AbortController();
  const signal = running.signal;
  at("send").disabled = true;
  at("stop").disabled = false;
  at("prompt").value = "";
  await Promise.all(columns.map((column) => answerIn(column, prompt, signal)));
  running = null;
  at("send").disabled = false;
  at("stop").disabled = true;
}

function stop() {
  if (running) running.abort();
}

function newChat() {
  stop();
  for (const column of columns) {
    column.turns = [];
    column.log.replaceChildren();
  }
  showScores(null);
  at("prompt").focus();
}

function showScores(node) {
  // Where the pointer is on no token, the one with the focus is told.
  const [scored] = [node, document.activeElement].map((each) => each && each.closest(".assistant span")).filter(Boolean);
  at("scores").textContent = scored ? scored.getAttribute("aria-description") : "";
  at("scores").hidden = !scored;
}

function moveAmongTokens(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const here = event.target.closest(".assistant span");
  if (!step || !here) return;
  const tokens = [...here.parentNode.querySelectorAll("span")];
  const next = tokens[tokens.indexOf(here) + step];
  if (!next) return;
  event.preventDefault();
  here.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

for (const kind of ["mouseover", "focusin"]) at("columns").addEventListener(kind, (event) => showScores(event.target));
for (const kind of ["mouseleave", "focusout"]) at("columns").addEventListener(kind, () => showScores(null));
at("columns").addEventListener("keydown", moveAmongTokens);
at("ask").addEventListener("submit", (event) => { event.preventDefault(); send(); });
at("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") stop(); });
at("stop").addEventListener("click", stop);
at("new").addEventListener("click", newChat);
at("access").addEventListener("submit", (event) => {
  event.preventDefault();
  key = at("key").value;
  at("key").value = "";
  start();
});
start();
