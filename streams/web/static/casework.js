// An account's cases with their clocks, and its alerts.

import { h, mark, row, table } from "./build.js";
import { dayOf, instant, metricOf, span, threshold, valueOf } from "./figures.js";
import { named, t } from "./words.js";

const OPEN = ["open", "acted", "removal_requested", "removal_denied"];

// --- cases -----------------------------------------------------------------------------------------------------

export function cases(told, clock) {
  const open = told.cases.filter((each) => OPEN.includes(each.status)), closed = told.cases.filter((each) => !OPEN.includes(each.status));
  return [
    open.length ? listed(t("cases"), open, clock) : h("p.small", {}, t("cases.none")),
    closed.length > 0 && h("details.group", { id: "cases-closed" }, h("summary", {}, t("cases.closed", { n: closed.length })), listed(t("cases.closed", { n: closed.length }), closed, clock)),
  ];
}

function listed(caption, cases, clock) {
  const headings = ["order", "stars", "comment", "status", "respond.by", "remove.by", "grounds", "causes", "next"].map((key) => t(key));
  return table(caption, headings, cases.map((each) => line(each, clock)), ".list.cases");
}

function line(each, clock) {
  const open = OPEN.includes(each.status);
  const words = (kind, names) => (names.length ? names.map((name) => named(kind, name)).join(", ") : h("span.nil", {}, t("none")));
  return row({},
    h("th.id.day", { scope: "row" }, each.order_id, h("span.window", { title: instant(each.opened_at) }, dayOf(each.opened_at))),
    h("td.stars", {}, h("span", { "aria-hidden": "true" }, "★".repeat(each.rating) + "☆".repeat(5 - each.rating)),
      h("span.said", {}, t("stars.n", { n: each.rating }))),
    h("td.comment", {}, each.comment ? h("q", { dir: "auto" }, each.comment) : h("span.nil", {}, t("comment.none"))),
    h("td", {}, named("status", each.status)),
    h("td", {}, open ? (each.first_action_at || !each.respond_by ? h("span.nil", { title: instant(each.first_action_at) }, each.first_action_at ? t("responded") : "–") : until(each.respond_by, clock)) : h("span.nil", {}, "–")),
    h("td", {}, open && each.remove_by ? until(each.remove_by, clock) : h("span.nil", {}, "–")),
    h("td", {}, words("ground", each.removal_grounds)),
    h("td", {}, words("cause", each.root_causes)),
    h("td.next", {}, each.next_step ? named("step", each.next_step) : ""));
}

// A clock that counts down; `tick` moves it on.
function until(iso, clock) {
  const place = h("time.clock", { datetime: iso, title: instant(iso) });
  count(place, clock());
  return place;
}

function count(place, now) {
  const left = Date.parse(place.dateTime) - now, late = left < 0;
  const level = late ? "late" : left < 24 * 3_600_000 ? "soon" : "";
  place.classList.toggle("late", level === "late");
  place.classList.toggle("soon", level === "soon");
  const words = t(late ? "overdue" : "left", { t: span(left, true) });
  if (place.textContent !== words) place.textContent = words;
}

export function tick(place, clock) {
  const now = clock();
  for (const each of place.querySelectorAll("time.clock")) count(each, now);
}

// --- alerts ----------------------------------------------------------------------------------------------------

export function alerts(told) {
  const open = told.alerts.filter((alert) => alert.state !== "resolved"), past = told.alerts.filter((alert) => alert.state === "resolved");
  if (!told.alerts.length) return [h("p.small", {}, t("alerts.none"))];
  return [
    open.length > 0 && noted(t("alerts"), open),
    past.length > 0 && h("details.group", { id: "alerts-past" }, h("summary", {}, t("alerts.past", { n: past.length })), noted(t("alerts.past", { n: past.length }), past)),
  ];
}

function noted(caption, alerts) {
  const headings = ["rule", "severity", "state", "value", "threshold", "since.column", "resolved", "orders", "acked"].map((key) =>
    (["value", "threshold"].includes(key) ? h("th.num", { scope: "col", role: "columnheader" }, t(key)) : t(key)));
  return table(caption, headings, alerts.map(alert), ".list.noted");
}

function alert(each) {
  const metric = metricOf(each.subject) ? each.subject : null;
  return row({},
    h("th", { scope: "row" }, named("rule", each.rule)),
    h(`td.${each.severity}`, {}, mark(each.severity, ""), " ", t(`severity.${each.severity}`)),
    h("td", {}, t(`state.${each.state}`)),
    h("td.num", {}, metric ? valueOf(metric, each.value) : ""),
    h("td.num", {}, metric ? threshold(metric, each.threshold) : ""),
    h("td.day", { title: instant(each.since) }, dayOf(each.since)),
    h("td.day", { title: instant(each.resolved_at) }, dayOf(each.resolved_at)),
    h("td", {}, orders(each)),
    h("td", {}, each.acked_by ?? h("span.nil", {}, "–")));
}

function orders({ alert_id: id, order_ids: ids, order_count: count }) {
  if (!ids.length) return h("span.nil", {}, "–");
  if (ids.length === 1) return h("span.id", {}, ids[0]);
  return h("details", { id: `orders-${id}` }, h("summary", {}, count), h("ul.ids", {}, ids.map((each) => h("li.id", {}, each))));
}
