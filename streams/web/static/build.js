// Builds the page's elements. Strangers' text becomes text nodes and attributes here, never markup.

// An element: "td.num.changed", its attributes (a function is a listener, null and false are left out), its children.
export function h(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag || "div");
  element.classList.add(...classes);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "class") element.classList.add(value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// New content for a place. Who had the focus in it, by id, keeps it, and folds stay as they were.
export function swap(place, ...content) {
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  const folds = new Map([...place.querySelectorAll("details[id]")].map((fold) => [fold.id, fold.open]));
  place.replaceChildren(...content.flat().filter(Boolean));
  for (const fold of place.querySelectorAll("details[id]")) {
    if (folds.has(fold.id)) fold.open = folds.get(fold.id);
  }
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

// A table with a caption (said, not shown) and headings. A row is a list of cells made by `h`, or a <tr>.
// In a narrow window every row is a card, whose cells tell their heading: for that the roles are said.
export function table(caption, headings, rows, kind = "") {
  const head = headings.map((heading) =>
    heading instanceof Element ? heading : h("th", { scope: "col", role: "columnheader" }, heading));
  for (const row of rows) {
    [...row.children].forEach((cell, column) => {
      cell.setAttribute("role", cell.tagName === "TH" ? "rowheader" : "cell");
      if (column) cell.dataset.label = head[column].dataset.short ?? head[column].textContent;
    });
    row.setAttribute("role", "row");
  }
  return h(`table${kind}`, { role: "table" },
    h("caption.said", {}, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)),
    h("tbody", { role: "rowgroup" }, rows));
}

export function row(attributes, ...cells) {
  return h("tr", attributes, cells);
}

// How bad it is, by a shape and a colour; the word is for who sees neither.
export function mark(level, words) {
  return h(`span.mark.${level}`, {}, h("span.said", {}, words));
}
