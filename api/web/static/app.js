// Copy buttons appear only where a script can serve them; everything else reads without this file.
"use strict";
function addCopyButtons(root) {
  for (const box of root.querySelectorAll(".copyable")) {
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
addCopyButtons(document);
document.addEventListener("htmx:after:swap", () => addCopyButtons(document));
