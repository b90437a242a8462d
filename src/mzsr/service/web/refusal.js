// What was refused, said once and clearly; and tried again by itself where the server named a time.

import { byId } from "./dom.js";

const box = byId("refusal");
const words = byId("refusal-words");
const retry = byId("refusal-retry");
let timer = null;
let again = null;

/** Show a sentence; with `action` a button for it, with `wait` seconds it also happens by itself. */
export function refuse(sentence, { action = null, wait = null } = {}) {
  clear();
  again = action;
  retry.hidden = !action;
  retry.textContent = "Try again now";
  words.textContent = sentence;
  box.hidden = false;
  if (action && wait !== null) count(Math.ceil(wait));
  box.scrollIntoView({ block: "nearest" });
}

export function clear() {
  clearTimeout(timer);
  box.hidden = true;
  again = null;
}

// The button counts, not the sentence: that would be read out every second.
function count(left) {
  retry.textContent = `Try again now (or in ${left} s)`;
  if (left <= 0) return go();
  timer = setTimeout(count, 1000, left - 1);
}

function go() {
  const action = again;
  clear();
  action();
}

retry.addEventListener("click", go);
byId("refusal-close").addEventListener("click", () => {
  clear();
  ["start", "choose", "title"].map(byId).find((place) => !place.closest("[hidden]")).focus({ preventScroll: true });
});
