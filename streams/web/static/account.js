// One account: why it is in trouble and until when, its metrics, and beside them the curve of one.

import { h, mark, row, swap, table } from "./build.js";
import { allMetrics, bandOf, changeOf, clockOf, dayOf, edgeOf, fixed, fullName, inDays, instant, judge, labelOf, metricOf, sign, threshold, valueOf, worstFirst } from "./figures.js";
import { alerts, cases, tick } from "./casework.js";
import { curve } from "./curve.js";
import { freshness } from "./overview.js";
import { named, t } from "./words.js";

const SEVERITIES = ["critical", "warning", "info"];
const GROUPS = ["order_defects", "feedback", "buy_box", "customer_service", "questions"];
const WINDOWS = ["90d", "30d", "365d", "lifetime"];
const USUAL = "negative_rate_90d", TICK_MS = 15_000;

export function account(main, page, at) {
  let told = null, values = at.values, asked = 0, before = new Map(), ticking = 0;
  const place = Object.fromEntries(["head", "why", "metrics", "cases", "alerts"].map((name) =>
    [name, h(`section.${name}`, { "aria-busy": "true" })]));
  const drawn = curve(page, at, (day) => page.go(link({ metric: shown(), day })));
  main.append(place.head, place.why, h("div.split", {}, place.metrics, drawn.place), place.cases, place.alerts);
  page.title(at.seller, at.marketplace);
  load();

  function link(change) {
    return page.link(at, change);
  }

  // The metric whose curve is shown: the chosen one, else that of the worst breach.
  function shown() {
    return metricOf(values.metric) ? values.metric : told && breaches(told)[0]?.metric || USUAL;
  }

  async function load({ live = false } = {}) {
    const mine = ++asked;
    try {
      const found = await page.ask("account", { seller: at.seller, marketplace: at.marketplace });
      if (mine !== asked) return;
      told = found;
      render(live);
      drawn.show(shown(), values.day, told, { anew: live });
    } catch (error) {
      if (mine === asked && !(live && told)) swap(place.head, back(), h("h1", {}, at.seller), page.failure(error, () => load()));
    }
  }

  function render(live) {
    const clock = clockOf(told), firing = new Set(open(told).map((alert) => alert.rule));
    swap(place.head, back(),
      h("h1", {}, at.seller, " ", h("span.where", {}, at.marketplace)), freshness(told, told));
    swap(place.why, h("h2", {}, t("why")), why(told, link));
    metrics(firing, live);
    swap(place.cases, h("h2", {}, t("cases")), cases(told, clock));
    swap(place.alerts, h("h2", {}, t("alerts")), alerts(told));
    for (const each of Object.values(place)) each.removeAttribute("aria-busy");
    clearInterval(ticking);
    ticking = setInterval(() => tick(place.cases, clock), TICK_MS);
    if (live) page.say(t("updated.account"));
  }

  function metrics(firing, live = false) {
    const now = new Map(Object.entries(told.metrics).map(([name, { value }]) => [name, value]));
    const changed = new Set(live ? [...now.keys()].filter((name) => before.get(name) !== now.get(name)) : []);
    before = now;
    const fresh = [t("last.event", { ago: instant(told.last_event_time) }), t("computed", { ago: instant(told.computed_at) })].join(", ");
    swap(place.metrics, h("h2", {}, t("metrics")), groups().map(({ id, name, names }) => {
      const beyond = names.map((each) => judge(each, now.get(each), firing)).filter((each) => each?.fires);
      const worst = SEVERITIES.find((severity) => beyond.some((each) => each.severity === severity));
      return h("details.group", { id: `group-${id}`, open: Boolean(worst) || !/30d|365d|lifetime|questions/.test(id) },
        h("summary", {}, name, worst && [" ", mark(worst, t(`severity.${worst}`))]),
        table(name, [t("metric"), number(t("value")), number(t("change.day")), number(t("change.week")), number(t("threshold"))],
          names.map((each) => line(each, told.metrics[each], firing, fresh, changed.has(each))), ".metrics"));
    }));
  }

  function line(name, { value, day_before: day, week_before: week }, firing, fresh, changed) {
    const { label, window } = labelOf(name), metric = metricOf(name);
    const beyond = judge(name, value, firing), band = bandOf(name, value);
    const words = beyond && t(beyond.fires ? "beyond.fires" : "beyond.quiet", { edge: beyond.edge, severity: t(`severity.${beyond.severity}`) });
    const level = beyond ? (beyond.fires ? beyond.severity : "hollow") : "";
    const edges = metric.thresholds.map((edge) => threshold(name, edge.value));
    const partly = metric.needs_all_ratings && told.metrics.partial_ratings.value > 0 && t("partly");
    return row({ class: changed ? "changed" : null, "data-metric": name },
      h("th", { scope: "row" }, h("a", {
        href: link({ metric: name }), id: `metric-${name}`, title: metric.formula, "aria-current": name === shown() ? "true" : null,
      }, label, window && h("span.said", {}, `, ${window}`))),
      h(`td.num.value${level && `.${level}`}`, { title: [words, partly, fresh].filter(Boolean).join("\n") },
        beyond && mark(level, `${words}: `), valueOf(name, value), band && h(`span.band.${band.colour}`, {}, t(`band.${band.colour}`))),
      change(name, value, day), change(name, value, week),
      h("td.num.edges", { title: metric.thresholds.map((edge) => `${named("rule", edge.rule)} ${edgeOf(name, edge)}: ${t(`severity.${edge.severity}`)}`).join("\n") },
        edges.length ? `${sign(metric.thresholds[0].op)} ${edges.join(" / ")}` : ""));
  }

  return {
    update(next) {
      values = next.values;
      if (!told) return;
      for (const each of place.metrics.querySelectorAll("a[id]")) {
        if (each.id === `metric-${shown()}`) each.setAttribute("aria-current", "true");
        else each.removeAttribute("aria-current");
      }
      drawn.show(shown(), values.day, told, { look: true });
    },
    changed({ many, keys }) {
      if (many || keys.has(JSON.stringify([at.seller, at.marketplace]))) load({ live: true });
    },
    close() {
      clearInterval(ticking);
      drawn.close();
    },
  };
}

