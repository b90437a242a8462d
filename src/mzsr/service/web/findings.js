// What became of a picture, in plain words: what it went through, how sure the result is, what the practice brought.

import { curve } from "./chart.js";
import { byId, element } from "./dom.js";

const target = byId("findings");

const paragraph = (words, className = "") => element("p", { textContent: words, className });

/** Fill the page with what a finished job tells. */
export function show(job) {
  target.replaceChildren(past(job), ...[sureness(job.record), practice(job.record), times(job.record)].filter(Boolean));
}

function past(job) {
  const { degradation } = job.record;
  const list = element("ul", { className: "plainly" },
    element("li", {}, ...titled(degradation.kernel === "given" ? "Blur, as you gave it" : "Blur", blur(job.record))),
    element("li", {}, ...titled("Grain", grain(255 * degradation.noise))),
    element("li", {}, ...titled("JPEG", job.options.jpeg === "off" ? "Not looked for, as you wished." : compression(degradation.jpeg))));
  const drawing = element("figure", {},
    element("img", { src: job.links.kernel, width: 168, height: 168, alt: "The blur: what became of a single point of light" }),
    element("figcaption", { textContent: "What became of a point of light" }));
  const numbers = element("details", {},
    element("summary", { textContent: "In numbers" }),
    element("ul", {}, ...job.words.map((words) => element("li", { textContent: words }))));
  return element("section", { className: "past" },
    element("h2", { textContent: "What your picture went through" }),
    element("div", { className: "beside" }, drawing, element("div", {}, list, numbers)));
}

const titled = (title, words) => [element("strong", { textContent: title }), " ", words];

// Half the light of a Gaussian lies within 1.18 standard deviations; contrast of a wave falls to a tenth at 0.34 / σ.
// The covariance is that of the next whole scale, of which results between two are made.
function blur({ degradation, scale, input_size: [height, width] }) {
  const [[a, b], [, d]] = degradation.covariance_px2;
  const spread = Math.hypot((a - d) / 2, b);
  const [long, short] = [(a + d) / 2 + spread, (a + d) / 2 - spread].map((variance) => Math.sqrt(Math.max(variance, 0)));
  if (long < 0.3) return "Hardly any, beyond being made smaller.";
  const shape = long < 1.25 * short ? "the same in all directions" : "more in one direction than across it";
  const share = Math.min(1, (0.683 * degradation.scale) / Math.sqrt(long * Math.max(short, 0.01)));
  const worth = share > 0.9 ? "" : ` In detail it is worth about ${Math.round(width * share)} × ${Math.round(height * share)} of its ${width} × ${height} pixels.`;
  return `A point of light was spread over about ${(2.36 * long * scale / degradation.scale).toFixed(1)} pixels of the enlarged picture, ${shape}.${worth}`;
}

function grain(levels) {
  if (levels < 0.5) return "None that matters.";
  const much = levels < 3 ? "A little" : levels < 10 ? "Plainly seen" : "Strong";
  return `${much}: about ${levels.toFixed(1)} of 255 grey levels. It was taken away.`;
}

function compression(jpeg) {
  if (!jpeg) return "No trace of it.";
  const harm = jpeg.quality >= 90 ? "hardly any harm" : jpeg.quality >= 70 ? "fine detail was lost" : "much detail was lost, and blocks were left";
  return `Saved with quality ${jpeg.quality}: ${harm}.`;
}

function sureness(record) {
  const agreement = record.reprojection_psnr_db;
  const words = [];
  if (record.expected_psnr_db) {
    const near = [[38, "very near to"], [32, "near to"], [27, "fairly near to"], [-Infinity, "a rough guess at"]].find(([least]) => record.expected_psnr_db >= least)[1];
    words.push(`mzsr expects its result to be ${near} the truth: a pixel is off by ${record.expected_error.toFixed(1)} of 255 grey levels on average (expected PSNR about ${record.expected_psnr_db.toFixed(0)} dB, give or take 3). Switch on “Where it is unsure” to see where.`);
  }
  if (agreement) {
    words.push(`Made small again in the same way, the result agrees with your picture to ${agreement.toFixed(1)} dB. ${fits(agreement, record.degradation)}`);
  }
  words.push(...record.warnings.map((warning) => `Mind: ${warning}.`));
  return words.length ? element("section", {}, element("h2", { textContent: "How sure it is" }), ...words.map((sentence) => paragraph(sentence))) : null;
}

// In the words of `agreement_words` in present.py, but for the settings, which are those of the page.
function fits(agreement, { noise, jpeg, kernel }) {
  if (agreement >= 40) return "Nobody could tell them apart.";
  const removed = [255 * noise >= 1 && "the grain that was taken away", jpeg && "what JPEG had left"].filter(Boolean);
  const explained = -20 * Math.log10(Math.hypot(noise, jpeg ? jpeg.error : 0)) - 4; // dB; see `explained` in estimate.py
  if (removed.length && agreement >= explained) return `What differs is mostly ${removed.join(" and ")}.`;
  if (agreement >= 25) return "They differ a little: not all of it could be explained.";
  const [origin, other] = kernel === "given" ? ["that you gave", "Find out"] : ["that was found", "Nothing: it was only made smaller"];
  return `They do not agree: the blur ${origin} is probably wrong. Under “What happened to it”, try “${other}” or “A blur that I draw”.`;
}

function practice({ losses, steps_kept: kept }) {
  const section = element("section", {}, element("h2", { textContent: "Practice on your picture" }));
  const known = losses.filter((loss) => loss !== null);
  if (known.length < 2) {
    section.append(paragraph("None: the network was used as it had been trained."));
    return section;
  }
  const rounds = kept === 1 ? "One round" : `${kept} rounds`;
  const gain = Math.round(100 * (1 - known[kept] / known[0]));
  const brought = kept === 0
    ? "Practice did not help this time, so nothing of it was kept."
    : `${rounds} of practice lowered the error by ${gain < 1 ? "less than 1 %: the network knew pictures like yours already" : `${gain} %`}.`;
  section.append(
    paragraph(brought),
    curve(known, `Error after each round: from ${known[0].toPrecision(3)} to ${known.at(-1).toPrecision(3)}`),
    paragraph("mzsr made your picture smaller once more, in the same way, and practised turning that back into the one you gave. Lower is better. It learns from nothing but your picture.", "quiet"));
  return section;
}

function times({ seconds, model }) {
  const all = Object.values(seconds).reduce((sum, value) => sum + value, 0);
  return paragraph(`Made by the model ${model} in ${all.toFixed(1)} seconds.`, "quiet");
}
