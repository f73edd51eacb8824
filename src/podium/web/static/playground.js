// The playground: asks two versions at once through /v1 with the session of this page, shows what comes as it comes,
// and sends the vote as feedback. Keeps nothing: who leaves the page loses what stood on it.
import { call, say } from "./actions.js";

const SIDES = ["a", "b"];
const SCORES = { a: [1, 0], b: [0, 1], tie: [1, 1], bad: [0, 0] };
const form = document.getElementById("ask-both");
const at = (id) => document.getElementById(id);
let running = null;
let answers = {};

/** Events of a stream (HTML standard, 9.2.6), as far as models' servers use them: data lines, and the name of an event. */
async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const pieces = rest.split(/\r?\n\r?\n/);
    rest = pieces.pop();
    for (const piece of pieces) {
      const lines = piece.split(/\r?\n/);
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      const name = lines.find((line) => line.startsWith("event:"))?.slice(6).trim() ?? "message";
      if (data) yield { name, data };
    }
  }
}

function bodyOf(side) {
  const fields = new FormData(form);
  const messages = [{ role: "user", content: fields.get("prompt") }];
  if (fields.get("system").trim()) messages.unshift({ role: "system", content: fields.get("system") });
  const body = { model: at(`model-${side}`).value, messages, stream: true, stream_options: { include_usage: true } };
  if (fields.get("max_tokens")) body.max_tokens = Number(fields.get("max_tokens"));
  if (fields.get("temperature") !== "") body.temperature = Number(fields.get("temperature"));
  return body;
}

function figures(side, pairs) {
  at(`figures-${side}`).replaceChildren(...pairs.map(([name, value]) => {
    const row = document.createElement("div");
    const term = document.createElement("dt");
    const text = document.createElement("dd");
    term.textContent = name;
    text.textContent = value;
    row.append(term, text);
    return row;
  }));
}

