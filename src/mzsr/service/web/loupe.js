// The same spot of both pictures side by side, enlarged, each pixel a square.

import { byId } from "./dom.js";

const [panel, spot] = ["loupe", "spot"].map(byId);
const panes = [["loupe-before", "before"], ["loupe-after", "after"]].map((ids) => ids.map(byId));
const TIMES = 4; // as large as the picture in the frame, at the least 4 CSS pixels for one of its own

let aimed = null; // [column, row] in picture pixels; null is a place that the divider's handle leaves free
let seen = [0, 0]; // the middle of what was drawn

export const on = () => !panel.hidden;

export function toggle(shown) {
  panel.hidden = spot.hidden = !shown;
  aimed = null;
}

export function aim(column, row) {
  aimed = [column, row];
}

/** Draw what lies under the spot; given where the picture lies in the frame. */
export function draw({ x, y, scale, clientWidth, clientHeight, width, height }) {
  if (!on()) return;
  const magnified = Math.max(TIMES * scale, 4);
  const { clientWidth: across, clientHeight: down } = panes[0][0];
  const [wide, tall] = [across / magnified, down / magnified]; // picture pixels seen
  const [column, row] = aimed ?? [(clientWidth / 2 - x) / scale, (clientHeight / 4 - y) / scale];
  const [left, top] = [within(column - wide / 2, width - wide), within(row - tall / 2, height - tall)];
  seen = [left + wide / 2, top + tall / 2];
  for (const [canvas, picture] of panes) {
    const density = window.devicePixelRatio || 1;
    canvas.width = Math.round(across * density);
    canvas.height = Math.round(down * density);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    const shrunk = picture.naturalWidth / width; // very large results are shown smaller than they are
    context.drawImage(picture, ...[left, top, wide, tall].map((value) => value * shrunk), 0, 0, canvas.width, canvas.height);
  }
  spot.style.width = `${wide * scale}px`;
  spot.style.height = `${tall * scale}px`;
  spot.style.transform = `translate(${x + left * scale}px, ${y + top * scale}px)`;
}

/** Aim elsewhere, so many picture pixels away. */
export function nudge(columns, rows) {
  aimed = [seen[0] + columns, seen[1] + rows];
}

const within = (offset, room) => (room < 0 ? room / 2 : Math.min(Math.max(offset, 0), room));
