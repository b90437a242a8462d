// Before and after: a divider over two pictures that lie on one plane, which is zoomed and moved under it.
//
// Units: picture pixels (of the result) on the plane, CSS pixels in the frame. The divider stands still in the frame
// while the plane moves below it. All changes end in render().

import { byId, element } from "./dom.js";
import * as loupe from "./loupe.js";

const [viewer, frame, plane, before, after, doubt] = ["viewer", "frame", "plane", "before", "after", "doubt"].map(byId);
const [slider, divider, knob] = ["slider", "divider", "knob"].map(byId);
const [plain, ours] = frame.querySelectorAll(".side");
const presets = [...document.querySelectorAll("[data-zoom]")];
const LARGEST = 16; // screen pixels for a picture pixel
const STEP = 1.25; // of a zoom by key, button or notch of the wheel
const PAN = 60; // CSS pixels that an arrow key moves the picture
const NUDGE = 16; // CSS pixels that it moves the loupe
const LABEL = 10; // CSS pixels from a label to the picture's edge

let [width, height] = [1, 1]; // of the result
let [scale, x, y] = [1, 0, 0]; // CSS pixels for a picture pixel; where its upper left corner lies in the frame
let fitted = true;

const density = () => window.devicePixelRatio || 1;

/** Show a finished job; resolves when its pictures can be seen. */
export async function show(job) {
  [height, width] = job.record.output_size;
  const { view, bicubic, uncertainty } = job.links;
  after.alt = `${job.name}, enlarged by mzsr`;
  before.alt = `${job.name}, plain bicubic enlargement`;
  doubt.alt = "How far each pixel is likely to be off";
  after.src = view;
  before.src = bicubic;
  byId("toggle-doubt").hidden = !uncertainty;
  byId("ticks").replaceChildren(...(job.record.error_ticks ?? []).map((tick) => element("span", { textContent: tick })));
  if (uncertainty) doubt.src = uncertainty;
  else doubt.removeAttribute("src");
  unsure(false);
  magnify(false);
  slider.value = 50;
  fit();
  byId("view-share").hidden = true;
  await Promise.all([after.decode(), before.decode()]);
  const share = after.naturalWidth / width; // what a browser is sent of a very large result
  byId("view-share").hidden = share >= 1;
  byId("view-share").textContent = `Both are shown here at ${Math.round(100 * share)} % of the size of the result. The download has every pixel.`;
  render();
}

// A picture that fits is enlarged by whole screen pixels only, or its own would look uneven.
function fitting(room) {
  const full = density() * Math.min(frame.clientWidth / width, room / height);
  return (full < 1 ? full : Math.min(8, Math.floor(full))) / density();
}

function fit() {
  const room = Math.max(240, 0.7 * window.innerHeight);
  frame.style.height = `${Math.min(room, Math.max(200, height * fitting(room)))}px`;
  fitted = true;
  scale = fitting(frame.clientHeight);
  [x, y] = [0, 0];
  render();
}

/** Zoom so that the point of the frame keeps what lies under it. */
function zoom(to, left = frame.clientWidth / 2, top = frame.clientHeight / 2) {
  const least = Math.min(fitting(frame.clientHeight), 1 / density());
  const next = Math.min(Math.max(to, least), LARGEST / density());
  x = left - ((left - x) * next) / scale;
  y = top - ((top - y) * next) / scale;
  scale = next;
  fitted = false;
  render();
}

function pan(dx, dy) {
  [x, y] = [x + dx, y + dy];
  render();
}

const place = (offset, size, room) => (size <= room ? (room - size) / 2 : Math.min(0, Math.max(offset, room - size)));

function render() {
  const { clientWidth, clientHeight } = frame;
  x = place(x, width * scale, clientWidth);
  y = place(y, height * scale, clientHeight);
  const round = (value) => Math.round(value * density()) / density(); // whole screen pixels stay sharp
  plane.style.width = `${width}px`;
  plane.style.height = `${height}px`;
  plane.style.transform = `translate(${round(x)}px, ${round(y)}px) scale(${scale})`;
  plane.classList.toggle("pixelated", scale * density() >= 2);
  const [left, right] = visible();
  const cut = left + (slider.value / 100) * (right - left);
  const border = (cut - round(x)) / scale;
  before.style.clipPath = `inset(0 ${width - border}px 0 0)`;
  for (const side of [after, doubt]) side.style.clipPath = `inset(0 0 0 ${border}px)`; // or it would show through what is transparent
  divider.style.left = `${cut}px`;
  plain.style.left = `${left + LABEL}px`;
  ours.style.right = `${clientWidth - right + LABEL}px`;
  slider.setAttribute("aria-valuetext", `${Math.round(slider.value)} % plain enlargement`);
  frame.classList.toggle("pans", pans());
  const percent = 100 * scale * density();
  byId("zoom").textContent = `${percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`;
  for (const button of presets) {
    const { zoom } = button.dataset;
    const pressed = zoom === "fit" ? fitted : !fitted && Math.abs(scale * density() - zoom) < 1e-6;
    button.setAttribute("aria-pressed", pressed);
  }
  loupe.draw({ x, y, scale, clientWidth, clientHeight, width, height });
}

