// Orders about a rollout: takes the reason along, and says what was done. What they do is said by the control API.
import { say } from "./actions.js";

const DONE = { pause: "Paused.", resume: "It goes on.", promote: "Promoted.", abort: "Ended.", rollback: "Rolled back." };

document.addEventListener("submit", (event) => {
  const form = event.target.closest("#orders form[data-call]");
  if (form) form.dataset.fields = JSON.stringify({ reason: document.getElementById("reason")?.value ?? "" });
}, true);

document.addEventListener("podium:done", (event) => {
  const order = event.target.dataset.call?.split("/").pop();
  if (DONE[order]) say("good", DONE[order]);
});
