// Numbers, days and spans of time as people read them; what a metric is called and what its value is held against.

import { language, named, t } from "./words.js";

const LEVELS = ["info", "warning", "critical"];
const SUFFIX = { "30d": "short_days", "90d": "medium_days", "365d": "long_days", "60d": "odr_days" };
const MINUTE = 60_000, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const NONE = "–";

let metrics = new Map();
let windows = {};
let judging = new Set(); // rules that hold a metric against a threshold

export function learn(catalogue) {
  metrics = new Map(catalogue.metrics.map((metric) => [metric.name, metric]));
  windows = catalogue.windows;
  judging = new Set(catalogue.metrics.flatMap((metric) => metric.thresholds.map((edge) => edge.rule)));
}

// As the catalogue has it, and what is otherwise for an account that `held` tells of.
export function metricOf(name, held) {
  const metric = metrics.get(name);
  return held?.[name] ? { ...metric, ...held[name] } : metric;
}

// The worst first, and of the same severity what is about a metric before what is about a case.
export function worstFirst(a, b) {
  return LEVELS.indexOf(b.severity) - LEVELS.indexOf(a.severity) || judging.has(b.rule) - judging.has(a.rule);
}

export function allMetrics() {
  return [...metrics.values()];
}

// --- names ---------------------------------------------------------------------------------------------------

// What a metric, or a counter behind it, is called, and over which window: its days are as the settings have them.
export function labelOf(name) {
  const [, stem, suffix] = /^(.*?)(?:_(30d|60d|90d|365d|lifetime))?$/.exec(name);
  const window = !suffix ? "" : suffix === "lifetime" ? t("window.lifetime") : t("window.days", { n: windows[SUFFIX[suffix]] });
  return { label: named("metric", stem), window, suffix };
}

export function fullName(name) {
  const { label, window } = labelOf(name);
  return window ? `${label}, ${window}` : label;
}

// --- values --------------------------------------------------------------------------------------------------

// A value with its unit, always with the same decimals, so that a column of them is aligned.
export function valueOf(name, value) {
  if (value === null || value === undefined) return NONE;
  const metric = metrics.get(name);
  switch (metric.unit) {
    case "fraction": return fixed(100 * value, metric.better === "down" ? 2 : 1) + "%";
    case "stars": return fixed(value, 2);
    case "points/order": case "ratings/100 orders": case "0-10": return fixed(value, 1);
    case "0/1": return t(value ? "yes" : "no");
    case "day": return value;
    case "time": return instant(value);
    case "colour": return t(`band.${value}`);
    default: return fixed(value, 0);
  }
}

// How a value differs from an earlier one; null if it cannot. `way` is 1 for better, -1 for worse, 0 for neither.
export function changeOf(name, now, before) {
  if (typeof now !== "number" || typeof before !== "number") return null;
  const metric = metrics.get(name), change = now - before;
  if (metric.unit === "0/1") return null;
  const shown = metric.unit === "fraction" ? t("points", { n: signed(100 * change, 2) }) : signed(change, decimals(metric));
  const way = change === 0 || !metric.better ? 0 : (change > 0) === (metric.better === "up") ? 1 : -1;
  return { shown: change === 0 ? "0" : shown, way, up: Math.sign(change) };
}

function decimals(metric) {
  return { stars: 2, "points/order": 1, "ratings/100 orders": 1, "0-10": 1 }[metric.unit] ?? 0;
}

export function fixed(number, digits) {
  return new Intl.NumberFormat(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(number)
    .replace("-", "−");
}

function signed(number, digits) {
  return (number > 0 ? "+" : "") + fixed(number, digits);
}

// The worst threshold that a value is beyond; null if there is none. `fires`: one of the rules that fire is about it.
export function judge(name, value, firing, held) {
  if (typeof value !== "number") return null;
  const beyond = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b };
  const crossed = metricOf(name, held).thresholds.filter((edge) => beyond[edge.op](value, edge.value))
    .map((edge) => ({ ...edge, fires: firing.has(edge.rule), edge: edgeOf(name, edge) }));
  crossed.sort((a, b) => b.fires - a.fires || LEVELS.indexOf(b.severity) - LEVELS.indexOf(a.severity));
  return crossed[0] ?? null;
}

export function edgeOf(name, { op, value }) {
  return `${sign(op)} ${threshold(name, value)}`;
}

export function sign(op) {
  return { "<=": "≤", ">=": "≥" }[op] ?? op;
}

// A threshold is said as it was set, with no more decimals than it has.
export function threshold(name, value) {
  const fraction = metrics.get(name)?.unit === "fraction";
  const shown = new Intl.NumberFormat(language(), { maximumFractionDigits: 3 }).format(fraction ? 100 * value : value);
  return shown.replace("-", "−") + (fraction ? "%" : "");
}

export function bandOf(name, value, held) {
  if (typeof value !== "number") return null;
  const bands = metricOf(name, held).bands;
  return bands.find((band) => value >= band.from && value < band.to) ?? (bands.length ? bands.at(-1) : null);
}

// --- time ----------------------------------------------------------------------------------------------------

// An instant in UTC, as all days are: "2026-11-22 23:52".
export function instant(iso) {
  return iso ? `${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC` : NONE;
}

export function dayOf(iso) {
  return iso ? iso.slice(0, 10) : NONE;
}

// A span in its greatest unit: "3 d", "5 h"; `exact`: of less than half a day also the minutes.
export function span(ms, exact = false) {
  const minutes = Math.floor(Math.abs(ms) / MINUTE);
  if (minutes >= 2 * 24 * 60) return t("time.days", { n: fixed(Math.floor(minutes / 60 / 24), 0) });
  const hours = Math.floor(minutes / 60), rest = minutes % 60;
  if (hours && (!exact || hours >= 12)) return t("time.hours", { n: hours });
  if (!hours) return t("time.minutes", { n: rest });
  return `${t("time.hours", { n: hours })} ${t("time.minutes", { n: rest })}`;
}

export function ago(iso, now) {
  const ms = now - Date.parse(iso);
  return ms < MINUTE ? t("just.now") : t("ago", { t: span(ms) });
}

export function inDays(day, from) {
  return t("in.days", { t: t("time.days", { n: Math.round((Date.parse(day) - Date.parse(from)) / DAY) }) });
}

// The answer's clock. A day that is over stands still: cases know of nothing after its end.
export function clockOf(told) {
  const now = Date.parse(told.now), end = Date.parse(told.as_of) + DAY, heard = performance.now();
  return () => (now >= end ? now : now + performance.now() - heard);
}