const ms = (value) => (value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value.toFixed(0)} ms`);
const blind = () => form.elements.blind.checked && !answers.voted;

function tell(side) {
  const one = answers[side];
  const pairs = [];
  if (one.model) pairs.push(["version", blind() ? "hidden" : one.model]);
  if (one.first) pairs.push(["first token", ms(one.first)]);
  if (one.took) pairs.push([one.stopped ? "stopped after" : "time", ms(one.took)]);
  if (one.usage) pairs.push(["tokens", `${one.usage.prompt_tokens ?? "—"} read, ${one.usage.completion_tokens ?? "—"} written`]);
  if (one.cost) pairs.push(...one.cost);
  figures(side, pairs);
}

async function ask(side, signal) {
  const one = (answers[side] = { text: "" });
  const place = at(`answer-${side}`);
  const began = performance.now();
  place.textContent = "";
  place.classList.add("waiting");
  tell(side);
  try {
    const task = new FormData(form).get("task");
    const headers = task ? { "x-podium-task": task } : {};
    const answer = await call("POST", "/v1/chat/completions", bodyOf(side), { signal, headers });
    one.request = answer.headers.get("x-request-id");
    one.model = answer.headers.get("x-podium-model");
    tell(side);
    for await (const { name, data } of eventsOf(answer.body)) {
      if (data === "[DONE]") break;
      const piece = JSON.parse(data);
      if (name === "error" || piece.error) throw new Error(piece.error?.message ?? "The answer broke off.");
      const text = piece.choices?.[0]?.delta?.content ?? "";
      if (text && !one.first) { one.first = performance.now() - began; tell(side); }
      if (text) {
        const follow = place.scrollTop + place.clientHeight > place.scrollHeight - 30;
        one.text += text;
        place.append(text);
        if (follow) place.scrollTop = place.scrollHeight;
      }
      if (piece.usage) one.usage = piece.usage;
    }
    one.ended = true;
  } catch (error) {
    one.stopped = error.name === "AbortError";
    if (!one.stopped) {
      const line = document.createElement("p");
      line.className = "flash bad";
      line.textContent = error.message;
      place.append(line);
    }
  } finally {
    one.took = performance.now() - began;
    place.classList.remove("waiting");
    if (!one.text && one.ended) place.textContent = "(an empty answer)";
    tell(side);
  }
  if (one.ended && one.request && form.dataset.costs === "yes") await costs(side, one);
}

/** What is on record of the answer. Soon after its end, so ask a few times. */
async function costs(side, one) {
  for (let tries = 0; tries < 6 && answers[side] === one; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 300));
    try {
      const found = await (await call("GET", `/api/v1/decisions/${encodeURIComponent(one.request)}`)).json();
      const cost = found.attempts.at(-1).outcome.cost;
      const known = [];
      if (cost.energy_mwh !== null) known.push(["energy", `${+cost.energy_mwh.toPrecision(3)} mWh${cost.energy_method === "estimated" ? " (estimated)" : ""}`]);
      else known.push(["energy", `not measured: ${cost.missing.energy_mwh ?? "no counter"}`]);
      if (cost.cpu_ms !== null) known.push(["processor", ms(cost.cpu_ms)]);
      known.push(["money", cost.price_microusd === null ? "nobody bills it" : `$${+(cost.price_microusd / 1e6).toPrecision(3)}`]);
      one.cost = known;
      tell(side);
      return;
    } catch {
      continue;
    }
  }
}

function voting(open, text) {
  for (const button of document.querySelectorAll("[data-vote]")) {
    button.disabled = !open;
    button.removeAttribute("aria-pressed");
  }
  at("vote-text").textContent = text;
}

function hide(yes) {
  for (const side of SIDES) at(`model-${side}`).disabled = yes;
}

async function askBoth() {
  running?.abort();
  const mine = new AbortController();
  running = mine;
  answers = {};
  for (const side of SIDES) at(`side-${side}`).classList.remove("best");
  if (form.elements.blind.checked && Math.random() < 0.5) {
    const [left, right] = SIDES.map((side) => at(`model-${side}`));
    [left.value, right.value] = [right.value, left.value];
  }
  document.body.classList.toggle("blind", form.elements.blind.checked);
  at("stop").disabled = false;
  hide(true);
  voting(false, "The answers are coming …");
  at("spoken").textContent = "Asking both.";
  await Promise.all(SIDES.map((side) => ask(side, mine.signal)));
  if (running !== mine) return;
  running = null;
  at("stop").disabled = true;
  hide(false);
  const both = SIDES.every((side) => answers[side].ended && answers[side].request);
  voting(both, both ? "Which answer is better?" : "A vote needs two whole answers.");
  at("spoken").textContent = both ? "Both answers are here." : "It was stopped, or failed.";
}

async function vote(kind) {
  const said = { a: "left is better", b: "right is better", tie: "both are good", bad: "both are bad" }[kind];
  voting(false, "Sending …");
  try {
    await Promise.all(SIDES.map((side, place) => call("POST", "/api/v1/feedback", {
      request_id: answers[side].request, score: SCORES[kind][place], comment: `playground: ${said}`,
    })));
  } catch (error) {
    voting(true, "Which answer is better?");
    say("bad", error.message);
    return;
  }
  answers.voted = true;
  document.body.classList.remove("blind");
  voting(false, `You said: ${said}. Thank you; it counts as feedback to both answers.`);
  document.querySelector(`[data-vote="${kind}"]`).setAttribute("aria-pressed", "true");
  if (kind in answers) at(`side-${kind}`).classList.add("best");
  for (const side of SIDES) tell(side);
}

if (form) {
  form.addEventListener("submit", (event) => { event.preventDefault(); askBoth(); });
  at("stop").addEventListener("click", () => running?.abort());
  at("votes").addEventListener("click", (event) => { if (event.target.dataset.vote) vote(event.target.dataset.vote); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    if (event.key === "Escape" && running) running.abort();
  });
  addEventListener("pagehide", () => running?.abort());
}
