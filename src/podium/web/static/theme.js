// Sets the colours before anything is drawn, so that nothing flashes. "auto" follows the system.
(() => {
  let kept = "auto";
  try { kept = localStorage.getItem("podium-theme") || "auto"; } catch { /* private windows may keep nothing */ }
  document.documentElement.dataset.theme = kept;
})();
