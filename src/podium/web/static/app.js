// What every page does: colours, times, copying, what is live, buttons, charts. No page has scripts of its own inline.
import { followLive } from "./live.js";
import { listenForActions, say } from "./actions.js";
import { drawCharts } from "./charts.js";

const THEMES = ["auto", "light", "dark"];
const SIGNS = { auto: "◐", light: "☀", dark: "☾" };

function showTheme() {
  const button = document.getElementById("theme");
  const theme = document.documentElement.dataset.theme;
  button.textContent = SIGNS[theme];
  button.title = `Colours: ${theme === "auto" ? "as the system" : theme}`;
}

function nextTheme() {
  const root = document.documentElement;
  root.dataset.theme = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
  try { localStorage.setItem("podium-theme", root.dataset.theme); } catch { /* it holds for this page, then */ }
  showTheme();
  document.dispatchEvent(new Event("podium:theme"));
}

const ago = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "short" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

export function tellTimes(root = document) {
  const now = Date.now();
  for (const one of root.querySelectorAll("time[data-ago]")) {
    const at = new Date(one.dateTime);
    const seconds = Math.round((at - now) / 1000);
    const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? UNITS[3];
    const text = Math.abs(seconds) < 2 ? "now" : ago.format(Math.round(seconds / size), unit);
    if (one.textContent !== text) one.textContent = text;
    one.title = at.toLocaleString();
  }
}

document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy]");
  if (!copy) return;
  try {
    await navigator.clipboard.writeText(copy.dataset.copy);
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  } catch {
    say("warn", "This browser does not let pages copy here; select the command instead.");
  }
});

document.addEventListener("click", (event) => { if (event.target.closest("#theme")) nextTheme(); });
document.addEventListener("htmx:historyRestore", showTheme);
document.addEventListener("htmx:load", (event) => { tellTimes(event.target); drawCharts(event.target); });
document.addEventListener("htmx:responseError", (event) => say("bad", `The server said ${event.detail.xhr.status}.`));
document.addEventListener("htmx:sendError", () => say("bad", "The server cannot be reached."));
setInterval(() => { if (!document.hidden) tellTimes(); }, 1000);
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
showTheme();
tellTimes();
followLive();
listenForActions();
performance.mark("podium-draws");
drawCharts(document);
performance.mark("podium-drawn");
