"""The script of charts; it reads attributes of elements and writes text only.

Charts are drawn to the width of the screen and show the values where one points or steps to; they
can be smoothed, have a logarithmic axis, and hide runs.
"""

from __future__ import annotations

CHART_SCRIPT = r"""
"use strict";
(() => {
const NS = "http://www.w3.org/2000/svg", TOP = 10, RIGHT = 12, BOTTOM = 34, LEFT = 60;
const weights = {none: 0, light: 0.8, strong: 0.96};
const hidden = new Set();
let smoothing = "none", isLog = false;

const figures = [...document.querySelectorAll("figure.chart")].map(figure => ({
  svg: figure.querySelector("svg"), plot: figure.querySelector(".plot"),
  tip: figure.querySelector(".tip"), at: null,
  curves: [...figure.querySelectorAll("polyline")].map(line => ({
    run: line.dataset.run, name: line.dataset.name, isMarked: line.classList.contains("marked"),
    isExact: line.classList.contains("exact"),
    colour: [...line.classList].find(name => /^r\d$/.test(name)),
    spots: line.dataset.spots.split(" ").map(text => {
      const [step, mean, least, greatest] = text.split(",").map(Number);
      return {step, mean, least: least ?? mean, greatest: greatest ?? mean};
    }),
  })),
}));

function node(parent, tag, attributes, text) {
  const made = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function shown(value, digits = 4) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 10000) return Math.round(value).toLocaleString("en-US");
  return size >= 0.001 ? String(Number(value.toPrecision(digits))) : value.toExponential(2);
}

function ticks(low, high, most) {
  if (!(high > low)) return [low];
  const rough = (high - low) / Math.max(most - 1, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const width = [1, 2, 5, 10].map(each => each * power).find(each => each >= rough);
  const found = [];
  for (let i = Math.ceil(low / width - 1e-9); i <= Math.floor(high / width + 1e-9); i++)
    found.push(Number((i * width).toPrecision(12)));
  return found;
}

function logTicks(low, high) {
  const found = [];
  for (let e = Math.floor(low); e <= Math.ceil(high); e++)
    for (const digit of high - low > 3 ? [1] : [1, 2, 5]) {
      const place = e + Math.log10(digit);
      if (place >= low && place <= high) found.push(place);
    }
  if (found.length > 1) return found;
  return ticks(10 ** low, 10 ** high, 4).filter(value => value > 0).map(Math.log10);
}

function smoothed(spots) {
  const weight = weights[smoothing];
  let sum = 0, share = 0;
  return spots.map(spot => {
    sum = sum * weight + spot.mean * (1 - weight);
    share = share * weight + 1 - weight;
    return {...spot, mean: sum / share};
  });
}

function frameOf(figure, curves) {
  const width = Math.max(figure.plot.clientWidth, 240), height = width < 480 ? 220 : 280;
  const place = value => isLog ? Math.log10(value) : value;
  const usable = value => !isLog || value > 0;
  let low = Infinity, high = -Infinity, first = Infinity, last = -Infinity;
  for (const curve of curves) for (const spot of curve.spots) {
    first = Math.min(first, spot.step); last = Math.max(last, spot.step);
    for (const value of [spot.least, spot.greatest]) if (usable(value)) {
      low = Math.min(low, place(value)); high = Math.max(high, place(value));
    }
  }
  if (!(high >= low)) return null;
  const margin = (high - low) * 0.04 || Math.abs(low) * 0.1 || 1;
  low -= margin; high += margin;
  return {
    width, height, low, high, first, last, usable,
    x: step => LEFT + (step - first) / Math.max(last - first, 1) * (width - LEFT - RIGHT),
    y: value => height - BOTTOM - (place(value) - low) / (high - low) * (height - BOTTOM - TOP),
  };
}

function drawAxes(group, f) {
  const marks = isLog ? logTicks(f.low, f.high).map(each => 10 ** each) : ticks(f.low, f.high, 6);
  for (const value of marks) {
    const y = f.y(value).toFixed(1);
    node(group, "line", {x1: LEFT, x2: f.width - RIGHT, y1: y, y2: y, class: "axis"});
    node(group, "text", {x: LEFT - 6, y, class: "of-y"}, shown(value, 6));
  }
  for (const step of ticks(f.first, f.last, f.width < 480 ? 4 : 7)) {
    const x = f.x(step).toFixed(1), y = f.height - BOTTOM;
    node(group, "line", {x1: x, x2: x, y1: y, y2: y + 4, class: "axis"});
    node(group, "text", {x, y: y + 17, class: "of-x"}, step.toLocaleString("en-US"));
  }
  node(group, "text", {x: f.width - RIGHT, y: f.height - 3, class: "of-end"},
    isLog ? "step (log axis)" : "step");
}

function points(spots, key, f) {
  return spots.filter(spot => f.usable(spot[key]))
    .map(spot => f.x(spot.step).toFixed(1) + "," + f.y(spot[key]).toFixed(1));
}

function drawCurve(group, curve, f) {
  const line = (spots, more) => node(group, "polyline",
    {points: points(spots, "mean", f).join(" "), class: "run " + curve.colour + more});
  if (curve.spots.some(spot => spot.greatest > spot.least)) {
    const edge = [...points(curve.spots, "greatest", f),
      ...points(curve.spots, "least", f).reverse()];
    node(group, "polygon", {points: edge.join(" "), class: "band " + curve.colour});
  }
  const isSmooth = smoothing !== "none" && !curve.isExact && curve.spots.length > 2;
  line(curve.spots, isSmooth ? " behind" : "");
  if (isSmooth) line(smoothed(curve.spots), "");
  if (curve.isMarked || curve.spots.length === 1)
    for (const spot of curve.spots) if (f.usable(spot.mean))
      node(group, "circle", {cx: f.x(spot.step).toFixed(1), cy: f.y(spot.mean).toFixed(1), r: 3.5,
        class: "run dots " + curve.colour});
}

function draw(figure) {
  const curves = figure.curves.filter(curve => !hidden.has(curve.run));
  const f = figure.frame = curves.length ? frameOf(figure, curves) : null;
  for (const old of [...figure.svg.querySelectorAll("g")]) old.remove();
  if (!f) { figure.tip.textContent = isLog ? "nothing above 0" : ""; return; }
  figure.svg.setAttribute("viewBox", "0 0 " + f.width + " " + f.height);
  drawAxes(node(figure.svg, "g", {class: "axes"}), f);
  const group = node(figure.svg, "g", {class: "lines"});
  for (const curve of curves) drawCurve(group, curve, f);
  figure.steps = [...new Set(curves.flatMap(curve => curve.spots.map(spot => spot.step)))]
    .sort((a, b) => a - b);
  figure.visible = curves;
  point(figure, null);
}

function nearest(spots, step) {
  let low = 0, high = spots.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (spots[middle].step < step) low = middle + 1; else high = middle;
  }
  const before = spots[Math.max(low - 1, 0)];
  return step - before.step < spots[low].step - step ? before : spots[low];
}

function point(figure, index) {
  for (const old of [...figure.svg.querySelectorAll(".cursor")]) old.remove();
  figure.at = index;
  if (index === null || !figure.frame) { figure.tip.textContent = ""; return; }
  const f = figure.frame, step = figure.steps[index], x = f.x(step).toFixed(1);
  node(figure.svg.querySelector("g.lines"), "line",
    {x1: x, x2: x, y1: TOP, y2: f.height - BOTTOM, class: "cursor"});
  const words = figure.visible.map(curve => {
    const spot = nearest(curve.spots, step);
    const span = spot.greatest > spot.least
      ? " (" + shown(spot.least) + " to " + shown(spot.greatest) + ")" : "";
    const at = spot.step === step ? "" : " at " + spot.step.toLocaleString("en-US");
    return curve.name + " " + shown(spot.mean) + span + at;
  });
  figure.tip.textContent = "step " + step.toLocaleString("en-US") + ": " + words.join("; ");
}

for (const figure of figures) {
  figure.plot.addEventListener("pointermove", event => {
    if (!figure.frame) return;
    const f = figure.frame, box = figure.svg.getBoundingClientRect();
    const x = (event.clientX - box.left) * f.width / box.width;
    const step = f.first + (x - LEFT) / (f.width - LEFT - RIGHT) * (f.last - f.first);
    const found = nearest(figure.steps.map(each => ({step: each})), step);
    point(figure, figure.steps.indexOf(found.step));
  });
  figure.plot.addEventListener("pointerleave", () => point(figure, null));
  figure.plot.addEventListener("keydown", event => {
    if (!figure.frame) return;
    const most = figure.steps.length - 1, leap = event.shiftKey ? 10 : 1;
    const from = figure.at ?? (event.key === "ArrowLeft" ? most + leap : -leap);
    const to = {ArrowRight: Math.min(from + leap, most), ArrowLeft: Math.max(from - leap, 0),
      Home: 0, End: most}[event.key];
    if (event.key === "Escape") point(figure, null);
    if (to === undefined) return;
    event.preventDefault();
    point(figure, to);
  });
}

const all = () => figures.forEach(draw);
document.body.classList.add("scripted");
document.querySelector("#smoothing")?.addEventListener("change", event => {
  smoothing = event.target.value; all();
});
document.querySelector("#log")?.addEventListener("change", event => {
  isLog = event.target.checked; all();
});
for (const box of document.querySelectorAll(".legend input"))
  box.addEventListener("change", () => {
    if (box.checked) hidden.delete(box.value); else hidden.add(box.value);
    all();
  });
addEventListener("resize", all);
all();
})();
"""
