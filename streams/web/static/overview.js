// All accounts, those in trouble first: a table that can be searched, filtered and sorted, a hundred at a time.

import { h, mark, row, swap, table } from "./build.js";
import { ago, bandOf, dayOf, fullName, instant, judge, labelOf, metricOf, span, valueOf, worstFirst } from "./figures.js";
import { named, t } from "./words.js";

const LIMIT = 100, RULES = 3, TYPING_MS = 200, TROUBLE = "trouble";
const LEVEL = { red: "critical", yellow: "warning", green: "good" };

export function overview(main, page, at) {
  let values = at.values;
  let told = null;
  let known = new Map(); // account -> what was shown of it
  let asked = 0, typing = 0;
  const place = h("div", { "aria-busy": "true" });
  const heading = h("div.heading");
  const search = h("input", {
    type: "search", id: "search", maxlength: 256, autocomplete: "off", spellcheck: "false",
    placeholder: t("search"), "aria-label": t("search"), title: t("search.hint"), value: values.q ?? "",
    input: () => {
      clearTimeout(typing);
      typing = setTimeout(() => want({ q: search.value.trim(), offset: "" }), TYPING_MS);
    },
  });
  const marketplace = h("select", { "aria-label": t("marketplace"), change: () => want({ marketplace: marketplace.value, offset: "" }) });
  const sort = h("select", { "aria-label": t("sort"), change: () => want({ sort: sort.value, order: firstOrder(sort.value), offset: "" }) });
  const form = h("form.tools", { role: "search", submit: (event) => event.preventDefault() },
    h("span.field", {}, search, h("kbd", { "aria-hidden": "true" }, "/")), marketplace, h("span.narrow", {}, sort));
  main.append(h("div.head", {}, heading, form), place);
  page.title(t("accounts"));
  load();

  function want(change) {
    page.go(page.link({ kind: "overview" }, { ...values, ...change }), { replace: true });
  }

  async function load({ live = false } = {}) {
    const mine = ++asked;
    try {
      const found = await page.ask("overview", { sort: TROUBLE, order: "desc", ...values, limit: LIMIT });
      if (mine !== asked) return;
      told = found;
      render(live);
    } catch (error) {
      if (mine === asked && !(live && told)) swap(place, page.failure(error, () => load()));
    }
  }

  function render(live) {
    const before = known;
    known = new Map(told.accounts.map((account) => [keyOf(account), JSON.stringify({ ...account, computed_at: null })]));
    const changed = new Set(live ? [...known.keys()].filter((key) => before.get(key) !== known.get(key)) : []);
    swap(heading,
      h("h1", {}, t("accounts")),
      h("p.summary", {}, h("strong", {}, t("in.trouble", { n: told.in_trouble })), " ", t("of.accounts", { n: told.total })),
      freshness(told, told.fresh));
    fill(marketplace, [["", t("marketplace.all")], ...told.marketplaces.map((name) => [name, name])], values.marketplace ?? "");
    const columns = told.accounts.length ? Object.keys(told.accounts[0].metrics) : [];
    fill(sort, [[TROUBLE, t("trouble")], ...columns.map((name) => [name, fullName(name)])], values.sort ?? TROUBLE);
    swap(place, told.accounts.length
      ? table(t("title.overview"), headings(columns), told.accounts.map((account) => line(account, changed.has(keyOf(account)))), ".list.accounts")
      : h("p.notice", {}, t("none.found")), pager());
    place.removeAttribute("aria-busy");
    if (changed.size) page.say(t("updated", { n: changed.size }));
  }

  // --- headings, which sort -----------------------------------------------------------------------------------

  function headings(columns) {
    return [
      h("th", { scope: "col", role: "columnheader" }, t("account")),
      sortable(TROUBLE, t("trouble"), "", ""),
      h("th.num", { scope: "col", role: "columnheader" }, t("cases.open")),
      ...columns.map((name) => {
        const { label, window } = labelOf(name);
        return sortable(name, label, window, ".num");
      }),
      h("th.num", { scope: "col", role: "columnheader", "data-short": t("updated.column") }, t("event.column"), h("span.window.computed", {}, t("computed.column"))),
    ];
  }

  function sortable(name, label, window, kind) {
    const is = (values.sort ?? TROUBLE) === name, order = values.order ?? "desc";
    const turned = is ? (order === "desc" ? "asc" : "desc") : firstOrder(name);
    return h(`th${kind}`, {
      scope: "col", role: "columnheader", "data-short": window ? `${label} ${window}` : label,
      "aria-sort": is ? (order === "desc" ? "descending" : "ascending") : "none",
    }, h("button", { type: "button", id: `sort-${name}`, click: () => want({ sort: name, order: turned, offset: "" }) },
      label, window && h("span.window", {}, window)));
  }

  // --- rows ---------------------------------------------------------------------------------------------------

  function line(account, changed) {
    const firing = new Set(account.rules.map((each) => each.rule));
    const fresh = [t("last.event", { ago: instant(account.last_event_time) }), t("computed", { ago: instant(account.computed_at) })].join(", ");
    return row({ class: changed ? "changed" : null },
      h("th.who", { scope: "row" },
        h("a", { href: page.link({ kind: "account", seller: account.seller_id, marketplace: account.marketplace_id }), id: `of-${keyOf(account)}`, title: account.seller_id }, account.seller_id),
        h("span.where", {}, account.marketplace_id)),
      h("td.why", {}, rules(account.rules.toSorted(worstFirst))),
      h("td.num", { class: account.open_cases ? null : "nil" }, account.open_cases),
      Object.entries(account.metrics).map(([name, value]) => cell(name, value, firing, fresh, account.held)),
      h("td.num.fresh", { title: fresh },
        h("span", {}, span(told.wall - Date.parse(account.last_event_time))),
        h("span.window", {}, span(told.wall - Date.parse(account.computed_at)))));
  }

  function rules(firing) {
    if (!firing.length) return h("span.nil", {}, "–");
    const shown = firing.slice(0, RULES);
    const more = firing.slice(shown.length);
    const day = Date.parse(told.now);
    return h("ul.rules", {},
      shown.map(({ rule, severity, since }) =>
        h(`li.${severity}`, { title: t("since", { day: dayOf(since) }) }, mark(severity, t(`severity.${severity}`)), " ",
          named("rule", rule), " ", h("span.window", {}, span(day - Date.parse(since))))),
      more.length > 0 && h("li.more", { title: more.map(({ rule }) => named("rule", rule)).join(", ") }, t("more.rules", { n: more.length })));
  }

  function pager() {
    const offset = Number(values.offset ?? 0), last = Math.min(offset + told.accounts.length, told.total);
    if (told.total <= LIMIT && !offset) return null;
    const turn = (to, label, off) => h("button", {
      type: "button", id: `turn-${label}`, disabled: off,
      click: () => { want({ offset: to || "" }); scrollTo(0, 0); },
    }, t(label));
    return h("nav.pager", { "aria-label": t("accounts") },
      turn(Math.max(0, offset - LIMIT), "page.previous", offset === 0),
      h("span", {}, t("page.range", { from: last ? offset + 1 : 0, to: last, n: told.total })),
      turn(offset + LIMIT, "page.next", last >= told.total));
  }

  return {
    update(next) {
      values = next.values;
      if (document.activeElement !== search) search.value = values.q ?? "";
      load();
    },
    changed: () => load({ live: true }),
  };
}

