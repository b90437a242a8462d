// How far the work is, in plain words: a row of stages, a bar, and a sentence that screen readers hear when it changes.

import { byId } from "./dom.js";

const ORDER = ["send", "estimate", "adapt", "enhance", "write"];
const WORDS = {
  send: "Sending your picture …",
  read: "Opening your picture …",
  estimate: "Finding out what your picture went through …",
  adapt: "Practising on your picture …",
  enhance: "Enlarging …",
  write: "Saving …",
};
const SENDING = 0.1; // of the bar; the server counts the rest

const stages = [...document.querySelectorAll("#stages li")];
const bar = byId("bar");
const told = byId("told");
const share = byId("share");

export const sending = (done) => show("send", WORDS.send, SENDING * done);

export function working(job) {
  if (job.state === "queued") return show("send", waiting(job.position), SENDING);
  if (job.state !== "running") return; // it has no stage any more, and what became of it is told elsewhere
  const stage = job.progress.stage ?? "read";
  show(stage === "read" ? "estimate" : stage, WORDS[stage], SENDING + (1 - SENDING) * job.progress.share);
}

export function silent() {
  say("The connection broke off; the server goes on with your picture. Connecting again …");
}

function waiting(ahead) {
  if (!ahead) return "Waiting for a free place; yours is next.";
  return ahead === 1 ? "Waiting: one picture is ahead of yours." : `Waiting: ${ahead} pictures are ahead of yours.`;
}

function show(stage, sentence, done) {
  const place = ORDER.indexOf(stage);
  stages.forEach((item, index) => {
    item.className = index < place ? "past" : "";
    if (index === place) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  });
  bar.value = done;
  share.textContent = `${Math.round(100 * done)} %`;
  say(sentence);
}

function say(sentence) {
  if (told.textContent !== sentence) told.textContent = sentence;
}
