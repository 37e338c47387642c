// The curve of one metric, its values as a table, and the orders behind the day that is picked.

import { h, row, swap, table } from "./build.js";
import { dayOf, fixed, fullName, instant, labelOf, metricOf, valueOf } from "./figures.js";
import { named, t } from "./words.js";

const AT_FIRST = 20; // orders that are listed unasked
const DRAWABLE = ["count", "fraction", "stars", "points", "points/order", "ratings/100 orders", "0-10", "0/1"];

export function curve(page, at, pick) {
  const plot = h("div.plot"), figures = h("div"), behind = h("section.behind"), heading = h("h2", { id: "curve" });
  const formula = h("p.small.formula"), hint = h("p.small", {}, t("curve.hint"));
  const place = h("section.curve", { "aria-labelledby": "curve" }, heading, formula, plot, hint, behind, figures);
  const subject = { seller: at.seller, marketplace: at.marketplace };
  let chart = null, metric = null, day, asOf = "", held, asked = 0, explained = 0;

  async function show(name, chosen, told, { anew = false, look = false } = {}) {
    asOf = told.as_of;
    held = told.held;
    const turned = name !== metric || anew;
    metric = name;
    if (turned) await draw();
    if (name !== metric) return; // another was chosen meanwhile
    chart?.pick(chosen);
    if (turned || chosen !== day) explain(chosen);
    day = chosen;
    if (look && turned) look_at(place);
  }

  async function draw() {
    const mine = ++asked, name = metric;
    heading.textContent = t("curve", { metric: fullName(name) });
    formula.textContent = metricOf(name, held).formula;
    if (!DRAWABLE.includes(metricOf(name).unit)) {
      chart?.close();
      chart = null;
      swap(figures);
      swap(plot, h("p.notice", {}, t("curve.none")));
      return;
    }
    try {
      const [{ draw: drawn }, series] = await Promise.all([import("./chart.js"), page.ask("series", { ...subject, metric: name })]);
      if (mine !== asked) return;
      const focused = plot.contains(document.activeElement);
      chart?.close();
      plot.replaceChildren();
      chart = drawn(plot, series, pick);
      if (focused) chart.focus();
      swap(figures, values(series));
    } catch (error) {
      if (mine === asked) swap(plot, page.failure(error, draw));
    }
  }

  async function explain(chosen) {
    const mine = ++explained, name = metric;
    if (!chosen) {
      swap(behind);
      return;
    }
    if (chosen > asOf) {
      swap(behind, h("p.notice", {}, t("behind.future", { day: chosen })));
      return;
    }
    behind.setAttribute("aria-busy", "true");
    try {
      const told = await page.ask("explain", { ...subject, metric: name, day: chosen });
      if (mine !== explained) return;
      swap(behind, orders(told));
      page.say(`${t("behind", { metric: fullName(name), day: chosen })}: ${valueOf(name, told.value)}`);
    } catch (error) {
      if (mine === explained) swap(behind, page.failure(error, () => explain(chosen)));
    }
    behind.removeAttribute("aria-busy");
  }

  return { place, show, close: () => chart?.close() };
}

function look_at(place) {
  const { top } = place.getBoundingClientRect();
  if (top < 0 || top > innerHeight - 200) place.scrollIntoView({ block: "start" });
}

// All values, made when somebody asks for them.
function values(series) {
  const fold = h("details.group", { id: "values", toggle: () => {
    if (!fold.open || fold.querySelector("table")) return;
    const line = (day, value, kind) => row({}, h("th", { scope: "row" }, day), h("td.num", {}, valueOf(series.metric, value)), h("td", {}, t(kind)));
    const known = series.days.map((day, n) => line(day, series.values[n], "curve.actual"));
    const coming = series.outlook_days.map((day, n) => line(day, series.outlook[n], "curve.outlook"));
    fold.append(h("div.long", { tabindex: 0, role: "region", "aria-label": t("curve.table") },
      table(fullName(series.metric), [t("day"), h("th.num", { scope: "col", role: "columnheader" }, t("value")), t("state")], [...known.reverse(), ...coming])));
  } }, h("summary", {}, t("curve.table")));
  return fold;
}

// What counts, the rare first: five defects are not to be lost among a thousand orders.
function orders(told) {
  const kind = (each) => JSON.stringify([each.counters, each.brings]);
  const kinds = Map.groupBy(told.contributions, kind);
  const sorted = told.contributions.toSorted((a, b) => kinds.get(kind(a)).length - kinds.get(kind(b)).length);
  const total = told.contributions_total ?? sorted.length, place = h("div");
  const list = (count) => swap(place, sorted.length ? table(t("orders"), ["order", "counts", "dated", "leaves", "events"].map((key) => t(key)), sorted.slice(0, count).map(line), ".list.behind") : h("p.small", {}, t("behind.none")),
    total > count && h("p.small", {}, t("behind.cut", { n: Math.min(count, sorted.length), total }), " ",
      count < sorted.length && h("button", { type: "button", id: "all-orders", click: () => list(sorted.length) }, t("behind.all", { n: sorted.length }))));
  list(AT_FIRST);
  return [
    h("h3", {}, t("behind", { metric: fullName(told.metric), day: told.day })),
    h("p", {}, h("strong", {}, valueOf(told.metric, told.value)), told.working && h("span.window", {}, ` = ${told.working}`)),
    told.note && h("p.small", {}, told.note),
    told.is_late && h("p.notice", {}, t("behind.late", { stored: valueOf(told.metric, told.stored) })),
    place,
  ];
}

function line(each) {
  const worth = Math.abs(each.brings.value ?? 1) > 1 ? ` (${each.brings.value > 0 ? "+" : ""}${fixed(each.brings.value, 0)})` : "";
  return row({},
    h("th.id.day", { scope: "row" }, each.order_id ?? each.conversation_id),
    h("td", {}, each.counters.map((name) => labelOf(name).label).join(", ") + worth),
    h("td.day", {}, each.dated),
    h("td", {}, each.leaves ? [h("span.day", {}, each.leaves), h("span.window", {}, ` ${t(`leaves.${each.leaves_by}`)}`)] : t("leaves.never")),
    h("td", {}, h("ul.events", {}, each.events.map((event) =>
      h("li", {}, h("time", { datetime: event.time, title: instant(event.time) }, dayOf(event.time)), " ", inWords(event.what))))));
}

// "SUBMITTED, 2 stars" and the like: codes, and a few words of English.
function inWords(what) {
  return what.split(", ").map((part) => {
    const [, number] = /^(\d) stars?$/.exec(part) ?? [], [, day] = /^promised by (.*)$/.exec(part) ?? [];
    return number ? `${number}★` : day ? t("event.promised", { day }) : named("event", part);
  }).join(", ");
}
