// The page as a whole: empty → chosen → working → done. Each part knows itself; this file knows their order.

import * as api from "./api.js";
import * as arrivals from "./arrivals.js";
import { byId, bytes, element } from "./dom.js";
import * as findings from "./findings.js";
import * as visit from "./history.js";
import * as progress from "./progress.js";
import { clear, refuse } from "./refusal.js";
import { admitted } from "./session.js";
import * as settings from "./settings.js";
import * as viewer from "./viewer.js";

const main = byId("main");
const picture = byId("preview-picture");

let options = null; // what this server can do
let source = null; // { file } or { example } or { link }, with a name
let running = null; // the AbortController of the job that the page follows
let shown = null; // the job on the page
let opening = 0; // counts what is opened or chosen: an answer that comes late opens nothing

function become(state) {
  main.dataset.state = state;
  for (const part of document.querySelectorAll("[data-when]")) part.hidden = !part.dataset.when.split(" ").includes(state);
}

// Choosing

function choose(chosen, count) {
  const reason = unfit(chosen);
  if (reason) return refuse(reason);
  const name = chosen.name || "pasted.png";
  take({ file: chosen, name }, URL.createObjectURL(chosen), bytes(chosen.size));
  become("chosen");
  byId("start").focus({ preventScroll: true });
  if (count > 1) refuse(`One picture at a time: ${name} was taken.`);
}

// Said before the upload, which may take minutes, and said again by the server, which knows better.
function unfit({ name, size }) {
  if (!options) return "";
  const suffix = /\.[^.]+$/.exec(name)?.[0].toLowerCase();
  if (size === 0) return `${name} is empty. Choose another picture.`;
  if (size > options.limits.bytes) return `${name} is ${bytes(size)}; this server takes at most ${bytes(options.limits.bytes)}. Choose a smaller file.`;
  if (suffix && !options.suffixes.includes(suffix)) return `${name} is no kind of picture that can be read. ${kinds()} are.`;
  return "";
}

// One name for a kind, however many suffixes it has.
const ALIASES = [".jpg", ".tif", ".heif", ".jfif", ".mpo"];
const kinds = () => options.suffixes.filter((suffix) => !ALIASES.includes(suffix)).map((suffix) => suffix.slice(1).toUpperCase()).join(", ");

function take(taken, address, about, size) {
  clear();
  opening += 1;
  if (picture.src.startsWith("blob:")) URL.revokeObjectURL(picture.src);
  [source, shown] = [taken, null];
  history.replaceState(null, "", location.pathname);
  byId("preview-name").textContent = taken.name;
  preview(address, about, size);
  settings.name("Enlarge");
}

// What is shown may be a thumbnail: then `size` is that of the picture itself.
async function preview(address, about, size) {
  const start = performance.now();
  const measured = ({ width, height }) => {
    byId("preview-size").textContent = `${width} × ${height} pixels, ${about}`.replace(/, $/, "");
    settings.suit(width, height);
    const misfit = settings.pictureMisfit();
    if (misfit) refuse(misfit);
  };
  byId("preview-size").textContent = about;
  settings.suit(0, 0);
  if (size) measured(size);
  picture.hidden = false;
  byId("preview-missing").hidden = true;
  picture.src = address;
  try {
    await picture.decode();
    if (!size) measured({ width: picture.naturalWidth, height: picture.naturalHeight });
    performance.measure("choice to thumbnail", { start });
  } catch {
    if (picture.src !== address && !picture.src.endsWith(address)) return; // another one has been chosen meanwhile
    picture.hidden = true;
    byId("preview-missing").hidden = false;
  }
}

// Working. Another picture may be opened meanwhile: then `running` is another one, and this one only joins the visit.

async function start() {
  clear();
  const sheet = byId("settings"); // an example and a retry do not come from it
  if (!sheet.checkValidity()) {
    if (sheet.hidden) become("chosen");
    return sheet.reportValidity();
  }
  const misfit = settings.pictureMisfit() || settings.resultExcess();
  if (misfit) return refuse(misfit);
  const mine = running = new AbortController();
  const begun = performance.now();
  shown = null; // what is shown is not this job yet
  become("working");
  progress.sending(0);
  byId("cancel").focus({ preventScroll: true });
  try {
    const form = settings.fields();
    await attach(form, source, mine.signal);
    const job = await admitted(() => api.submit(form, (share) => running === mine && progress.sending(share), mine.signal));
    if (running === mine) {
      shown = job;
      history.replaceState(null, "", `#${job.id}`);
    }
    await finish(job, mine);
    performance.measure("start to result", { start: begun });
  } catch (error) {
    if (running === mine) stop(error);
  } finally {
    if (running === mine) running = null;
  }
}

// The picture itself; one that was opened again lies on the server alone.
async function attach(form, { example, file, link, name }, signal) {
  if (example) return form.set("example", example);
  const blob = file ?? await (await admitted(() => api.ask(link, { signal }))).blob();
  form.set("file", blob, name);
}

async function finish(job, mine) {
  const here = () => running === mine;
  const done = await api.follow(job, (changed) => here() && tell(changed), () => here() && progress.silent(), mine.signal, admitted);
  if (!here()) return done.state === "done" && visit.add(done);
  if (done.state === "done") return reveal(done);
  if (done.state === "cancelled") return become("chosen");
  throw new api.Refusal(422, api.sentence(done.error ?? "the work was interrupted; try again"));
}