// A value, marked if a threshold or a band says so: filled where an alert fires, hollow where none does.
export function cell(name, value, firing, fresh, held) {
  const beyond = judge(name, value, firing, held), band = bandOf(name, value, held);
  const words = beyond && t(beyond.fires ? "beyond.fires" : "beyond.quiet", { edge: beyond.edge, severity: t(`severity.${beyond.severity}`) });
  const level = beyond?.fires ? beyond.severity : beyond ? "hollow" : "";
  return h(`td.num${level && `.${level}`}`, { class: value === null ? "nil" : null, title: [fullName(name), words, fresh].filter(Boolean).join("\n") },
    beyond && mark(level, `${words}: `),
    band && !beyond && mark(LEVEL[band.colour], `${t(`band.${band.colour}`)}: `),
    valueOf(name, value));
}

// How old everything is that is shown.
export function freshness(told, { last_event_time: last, computed_at: computed, lag_records: lag }) {
  const when = (key, iso) => h("time", { datetime: iso, title: instant(iso) }, t(key, { ago: ago(iso, told.wall) }));
  return h("p.freshness", {}, t("as.of", { day: told.as_of }),
    last && [" · ", when("last.event", last)],
    computed && [" · ", when("computed", computed)],
    Number.isInteger(lag) && [" · ", t("lag", { n: lag })]);
}

const keyOf = (account) => `${encodeURIComponent(account.seller_id)}/${encodeURIComponent(account.marketplace_id)}`;

function firstOrder(name) {
  return metricOf(name)?.better === "up" ? "asc" : "desc";
}

function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, label]) => h("option", { value, selected: value === chosen }, label)));
  select.value = chosen;
}
