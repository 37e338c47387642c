// Draws a metric over the days with uPlot: what was, what comes if nothing else happens (dotted), and the thresholds.
// Keyboard and screen reader have it as a slider over the days; a click or Enter picks one.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { fullName, threshold, valueOf } from "./figures.js";
import { language, t } from "./words.js";

const HEIGHT = 260, MONTH_PX = 52, KEYS = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -30, PageUp: 30 };
const CEILING = { fraction: 1, stars: 5, "0-10": 10, "0/1": 1 };
const stamp = (day) => Date.parse(day) / 1000;

export function draw(place, series, pick) {
  const days = [...series.days, ...series.outlook_days], known = series.days.length, last = known - 1;
  const values = [...series.values, ...series.outlook];
  const was = values.map((value, n) => (n <= last ? value : null));
  const comes = values.map((value, n) => (n >= last ? value : null)); // from today on, so that the lines meet
  const lines = distinct(series.lines);
  const readout = document.createElement("output");
  const slider = document.createElement("div");
  slider.id = "slider";
  slider.className = "canvas";
  slider.tabIndex = 0;
  for (const [name, value] of Object.entries({
    role: "slider", "aria-label": t("curve", { metric: fullName(series.metric) }), "aria-valuemin": 0, "aria-valuemax": days.length - 1,
  })) slider.setAttribute(name, value);
  place.append(readout, slider);

  let at = last, picked = null, plot = null;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const wide = new ResizeObserver(() => plot?.setSize({ width: slider.clientWidth, height: HEIGHT }));

  function build() {
    plot?.destroy();
    const colour = colours(place);
    const axis = { stroke: colour.muted, grid: { stroke: colour.line, width: 1 }, ticks: { show: false }, font: `12px ${colour.font}` };
    const line = (kind) => ({ stroke: colour.accent, width: 1.75, points: { show: false }, spanGaps: false, ...kind });
    plot = new uPlot({
      width: slider.clientWidth || 320, height: HEIGHT, legend: { show: false }, padding: [12, 8, 0, 0],
      scales: { x: { time: true }, y: { range: (_, low, high) => room(low, high, lines, series.unit) } },
      axes: [
        { ...axis, size: 30, splits: months, values: (_, splits) => splits.map(month) },
        { ...axis, size: 60, values: (_, splits) => splits.map((value) => threshold(series.metric, value)) },
      ],
      series: [{}, line({}), line({ dash: [2, 4] })],
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 8, fill: colour.accent, stroke: colour.surface } },
      hooks: {
        drawClear: [(u) => series.bands.forEach((band) => shade(u, band, colour))],
        draw: [(u) => edges(u, lines, series.metric, colour), (u) => upright(u, known, picked, days, colour)],
        setCursor: [(u) => {
          if (u.cursor.idx !== null && u.cursor.idx !== undefined) tell(u.cursor.idx);
          else tell(at);
        }],
      },
    }, [days.map(stamp), was, comes], slider);
    plot.over.addEventListener("click", () => {
      if (plot.cursor.idx === null || plot.cursor.idx === undefined) return;
      at = plot.cursor.idx;
      pick(days[at]);
    });
  }

  function tell(index) {
    const words = `${days[index]}: ${valueOf(series.metric, values[index])}${index > last ? `, ${t("curve.outlook")}` : ""}`;
    if (readout.textContent !== words) readout.textContent = words;
    slider.setAttribute("aria-valuenow", index);
    slider.setAttribute("aria-valuetext", words);
  }

  function move(to) {
    at = Math.max(0, Math.min(days.length - 1, to));
    plot.setCursor({ left: plot.valToPos(stamp(days[at]), "x"), top: plot.over.clientHeight / 2 });
    tell(at);
  }

  slider.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") pick(days[at]);
    else if (event.key === "Home") move(0);
    else if (event.key === "End") move(days.length - 1);
    else if (event.key in KEYS) move(at + KEYS[event.key]);
    else return;
    event.preventDefault();
  });
  slider.addEventListener("focus", () => { if (slider.matches(":focus-visible")) move(at); });
  dark.addEventListener("change", build);
  build();
  tell(at);
  wide.observe(slider);

  return {
    pick(day) {
      picked = day ?? null;
      if (days.includes(day)) tell(at = days.indexOf(day));
      plot.redraw(false);
    },
    focus: () => slider.focus({ preventScroll: true }),
    close() {
      wide.disconnect();
      dark.removeEventListener("change", build);
      plot.destroy();
      place.replaceChildren();
    },
  };
}