// A picture that the browser could not read: the server's thumbnail, once there is one.
function tell(job) {
  progress.working(job);
  if (picture.hidden && job.links.thumbnail) preview(job.links.thumbnail, bytes(job.input.bytes), job.input);
}

function stop(error) {
  become(source ? "chosen" : "empty");
  if (source) byId("start").focus({ preventScroll: true });
  if (error.name === "AbortError") return;
  if (!(error instanceof api.Refusal)) {
    refuse("Something went wrong on this page. Load it again; what is done is under This visit.");
    throw error;
  }
  const again = source && (error.status === 0 || error.wait !== null) ? start : null;
  refuse(error.message, { action: again, wait: error.wait });
}

async function cancel() {
  const job = shown;
  running?.abort(new DOMException("cancelled", "AbortError"));
  if (job) await admitted(() => api.post(job.links.cancel)).catch(() => {}); // finished meanwhile: nothing is left to cancel
}

// Done

async function reveal(job) {
  shown = job;
  if (source?.link) source.link = job.links.input; // that of an earlier job may be deleted before this one
  const [height, width] = job.record.output_size;
  const seconds = (new Date(job.finished) - new Date(job.started)) / 1000;
  become("done");
  byId("outcome-title").textContent = `${width} × ${height} pixels`;
  byId("outcome-words").textContent = `${job.name}, done in ${seconds.toFixed(1)} seconds.`;
  byId("download").href = job.links.result;
  byId("report").href = job.links.report;
  settings.name("Enlarge again");
  settings.suit(job.input.width, job.input.height);
  findings.show(job);
  visit.add(job);
  byId("outcome-title").focus({ preventScroll: true });
  main.scrollIntoView({ block: "start" });
  try {
    await viewer.show(job);
  } catch { // a phone that cannot hold so large a picture, or a line that broke
    if (shown === job) refuse("The comparison cannot be shown here. The result can be downloaded.");
  }
}

async function open(id) {
  let mine = null;
  const wanted = opening += 1;
  try {
    const job = await admitted(() => api.json(`/api/jobs/${encodeURIComponent(id)}`));
    if (wanted !== opening) return;
    mine = running = new AbortController();
    take({ link: job.links.input, name: job.name }, job.links.thumbnail ?? "", bytes(job.input.bytes), job.input);
    history.replaceState(null, "", `#${job.id}`);
    if (job.state === "done") return await reveal(job);
    become("working");
    shown = job;
    await finish(job, mine);
  } catch (error) {
    if (mine ? running !== mine : wanted !== opening) return;
    const gone = error.status === 404 || (!mine && error.status === 422); // 422: no name of a job; later on, why it failed
    if (gone) {
      visit.forget(id);
      error.message = "That picture is no longer here: it was deleted, or its time had passed.";
    }
    if (!mine && error instanceof api.Refusal) { // what is on the page, or at work, stays
      return refuse(error.message, gone ? {} : { action: () => open(id), wait: error.wait });
    }
    if (gone) source = null;
    stop(error);
  } finally {
    if (mine && running === mine) running = null;
  }
}

async function remove(id) {
  try {
    await admitted(() => api.ask(`/api/jobs/${encodeURIComponent(id)}`, { method: "DELETE" }));
  } catch (error) {
    if (error.status !== 404) return refuse(error.message);
  }
  visit.forget(id);
  if (shown?.id === id) empty();
}

function empty() {
  clear();
  [source, shown, running] = [null, null, null];
  history.replaceState(null, "", location.pathname);
  become("empty");
  byId("choose").focus({ preventScroll: true });
}

// What people do

arrivals.begin(choose, () => !running || main.dataset.state === "done"); // done, and its pictures are on their way
for (const id of ["choose", "discard", "another"]) byId(id).addEventListener("click", arrivals.ask);
byId("cancel").addEventListener("click", cancel);
byId("settings").addEventListener("submit", (event) => { event.preventDefault(); start(); });
byId("settings").addEventListener("invalid", ({ target }) => { // in a folded part nobody would see what is missing
  const folded = target.closest("details");
  if (folded) folded.open = true;
}, true);

async function begin() {
  visit.begin({ open, remove });
  try {
    options = await admitted(() => api.json("/api/options"));
    settings.offer(options);
    byId("file").accept = options.suffixes.join();
    byId("accepts").textContent = `${kinds()}, up to ${bytes(options.limits.bytes)} and ${Number((options.limits.pixels / 1e6).toPrecision(2))} megapixels`;
    offer(await api.json("/api/examples"));
  } catch (error) {
    stop(error);
  }
  route();
}

// An address with the name of a job leads to it, also when it is pasted into an open page.
function route() {
  const id = location.hash.slice(1);
  if (id) open(id);
}
window.addEventListener("hashchange", route);

function offer(examples) {
  const card = ({ name, title, words, thumbnail }) => element("li", {}, element("button", {
    type: "button",
    className: "card",
    onclick: () => {
      take({ example: name, name: title }, thumbnail, "");
      start();
    },
  }, element("img", { src: thumbnail, alt: "" }), element("span", {}, element("strong", { textContent: title }), element("small", { textContent: words }))));
  byId("examples").querySelector("ul").replaceChildren(...examples.map(card));
  byId("examples").hidden = main.dataset.state !== "empty";
}

begin();
