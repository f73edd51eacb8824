// Buttons: <form data-call="POST /api/v1/…"> sends its fields as JSON to the control API, and says what came of it.

export function say(kind, text) {
  const place = document.getElementById("flash");
  const line = document.createElement("p");
  line.className = `flash ${kind}`;
  line.textContent = text;
  place.replaceChildren(line);
  if (kind !== "bad") setTimeout(() => line.remove(), 6000);
}

const token = () => document.querySelector('meta[name="podium-csrf"]').content;

/** The answer of the control API or of /v1; throws an Error with what it says is wrong. */
export async function call(method, path, body, options = {}) {
  const headers = { "content-type": "application/json", ...(token() && { "x-podium-csrf": token() }), ...options.headers };
  const answer = await fetch(path, { ...options, method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (!answer.ok) {
    const said = await answer.json().catch(() => null);
    throw Object.assign(new Error(said?.error?.message ?? `The server said ${answer.status}.`), { status: answer.status, error: said?.error });
  }
  return answer;
}

function agreed(question) {
  const dialog = document.getElementById("ask");
  dialog.querySelector("#ask-text").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

function fieldsOf(form) {
  const fields = JSON.parse(form.dataset.fields || "{}");
  for (const [name, value] of new FormData(form)) {
    const kind = form.elements[name]?.type;
    if (value !== "" || kind !== "number") fields[name] = kind === "number" ? Number(value) : value;
  }
  return fields;
}

async function act(form) {
  const [method, path] = form.dataset.call.split(" ");
  if (form.dataset.ask && !(await agreed(form.dataset.ask))) return;
  const button = form.querySelector("button:not([type=button])");
  button.disabled = true;
  form.setAttribute("aria-busy", "true");
  const began = Date.now();
  const text = button.textContent;
  const ticking = setInterval(() => { button.textContent = `${text} … ${Math.round((Date.now() - began) / 1000)} s`; }, 1000);
  try {
    const answer = await (await call(method, path, method === "DELETE" ? undefined : fieldsOf(form))).json();
    if (answer.ok === false) throw new Error(answer.error ?? "It did not work.");
    form.dispatchEvent(new CustomEvent("podium:done", { bubbles: true, detail: answer }));
    if (form.dataset.then === "reload") location.reload();
    else if (form.dataset.then) location.assign(form.dataset.then);
  } catch (error) {
    say("bad", error.message);
  } finally {
    clearInterval(ticking);
    button.textContent = text;
    button.disabled = false;
    form.removeAttribute("aria-busy");
  }
}

export function listenForActions() {
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-call]");
    if (!form) return;
    event.preventDefault();
    act(form);
  });
}
