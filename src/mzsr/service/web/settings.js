// The form: what people choose → what the server is asked for, in the words of the command line.

import { byId } from "./dom.js";
import * as kernel from "./kernel.js";

const form = document.querySelector("#settings");
const chosen = (name) => form.elements[name].value;
let size = null; // [width, height] of the picture, where it is known
let limits = null; // of this server

function scale() {
  return chosen("scale") === "other" ? byId("times").valueAsNumber : Number(chosen("scale"));
}

/** Return the fields of a job, without the picture. */
export function fields() {
  const data = new FormData();
  data.set("scale", scale());
  data.set("mode", chosen("mode"));
  const blur = chosen("kernel");
  if (blur === "file") data.set("kernel_file", byId("kernel-file").files[0]);
  else data.set("kernel", blur === "drawn" ? kernel.spec(scale()) : blur);
  const bound = byId("model").selectedOptions[0].dataset.subsample; // to the one grid that its model knows
  if ((blur === "file" || blur === "drawn") && !bound) data.set("subsample", "centre"); // as photographs are
  data.set("noise", chosen("grain") === "auto" ? "auto" : `${byId("noise").value}/255`);
  for (const name of ["jpeg", "enlarged"]) data.set(name, byId(name).checked ? "auto" : "off");
  for (const name of ["format", "model"]) if (byId(name).value) data.set(name, byId(name).value);
  data.set("quality", byId("quality").value);
  return data;
}

/** Say what comes of a picture of this size; without one, say nothing. */
export function suit(width, height) {
  size = width && height ? [width, height] : null;
  refresh();
}

/** Offer what this server can do. */
export function offer(options) {
  limits = options.limits;
  for (const format of options.formats) byId("format").add(new Option(format.toUpperCase(), format));
  const models = byId("model");
  for (const model of options.models) models.add(new Option(model.name, model.name));
  [options.models[0], ...options.models].forEach((model, place) => { models.options[place].dataset.subsample = model?.subsample ?? ""; });
  byId("times").min = options.scale.min;
  byId("times").max = options.scale.max;
}

// What does not count is disabled, not only hidden: else the browser would wait for it to be filled in.
function only(id, shown) {
  byId(id).hidden = !shown;
  for (const input of byId(id).querySelectorAll("input")) input.disabled = !shown;
}

function refresh() {
  only("other", chosen("scale") === "other");
  only("drawn", chosen("kernel") === "drawn");
  only("kernel-of", chosen("kernel") === "file");
  byId("kernel-file").required = chosen("kernel") === "file";
  only("grain-of", chosen("grain") === "known");
  byId("noise-value").textContent = Number(byId("noise").value).toFixed(1);
  const large = larger();
  byId("becomes").textContent = large ? resultExcess() || `${size.join(" × ")} pixels become ${large.join(" × ")}.` : "";
}

// Width and height of the result, where they are known.
function larger() {
  const factor = scale();
  return size && factor >= 1 ? size.map((side) => whole(side * factor)) : null;
}

// A half to the even side, as the server does it.
const whole = (value) => (value % 1 === 0.5 ? 2 * Math.round(value / 2) : Math.round(value));

/** What is too small or too large about the picture, in the words of the server, which counts only what it has received. */
export const pictureMisfit = () => under() || over("The picture has", size, limits?.pixels, "make it smaller, or crop it");
/** What is too large about the result. */
export const resultExcess = () => over("The result would have", larger(), limits?.result_pixels, "ask for a smaller scale, or send a smaller picture");

function under() {
  const least = limits?.least_side;
  if (!size || !least || Math.min(...size) >= least) return "";
  return `Picture is ${size.join("x")}; at least ${least}x${least} pixels are required — choose a larger one.`;
}

function over(what, sides, limit, advice) {
  const count = sides && sides[0] * sides[1];
  if (!limit || !count || count <= limit) return "";
  return `${what} ${sides.join(" x ")} pixels, ${(count / 1e6).toFixed(1)} million; the limit here is ${Number((limit / 1e6).toPrecision(6))} million — ${advice}.`;
}

/** The word on the button: the first time, or once more. */
export function name(button) {
  byId("start").textContent = button;
}

form.addEventListener("input", refresh);
refresh();
