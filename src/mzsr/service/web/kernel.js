// A Gaussian blur that people draw with three sliders; the server is told its variances and its angle.

import { byId } from "./dom.js";

const canvas = byId("kernel");
const [along, across, angle] = ["along", "across", "angle"].map(byId);
const TAPS = 21;
const REACH = (TAPS - 1) / 2; // pixels of the enlarged picture from the middle to the edge

/** What the server calls it: gauss:VAR,VAR,ANGLE in radians, which it counts clockwise, and in pixels² of the next whole scale. */
export function spec(scale) {
  const [wide, tall] = [along, across].map((input) => input.valueAsNumber * Math.ceil(scale) / scale);
  const turned = angle.valueAsNumber;
  return `gauss:${(wide ** 2).toFixed(4)},${(tall ** 2).toFixed(4)},${(-turned * Math.PI / 180).toFixed(4)}`;
}

// Drawn, and said in numbers and to those who cannot see it.
function draw() {
  const [wide, tall, turned] = [along, across, angle].map((input) => input.valueAsNumber);
  byId("along-value").textContent = `${wide.toFixed(2)} px`;
  byId("across-value").textContent = `${tall.toFixed(2)} px`;
  byId("angle-value").textContent = `${turned}°`;
  canvas.setAttribute("aria-label",
    `A spot of light, ${wide.toFixed(1)} by ${tall.toFixed(1)} pixels (standard deviations), turned ${turned} degrees`);
  const context = canvas.getContext("2d");
  const cell = canvas.width / TAPS;
  const [cos, sin] = [Math.cos(turned * Math.PI / 180), Math.sin(turned * Math.PI / 180)];
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  for (let row = -REACH; row <= REACH; row += 1) {
    for (let column = -REACH; column <= REACH; column += 1) {
      const [u, v] = [column * cos - row * sin, column * sin + row * cos]; // rows count downwards
      context.fillStyle = `rgb(255 255 255 / ${Math.exp(-0.5 * ((u / wide) ** 2 + (v / tall) ** 2))})`;
      context.fillRect((column + REACH) * cell, (row + REACH) * cell, cell, cell);
    }
  }
}

for (const input of [along, across, angle]) input.addEventListener("input", draw);
draw();
