// The pictures of this visit: kept by the browser until its tab closes, and only as links to what the server keeps.

import { element } from "./dom.js";

const KEY = "mzsr-visit";
const section = document.querySelector("#visit");
const list = section.querySelector("ul");
let open = () => {};
let remove = () => {};

export const all = () => JSON.parse(sessionStorage.getItem(KEY) ?? "[]");

function keep(entries) {
  sessionStorage.setItem(KEY, JSON.stringify(entries));
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

export function forget(id) {
  keep(all().filter((entry) => entry.id !== id));
}

function render() {
  const entries = all();
  section.hidden = entries.length === 0;
  list.replaceChildren(...entries.map(({ id, name, words, thumbnail }) => element("li", {},
    element("button", { type: "button", className: "card", onclick: () => open(id) },
      element("img", { src: thumbnail ?? "", alt: "", loading: "lazy" }),
      element("span", {}, element("strong", { textContent: name }), element("small", { textContent: words }))),
    element("button", { type: "button", className: "plain", textContent: "Delete", ariaLabel: `Delete ${name}`, onclick: () => remove(id) }))));
}