// Canvas knows no custom properties: the page's colours of the moment.
function colours(place) {
  const style = getComputedStyle(place);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  const names = ["accent", "muted", "line", "surface", "text", "critical", "warning", "info", "good"];
  return { font: style.fontFamily, ...Object.fromEntries(names.map((name) => [name, of(name)])) };
}

// Two rules may hold a metric against the same value: one line, for the more severe.
function distinct(lines) {
  const rank = ["info", "warning", "critical"];
  const worst = new Map();
  for (const line of lines) {
    const there = worst.get(line.value);
    if (!there || rank.indexOf(line.severity) > rank.indexOf(there.severity)) worst.set(line.value, line);
  }
  return [...worst.values()];
}

// From the lowest to the highest of values and thresholds, and a little more, but nothing that cannot be.
function room(low, high, lines, unit) {
  const all = [low, high, ...lines.map((line) => line.value)].filter((value) => value !== null && Number.isFinite(value));
  if (!all.length) return [0, 1];
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const more = (most - least || Math.abs(most) || 1) * 0.08, ceiling = CEILING[unit] ?? Infinity;
  return [least >= 0 ? Math.max(0, least - more) : least - more, most <= ceiling ? Math.min(ceiling, most + more) : most + more];
}

// The first of each month, or of every second, as many as there is room for.
function months(u, _axis, low, high) {
  const found = [];
  const first = new Date(low * 1000);
  for (let n = first.getUTCMonth() + 1; ; n += 1) {
    const at = Date.UTC(first.getUTCFullYear(), n) / 1000;
    if (at > high) break;
    found.push(at);
  }
  const every = Math.max(1, Math.ceil((found.length * MONTH_PX) / u.bbox.width * devicePixelRatio));
  return found.filter((_month, n) => n % every === 0);
}

function month(at) {
  const date = new Date(at * 1000), january = date.getUTCMonth() === 0;
  return new Intl.DateTimeFormat(language(), { timeZone: "UTC", ...(january ? { year: "numeric" } : { month: "short" }) }).format(date);
}

// --- on the canvas ---------------------------------------------------------------------------------------------

function shade(u, band, colour) {
  const { left, width, top, height } = u.bbox;
  const clamp = (y) => Math.max(top, Math.min(top + height, y));
  const from = clamp(u.valToPos(band.from, "y", true)), to = clamp(u.valToPos(band.to, "y", true));
  u.ctx.save();
  u.ctx.globalAlpha = 0.09;
  u.ctx.fillStyle = { red: colour.critical, yellow: colour.warning, green: colour.good }[band.colour];
  u.ctx.fillRect(left, to, width, from - to);
  u.ctx.restore();
}

function edges(u, lines, metric, colour) {
  const { ctx, bbox } = u, px = devicePixelRatio;
  ctx.save();
  ctx.font = `${11 * px}px ${colour.font}`;
  ctx.textAlign = "left";
  ctx.textBaseline = "bottom";
  ctx.lineWidth = px;
  for (const { value, severity } of lines) {
    const y = Math.round(u.valToPos(value, "y", true));
    ctx.strokeStyle = ctx.fillStyle = colour[severity];
    ctx.setLineDash([6 * px, 4 * px]);
    stroke(ctx, bbox.left, y, bbox.left + bbox.width, y);
    ctx.fillText(`${threshold(metric, value)} ${t(`severity.${severity}`)}`, bbox.left + 4 * px, y - 2 * px);
  }
  ctx.restore();
}

// Today, after which all is outlook, and the picked day.
function upright(u, known, picked, days, colour) {
  const { ctx, bbox } = u, px = devicePixelRatio;
  const at = (day) => Math.round(u.valToPos(stamp(day), "x", true));
  ctx.save();
  ctx.lineWidth = px;
  ctx.strokeStyle = colour.muted;
  ctx.setLineDash([px, 3 * px]);
  if (known && known < days.length) stroke(ctx, at(days[known - 1]), bbox.top, at(days[known - 1]), bbox.top + bbox.height);
  if (picked && days.includes(picked)) {
    ctx.setLineDash([]);
    ctx.strokeStyle = colour.text;
    stroke(ctx, at(picked), bbox.top, at(picked), bbox.top + bbox.height);
  }
  ctx.restore();
}

function stroke(ctx, x0, y0, x1, y1) {
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
}
