// Copy buttons appear only where a script can serve them; everything else reads without this file.
"use strict";
function addCopyButtons() {
  for (const box of document.querySelectorAll(".copyable")) {
    if (box.querySelector("button") || !navigator.clipboard) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(box.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    box.append(button);
  }
}
// On a small screen the records come first; the filters are one tap away.
function foldFilters() {
  if (matchMedia("(min-width: 62rem)").matches) return;
  for (const filters of document.querySelectorAll("details.filters")) filters.open = false;
}
addCopyButtons();
foldFilters();
document.addEventListener("htmx:after:swap", () => { addCopyButtons(); foldFilters(); });
