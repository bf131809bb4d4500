"use strict";
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const status = document.getElementById("status");
  const hint = status.textContent;
  const find = document.getElementById("find");

  // Elements by source line, by line of a kernel's IR, and by kernel.
  const byLine = new Map();
  const byRow = new Map();
  const byKernel = new Map();
  const put = (map, key, element) => {
    if (!map.has(key)) map.set(key, []);
    map.get(key).push(element);
  };
  const linesOf = (element) => (element.dataset.l ? element.dataset.l.split(" ") : []);
  for (const element of all("[data-l]")) {
    for (const line of linesOf(element)) put(byLine, line, element);
  }
  for (const element of all("[data-r]")) put(byRow, element.dataset.r, element);
  for (const element of all("[data-k]")) put(byKernel, element.dataset.k, element);

  const marked = new Set();
  const mark = (element, kind) => {
    if (!element || element.classList.contains("on")) return;
    element.classList.remove("near");
    element.classList.add(kind);
    marked.add(element);
  };
  const clear = () => {
    for (const element of marked) element.classList.remove("on", "near");
    marked.clear();
    status.textContent = hint;
  };

  const markRows = (row, kind) => {
    for (const element of byRow.get(row) || []) mark(element, kind);
  };
  const markSource = (lines) => {
    lines.forEach((line, i) => mark(document.getElementById(line), i ? "near" : "on"));
  };

  // What belongs to a source line: strongly where it is the primary line.
  const selectSource = (element) => {
    mark(element, "on");
    for (const other of byLine.get(element.id) || []) {
      const kind = linesOf(other)[0] === element.id ? "on" : "near";
      mark(other, kind);
      if (other.dataset.r) markRows(other.dataset.r, kind);
    }
  };
  const selectRow = (element) => {
    const row = element.dataset.r;
    markRows(row, "on");
    markSource(linesOf((byRow.get(row) || [element]).find((other) => other.dataset.l) || element));
    for (const other of byKernel.get(row.split(":")[0]) || []) {
      if (other.matches("tr")) mark(other, "near");
    }
  };
  // A node is the same in all stages that have it.
  const selectNode = (element) => {
    mark(element, "on");
    markSource(linesOf(element));
    const [stage, key] = element.id.split("-");
    if (stage.startsWith("n")) {
      for (const other of all(`.n[id^="n"][id$="-${key}"]`)) mark(other, "on");
    }
    const edges = `path[data-a="${key}"], path[data-b="${key}"]`;
    for (const edge of element.parentNode.querySelectorAll(edges)) mark(edge, "on");
    for (const other of byKernel.get(element.dataset.k) || []) {
      if (other.matches("tr")) mark(other, "near");
    }
  };
  const selectKernel = (name, lines) => {
    for (const other of byKernel.get(name) || []) mark(other, other.matches("tr") ? "on" : "near");
    markSource(lines);
  };

  const number = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
  const inSight = (element) => {
    const panel = element.matches(".n") && element.closest(".panel");
    return Boolean(panel && panel.offsetParent);
  };
  const tell = () => {
    const have = [...marked];
    const parts = [
      number(have.filter((e) => e.matches(".s")).length, "source line"),
      number(have.filter(inSight).length, "node"),
      number(have.filter((e) => e.matches("tr.k")).length, "kernel"),
      number(have.filter((e) => e.matches(".l")).length, "line") + " of code",
    ];
    status.textContent = `Selected: ${parts.join(", ")}.`;
  };
  // Bring the first mark of each scrolled part into view, without moving the page.
  const reveal = (except) => {
    for (const box of all(".scroll")) {
      if (!box.offsetParent || box.contains(except)) continue;
      const first = [...marked].find((e) => e.classList.contains("on") && box.contains(e))
        || [...marked].find((e) => box.contains(e));
      if (!first) continue;
      const inner = first.getBoundingClientRect();
      const outer = box.getBoundingClientRect();
      if (inner.top < outer.top || inner.bottom > outer.bottom) {
        box.scrollTop += inner.top - outer.top - outer.height / 3;
      }
      if (inner.left < outer.left || inner.left > outer.right) {
        box.scrollLeft += inner.left - outer.left - outer.width / 3;
      }
    }
  };
  const kinds = ".s.marked, .n, .l[data-r], tr.k, .span";
  const select = (element) => {
    clear();
    if (element.matches(".s")) selectSource(element);
    else if (element.matches(".l")) selectRow(element);
    else if (element.matches(".n")) selectNode(element);
    else selectKernel(element.dataset.k, linesOf(element));
    tell();
    reveal(element);
  };

  const open = (element) => {
    const details = element.closest("details");
    if (details) details.open = true;
    const panel = element.closest(".panel");
    const tab = panel && document.getElementById(`${panel.id}-tab`);
    if (tab) tab.checked = true;
  };
  const follow = () => {
    const element = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!element) return;
    open(element);
    if (element.matches(kinds)) select(element);
    else if (element.matches("details")) {
      clear();
      const row = (byKernel.get(element.id) || []).find((e) => e.matches("tr"));
      if (row) select(row);
    }
    const place = element.matches(".n, .l") ? "center" : "nearest";
    element.scrollIntoView({ block: place, inline: place });
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    const element = event.target.closest(kinds);
    if (link && !link.matches(".n")) return; // a link to elsewhere: its target is selected
    if (!element) return;
    if (link) event.preventDefault();
    select(element);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      find.value = "";
      filter();
      clear();
    }
    const chosen = event.key === "Enter" || (event.key === " " && !event.target.matches("input"));
    if (chosen && event.target.matches(kinds)) {
      event.preventDefault();
      select(event.target);
    }
  });

  // The filter: other nodes fade, other kernels go, lines with the text are underlined.
  const nodes = all(".n");
  const rows = all("tr.k");
  const lines = all(".l, .s");
  const filter = () => {
    const wanted = find.value.trim().toLowerCase();
    const has = (element) => element.textContent.toLowerCase().includes(wanted);
    for (const node of nodes) node.classList.toggle("away", Boolean(wanted) && !has(node));
    for (const line of lines) line.classList.toggle("hit", Boolean(wanted) && has(line));
    let kept = 0;
    for (const row of rows) {
      const details = document.getElementById(row.dataset.k);
      const away = Boolean(wanted) && !has(row) && !has(details);
      row.classList.toggle("away", away);
      details.classList.toggle("away", away);
      kept += !away;
    }
    if (wanted) {
      const found = nodes.filter((node) => node.closest(".panel") && has(node)).length;
      status.textContent = `Found: ${number(found, "node")}, ${number(kept, "kernel")}, ` +
        `${number(lines.filter((e) => e.classList.contains("hit")).length, "line")}.`;
    } else status.textContent = hint;
  };
  let waiting = 0;
  find.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });
  window.addEventListener("hashchange", follow);
  follow();
})();
