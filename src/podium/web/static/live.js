// Says whether what is live is live. htmx's extension swaps the blocks and connects again; this watches the connection.
import { say } from "./actions.js";

const WORDS = { connecting: "connecting", live: "live", lost: "disconnected, trying again", ended: "signed out" };

function show(state) {
  const place = document.getElementById("live");
  if (!place || place.dataset.state === state) return;
  place.dataset.state = state;
  place.querySelector(".text").textContent = WORDS[state];
  document.body.classList.toggle("stale", state === "lost" || state === "ended");
}

export function followLive() {
  window.htmx.createEventSource = (url) => {
    const source = new EventSource(url);
    source.addEventListener("open", () => show("live"));
    source.addEventListener("error", () => { if (source.readyState !== EventSource.OPEN) show("lost"); });
    source.addEventListener("problem", (event) => say("bad", event.data));
    source.addEventListener("ended", (event) => {
      source.close();
      show("ended");
      say("bad", `${event.data} Reload the page to sign in again.`);
    });
    addEventListener("pagehide", () => source.close(), { once: true });
    return source;
  };
  addEventListener("offline", () => show("lost"));
}
