// The same spot of both pictures side by side, enlarged, each pixel a square.

import { byId } from "./dom.js";

const [panel, spot] = ["loupe", "spot"].map(byId);
const panes = [["loupe-before", "before"], ["loupe-after", "after"]].map((ids) => ids.map(byId));
const SIDE = 144; // CSS pixels of a pane
const TIMES = 4; // as large as the picture in the frame, at the least 4 CSS pixels for one of its own

let aimed = null; // [column, row] in picture pixels; null is the middle of what is seen

export const on = () => !panel.hidden;

export function toggle(shown) {
  panel.hidden = spot.hidden = !shown;
  aimed = null;
}

export function aim(column, row) {
  aimed = [column, row];
}

export function nudge(columns, rows) {
  if (aimed) aimed = [aimed[0] + columns, aimed[1] + rows];
}

/** Draw what lies under the spot; given where the picture lies in the frame. */
export function draw({ x, y, scale, clientWidth, clientHeight, width, height }) {
  if (!on()) return;
  const magnified = Math.max(TIMES * scale, 4);
  const side = SIDE / magnified; // picture pixels seen
  const centre = aimed ?? [(clientWidth / 2 - x) / scale, (clientHeight / 2 - y) / scale];
  const clamp = (value, size) => Math.min(Math.max(value, Math.min(side / 2, size / 2)), Math.max(size - side / 2, size / 2));
  const [column, row] = [clamp(centre[0], width), clamp(centre[1], height)];
  if (aimed) aimed = [column, row];
  for (const [canvas, picture] of panes) {
    const dense = Math.round(SIDE * (window.devicePixelRatio || 1));
    if (canvas.width !== dense) canvas.width = canvas.height = dense;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    const shrunk = picture.naturalWidth / width; // very large results are shown smaller than they are
    context.clearRect(0, 0, dense, dense);
    context.drawImage(picture, (column - side / 2) * shrunk, (row - side / 2) * shrunk, side * shrunk, side * shrunk, 0, 0, dense, dense);
  }
  const top = y + row * scale;
  spot.style.width = spot.style.height = `${side * scale}px`;
  spot.style.transform = `translate(${x + (column - side / 2) * scale}px, ${top - (side * scale) / 2}px)`;
  panel.classList.toggle("above", top > clientHeight / 2);
}
