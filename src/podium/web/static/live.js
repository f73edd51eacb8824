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

/** Whether the server answers and lets this browser in no more: its session ended with a restart, or elsewhere. */
async function refused(url) {
  try {
    const answer = await fetch(url, { headers: { accept: "text/event-stream" } });
    await answer.body?.cancel();
    return answer.status === 401;
  } catch {
    return false;
  }
}

function end(why) {
  if (document.getElementById("live")?.dataset.state === "ended") return;
  show("ended");
  say("bad", `${why} Reload the page to sign in again.`);
}

export function followLive() {
  document.addEventListener("htmx:sseBeforeMessage", (event) => { if (inUse(event.target)) event.preventDefault(); });
  window.htmx.createEventSource = (url) => {
    const source = new EventSource(url);
    source.addEventListener("open", () => show("live"));
    source.addEventListener("error", async () => {
      if (source.readyState === EventSource.OPEN) return;
      if (source.readyState === EventSource.CLOSED && await refused(url)) end("The session ended.");
      else show("lost");
    });
    source.addEventListener("problem", (event) => say("bad", event.data));
    source.addEventListener("ended", (event) => {
      source.close();
      end(event.data);
    });
    addEventListener("pagehide", () => source.close(), { once: true });
    return source;
  };
  addEventListener("offline", () => show("lost"));
}
