// The pictures of this visit: kept by the browser until its tab closes, and only as links to what the server keeps.

import { byId, element } from "./dom.js";

const KEY = "mzsr-visit";
const section = document.querySelector("#visit");
const list = section.querySelector("ul");
let open = () => {};
let remove = () => {};

let kept = "[]"; // where the browser denies storage, until the page is left

function all() {
  try {
    kept = sessionStorage.getItem(KEY) ?? kept;
  } catch { /* what was kept last */ }
  return JSON.parse(kept);
}

function keep(entries) {
  kept = JSON.stringify(entries);
  try {
    sessionStorage.setItem(KEY, kept);
  } catch { /* kept until the page is left */ }
  render();
}

/** Begin: what happens when an entry is opened or deleted, both of which are given its id. */
export function begin(actions) {
  ({ open, remove } = actions);
  render();
}

/** Put a finished job first. */
export function add(job) {
  const [height, width] = job.record.output_size;
  const entry = { id: job.id, name: job.name, words: `${width} × ${height}`, thumbnail: job.links.thumbnail };
  keep([entry, ...all().filter((known) => known.id !== job.id)]);
}

/** Take an entry out; whoever was on it comes to the next one, or the last one, or to the page's heading. */
export function forget(id) {
  const entries = all();
  const place = entries.findIndex((entry) => entry.id === id);
  const held = buttons().indexOf(document.activeElement);
  keep(entries.filter((entry) => entry.id !== id));
  if (held < 0) return;
  const now = place >= 0 && held > 2 * place + 1 ? held - 2 : held; // those behind it move up
  (buttons()[now] ?? buttons()[now - 2] ?? byId("title")).focus();
}

const buttons = () => [...list.querySelectorAll("button")]; // two of each entry

function render() {
  const entries = all();
  section.hidden = entries.length === 0;
  list.replaceChildren(...entries.map(({ id, name, words, thumbnail }) => element("li", {},
    element("button", { type: "button", className: "card", onclick: () => open(id) },
      element("img", { src: thumbnail ?? "", alt: "", loading: "lazy" }),
      element("span", {}, element("strong", { textContent: name }), element("small", { textContent: words }))),
    element("button", { type: "button", className: "plain", textContent: "Delete", ariaLabel: `Delete ${name}`, onclick: () => remove(id) }))));
}