function back() {
  return h("nav", { "aria-label": t("accounts") }, h("a.back", { href: "#/" }, `‹ ${t("accounts")}`));
}

const number = (heading) => h("th.num", { scope: "col", role: "columnheader" }, heading);

function change(name, value, earlier) {
  const found = changeOf(name, value, earlier);
  if (!found || !found.up) return h("td.num.nil", {}, found ? "0" : "–");
  const { shown, way, up } = found;
  return h(`td.num${way > 0 ? ".better" : way < 0 ? ".worse" : ""}`, {},
    h("span", { "aria-hidden": "true" }, up > 0 ? "↑ " : "↓ "), shown, way !== 0 && h("span.said", {}, ` ${t(way > 0 ? "better" : "worse")}`));
}

// The metrics in groups: feedback by window, what has alerts first.
function groups() {
  const every = allMetrics().filter((metric) => metric.group !== "freshness");
  return GROUPS.flatMap((group) => {
    const mine = every.filter((metric) => metric.group === group);
    if (group !== "feedback") return [{ id: group, name: named("group", group), names: mine.map((metric) => metric.name) }];
    return WINDOWS.map((window) => ({
      id: window,
      name: `${named("group", group)}, ${labelOf(`orders_${window}`).window}`,
      names: mine.filter((metric) => (labelOf(metric.name).suffix ?? "lifetime") === window).map((metric) => metric.name),
    }));
  }).filter(({ names }) => names.length);
}

// --- why, and until when ---------------------------------------------------------------------------------------

const open = (told) => told.alerts.filter((alert) => alert.state !== "resolved");

// Breaches that have begun, the worst first; without an outlook none are known.
function breaches(told) {
  return (told.outlook?.breaches ?? []).filter((breach) => breach.begins <= told.as_of)
    .sort(worstFirst);
}

