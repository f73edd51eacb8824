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

/** Whether somebody is in the middle of something in a block: what is selected or focused there must not vanish. */
function inUse(block) {
  const focused = document.activeElement;
  if (block !== focused && block.contains(focused) && focused.matches(":focus-visible")) return true;
  const selection = getSelection();
  return !selection.isCollapsed && block.contains(selection.anchorNode);
}

export function followLive() {
  document.addEventListener("htmx:sseBeforeMessage", (event) => { if (inUse(event.target)) event.preventDefault(); });
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
