// A curve over steps as SVG, drawn with the page's own colours; its words stand beside it for those who cannot see it.

const SVG = "http://www.w3.org/2000/svg";
const [WIDE, TALL] = [320, 120];

function mark(kind, attributes, text = "") {
  const element = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

/** Draw values after 0, 1, … steps; `name` is what it shows, in one sentence. */
export function curve(values, name) {
  const high = Math.max(...values) || 1;
  const across = (step) => (WIDE * step) / (values.length - 1);
  const down = (value) => TALL * (1 - value / high); // from zero, so that little looks like little
  const svg = mark("svg", { viewBox: `-56 -8 ${WIDE + 72} ${TALL + 48}`, role: "img", "aria-label": name, class: "curve" });
  for (const value of [high, 0]) {
    svg.append(mark("line", { x1: 0, x2: WIDE, y1: down(value), y2: down(value) }));
    svg.append(mark("text", { x: -8, y: down(value) + 4, "text-anchor": "end" }, value ? value.toPrecision(2) : "0"));
  }
  svg.append(mark("polyline", { points: values.map((value, step) => `${across(step)},${down(value)}`).join(" ") }));
  values.forEach((value, step) => {
    svg.append(mark("circle", { cx: across(step), cy: down(value), r: 3.5 }));
    svg.append(mark("text", { x: across(step), y: TALL + 18, "text-anchor": "middle" }, step));
  });
  svg.append(mark("text", { x: WIDE / 2, y: TALL + 36, "text-anchor": "middle" }, "rounds of practice"));
  return svg;
}
