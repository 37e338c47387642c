// The page: which view is shown, how views ask the worker, and what they hear of changes.

import { account } from "./account.js";
import { h } from "./build.js";
import { learn } from "./figures.js";
import { overview } from "./overview.js";
import { switchLanguage, t } from "./words.js";

const TRIES = 5, PAUSE_MS = 1000, QUIET_MS = 2000;
const main = document.getElementById("main");
const said = document.getElementById("said");
const live = document.getElementById("live");
const language = document.getElementById("language");

let view = null; // of the kind and subject that the fragment names
let catalogue = null;

// --- asking --------------------------------------------------------------------------------------------------

// What the worker answers, with the instant of its answer as `wall`. One that is busy is asked again.
async function ask(path, parameters = {}) {
  for (let tried = 1; ; tried += 1) {
    let answer;
    try {
      answer = await fetch(`/api/${path}?${new URLSearchParams(parameters)}`, { cache: "no-store" });
    } catch {
      throw new Error(t("no.answer"));
    }
    const told = await answer.json().catch(() => ({ error: answer.statusText || t("no.answer") }));
    if (answer.ok) return Object.assign(told, { wall: Date.parse(answer.headers.get("Date")) });
    if (answer.status !== 503 || tried === TRIES) throw new Error(told.error);
    await new Promise((done) => setTimeout(done, PAUSE_MS));
  }
}

// A line in place of what could not be had, and a way to try again.
function failure(error, again) {
  return h("p.notice", { role: "alert" }, t("failed", { why: error.message }), " ",
    h("button", { type: "button", click: again }, t("again")));
}

// --- where ---------------------------------------------------------------------------------------------------

// The fragment's meaning: {kind, seller, marketplace, values}, null if it has none.
function route() {
  const [path, query] = location.hash.replace(/^#/, "").split("?");
  const values = Object.fromEntries(new URLSearchParams(query));
  const [, first, ...rest] = path.split("/");
  if (!first && !rest.length) return { kind: "overview", values };
  if (first !== "account" || rest.length !== 2) return null;
  try {
    const [seller, marketplace] = rest.map(decodeURIComponent);
    return { kind: "account", seller, marketplace, values };
  } catch {
    return null;
  }
}

function link(at, values = {}) {
  const path = at.kind === "account" ? `#/account/${encodeURIComponent(at.seller)}/${encodeURIComponent(at.marketplace)}` : "#/";
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value));
  return query.size ? `${path}?${query}` : path;
}

function go(fragment, { replace = false } = {}) {
  if (replace) history.replaceState(null, "", fragment);
  else history.pushState(null, "", fragment);
  show();
}

const page = { ask, failure, link, go, say: (words) => { said.textContent = words; }, title };

function title(...words) {
  document.title = [...words, "Sellerpulse"].join(" · ");
}

async function show({ anew = false } = {}) {
  try {
    if (!catalogue) learn(catalogue = await ask("catalogue"));
  } catch (error) {
    main.replaceChildren(failure(error, () => show()));
    return;
  }
  const at = route();
  const subject = at && JSON.stringify([at.kind, at.seller, at.marketplace]);
  if (view && view.subject === subject && !anew) {
    view.update(at);
    return;
  }
  const moved = view !== null && !anew;
  view?.close?.();
  main.replaceChildren();
  if (!at) {
    view = { subject, update() {}, changed() {} };
    main.append(h("p.notice", {}, t("not.found"), " ", h("a", { href: "#/" }, t("accounts"))));
    return;
  }
  view = { subject, ...(at.kind === "account" ? account : overview)(main, page, at) };
  if (moved) {
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
}

// --- what changes --------------------------------------------------------------------------------------------

let pending = null, quiet = false;

// Views hear of changes at most every two seconds; what comes in between is put together.
function changed(accounts) {
  const many = accounts === null || pending?.many === true;
  pending = { many, keys: new Set([...(pending?.keys ?? []), ...(accounts ?? []).map((key) => JSON.stringify(key))]) };
  if (quiet) return;
  const told = pending;
  pending = null;
  quiet = true;
  setTimeout(() => {
    quiet = false;
    if (pending) changed([]);
  }, QUIET_MS);
  view?.changed(told);
}

// A browser has six connections to a host, for all of its tabs: one that nobody looks at keeps none.
let source = null;

function listen() {
  if (source || document.hidden) return;
  source = new EventSource("/api/live");
  source.addEventListener("open", () => {
    const lost = live.classList.contains("lost");
    connected(true);
    if (lost) changed(null);
  });
  source.addEventListener("changed", (event) => changed(JSON.parse(event.data).accounts));
  source.addEventListener("error", () => {
    connected(false);
    if (source?.readyState !== EventSource.CLOSED) return; // it tries again by itself
    leave();
    setTimeout(listen, 3 * PAUSE_MS);
  });
}

function leave() {
  source?.close();
  source = null;
}

function connected(is) {
  live.classList.toggle("lost", !is);
  live.textContent = t(is ? "live" : "live.lost");
}

// --- the frame -----------------------------------------------------------------------------------------------

function frame() {
  document.getElementById("skip").textContent = t("skip");
  language.textContent = t("language");
  language.setAttribute("aria-label", t("language.label"));
  if (live.textContent) connected(!live.classList.contains("lost"));
}

language.addEventListener("click", () => {
  switchLanguage();
  frame();
  show({ anew: true });
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, select, textarea");
  const search = document.getElementById("search");
  if (event.key !== "/" || typing || !search || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  search.focus();
  search.select();
});
addEventListener("hashchange", () => show());

addEventListener("pagehide", leave);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    leave();
  } else {
    listen();
    changed(null);
  }
});

frame();
show();
listen();