const visible = () => [Math.max(0, x), Math.min(frame.clientWidth, x + width * scale)];
const pans = () => width * scale > frame.clientWidth + 1 || height * scale > frame.clientHeight + 1;

function divide(at) {
  const [left, right] = visible();
  slider.value = (100 * (at - left)) / (right - left);
  render();
}

function unsure(on) {
  doubt.hidden = !on;
  byId("legend").hidden = !on;
  byId("toggle-doubt").setAttribute("aria-pressed", on);
}

function magnify(on) {
  loupe.toggle(on);
  byId("toggle-loupe").setAttribute("aria-pressed", on);
  render();
}

// One pointer divides, pans, or leads the loupe; two of them zoom.
const pointers = new Map();
let doing = null;

const within = (event) => {
  const box = frame.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const spread = () => {
  const [[x1, y1], [x2, y2] = [x1, y1]] = [...pointers.values()];
  return { distance: Math.hypot(x2 - x1, y2 - y1), middle: [(x1 + x2) / 2, (y1 + y2) / 2] };
};
const look = ([left, top]) => loupe.aim((left - x) / scale, (top - y) / scale);

frame.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  pointers.set(event.pointerId, within(event));
  frame.setPointerCapture(event.pointerId);
  doing = pointers.size > 1 ? "zoom" : knob.contains(event.target) ? "divide" : loupe.on() ? "look" : pans() ? "pan" : "divide";
  if (event.pointerType !== "touch") {
    event.preventDefault();
    slider.focus({ preventScroll: true });
    if (doing === "divide") divide(within(event)[0]);
  }
});
frame.addEventListener("pointermove", (event) => {
  const now = within(event);
  const last = pointers.get(event.pointerId);
  if (loupe.on() && (doing === "look" || (!last && event.pointerType === "mouse"))) {
    look(now);
    render();
  }
  if (!last) return;
  const { distance, middle } = spread();
  pointers.set(event.pointerId, now);
  if (doing === "divide") divide(now[0]);
  if (doing === "pan") pan(now[0] - last[0], now[1] - last[1]);
  if (doing === "zoom" && distance > 0) {
    const moved = spread();
    pan(moved.middle[0] - middle[0], moved.middle[1] - middle[1]);
    zoom((scale * moved.distance) / distance, ...moved.middle);
  }
});
for (const kind of ["pointerup", "pointercancel"]) {
  frame.addEventListener(kind, (event) => {
    pointers.delete(event.pointerId);
    doing = pointers.size ? "pan" : null;
  });
}
// Two fingers belong to the picture; one of them still scrolls the page where there is nothing to pan.
frame.addEventListener("touchmove", (event) => event.touches.length > 1 && event.cancelable && event.preventDefault(), { passive: false });
frame.addEventListener("dblclick", (event) => zoom(2 * scale, ...within(event)));
// A wheel over a picture that nobody has touched scrolls the page, as people expect; a pinch on a trackpad comes with Ctrl.
frame.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.metaKey && document.activeElement !== slider) return;
  event.preventDefault();
  const notches = -event.deltaY / (event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 100 : 3);
  zoom(scale * STEP ** Math.min(Math.max(notches, -3), 3), ...within(event));
}, { passive: false });

const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const KEYS = {
  "+": () => zoom(scale * STEP), "=": () => zoom(scale * STEP), "-": () => zoom(scale / STEP),
  0: fit, 1: () => zoom(1 / density()), 2: () => zoom(2 / density()),
  l: () => magnify(!loupe.on()), u: () => doubt.hasAttribute("src") && unsure(doubt.hidden),
};
viewer.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const arrow = event.shiftKey && ARROWS[event.key];
  const action = arrow ? () => move(...arrow) : KEYS[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
});

function move(dx, dy) {
  if (loupe.on()) loupe.nudge((-NUDGE * dx) / scale, (-NUDGE * dy) / scale);
  pan(...(loupe.on() ? [0, 0] : [PAN * dx, PAN * dy]));
}

slider.addEventListener("input", render);
byId("larger").addEventListener("click", () => zoom(scale * STEP));
byId("smaller").addEventListener("click", () => zoom(scale / STEP));
byId("toggle-loupe").addEventListener("click", () => magnify(!loupe.on()));
byId("toggle-doubt").addEventListener("click", () => unsure(doubt.hidden));
for (const button of presets) {
  const { zoom: to } = button.dataset;
  button.addEventListener("click", () => (to === "fit" ? fit() : zoom(to / density())));
}
new ResizeObserver(() => frame.clientWidth && (fitted ? fit() : render())).observe(viewer);
