// The ways in which a picture comes to the page: chosen, pasted, dropped.

import { byId } from "./dom.js";

const file = byId("file");

/** Hand every picture that comes to `take`, while `welcome()` says that one may come; of several the first, and how many. */
export function begin(take, welcome) {
  const come = (files) => files.length && welcome() && take(files[0], files.length);
  file.addEventListener("change", () => come(file.files));
  document.addEventListener("paste", (event) => come(event.clipboardData.files));
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  let over = 0; // elements that the file is over: to leave a child is not to leave the window
  for (const [kind, change] of [["dragenter", 1], ["dragleave", -1]]) {
    window.addEventListener(kind, (event) => {
      if (carries(event)) document.body.classList.toggle("dragging", (over += change) > 0 && welcome());
    });
  }
  window.addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault(); // else the browser would open the file in place of the page, and end what is at work
    event.dataTransfer.dropEffect = welcome() ? "copy" : "none";
  });
  window.addEventListener("drop", (event) => {
    over = 0;
    document.body.classList.remove("dragging");
    if (!carries(event)) return;
    event.preventDefault();
    come(event.dataTransfer.files);
  });
}

/** Open the browser's own dialog. */
export function ask() {
  file.value = ""; // else the same file a second time would be no change
  file.click();
}