function why(told, link) {
  const rules = Map.groupBy(open(told).filter((alert) => alert.state === "firing"), (alert) => alert.rule);
  const begun = new Map(breaches(told).map((breach) => [breach.rule, breach]));
  const remedies = new Map((told.outlook?.remedies ?? []).map((remedy) => [remedy.rule, remedy]));
  const lines = [...rules].map(([rule, firing]) => ({ rule, firing, breach: begun.get(rule), remedy: remedies.get(rule) }))
    .sort((a, b) => worstFirst(a.firing[0], b.firing[0]));
  const refused = told.outlook ? null : h("p.notice", {}, t("outlook.refused", { why: told.outlook_refused }));
  if (!lines.length) return [h("p.calm", {}, mark("good", ""), " ", t("why.none")), coming(told), refused];
  return [
    lead(told, lines[0]), refused,
    table(t("why"), [t("rule"), number(t("value")), number(t("threshold")), t("since.column"), t("ends"), t("sooner")],
      lines.map((line) => reason(told, line, link)), ".list.reasons"),
    coming(told),
    told.outlook && h("p.small", {}, t("orders.to.rate", { n: fixed(told.outlook.orders_to_rate, 0) })),
  ];
}

// The worst of it in a sentence.
function lead(told, { rule, firing, breach }) {
  const severity = firing[0].severity, day = dayOf(earliest(firing));
  const metric = breach?.metric ?? (metricOf(firing[0].subject) && firing[0].subject);
  const what = metric
    ? t("lead", { rule: fullName(metric), value: valueOf(metric, breach?.value ?? firing[0].value), edge: threshold(metric, breach?.threshold ?? firing[0].threshold), day })
    : t("lead.event", { rule: named("rule", rule), day });
  const ends = breach && (breach.ends ? t("lead.ends", { day: breach.ends, in: inDays(breach.ends, told.as_of) }) : t("lead.never"));
  return h(`p.lead.${severity}`, {}, mark(severity, t(`severity.${severity}`)), " ", h("strong", {}, what), " ", ends);
}

function reason(told, { rule, firing, breach, remedy }, link) {
  const severity = firing[0].severity;
  const metric = breach?.metric ?? (metricOf(firing[0].subject) && firing[0].subject);
  const value = breach?.value ?? firing[0].value;
  const ruled = named("rule", rule);
  return row({},
    h(`th.${severity}`, { scope: "row" }, mark(severity, t(`severity.${severity}`)), " ",
      metric ? h("a", { href: link({ metric }), id: `why-${rule}` }, ruled) : ruled, firing.length > 1 && h("span.window", {}, ` × ${firing.length}`)),
    h("td.num", {}, metric ? valueOf(metric, value) : ""),
    h("td.num", {}, metric ? threshold(metric, breach?.threshold ?? firing[0].threshold) : ""),
    h("td.day", {}, dayOf(earliest(firing))),
    h("td.ends", {}, ends(told, breach, metric)),
    h("td", {}, metric ? sooner(remedy) : ""));
}

const earliest = (firing) => firing.map((alert) => alert.since).sort()[0];

function ends(told, breach, metric) {
  if (!metric) return t("ends.case");
  if (!breach) return t("ends.unknown");
  if (!breach.ends) return t("ends.never");
  return [h("strong", {}, breach.ends), " ", inDays(breach.ends, told.as_of), breach.fades && h("span.window", {}, ` · ${t("ends.fades")}`)];
}

function sooner(remedy) {
  if (!remedy) return "";
  if (!remedy.good || (remedy.today === null && remedy.by === null)) return t("remedy.none");
  const said = (n) => t("remedy", { n: fixed(n, 0), good: named("good", remedy.good) });
  const by = remedy.by ? ` ${t("remedy.by", { n: fixed(remedy.by, 0), day: remedy.by_day })}` : "";
  return remedy.today === null ? t("remedy.none") : said(remedy.today) + by;
}

function coming(told) {
  const later = (told.outlook?.breaches ?? []).filter((breach) => breach.begins > told.as_of);
  return later.length > 0 && [h("h3", {}, t("coming")), h("ul.coming", {}, later.map((breach) => h("li", {}, mark(breach.severity, t(`severity.${breach.severity}`)), " ",
    t("coming.line", { rule: named("rule", breach.rule), day: breach.begins, in: inDays(breach.begins, told.as_of), ends: breach.ends ?? t("ends.never") }))))];
}
