(() => {
  "use strict";
  const root = document.documentElement, $ = (id) => document.getElementById(id);

  const theme = $("theme"), system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const name = () => { theme.textContent = dark() ? "Light" : "Dark"; theme.setAttribute("aria-pressed", String(dark())); };
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  system.addEventListener("change", name);
  name();

  const number = (text) => { const found = /^[<>+\s]*(-?[\d,]*\.?\d+(?:e[+-]?\d+)?)/i.exec(text); return found ? Number(found[1].replaceAll(",", "")) : NaN; };
  const compare = (a, b) => {
    const x = number(a), y = number(b);
    if (!Number.isNaN(x) && !Number.isNaN(y)) return x - y;
    if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
    return a.localeCompare(b);
  };
  const sortable = (heads, sort) => heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sort(column, down ? -1 : 1);
    });
  });
  document.querySelectorAll("table.sortable").forEach((table) => {
    const body = table.tBodies[0];
    sortable([...table.tHead.rows[0].cells], (column, sign) => {
      const rows = [...body.rows].map((row) => [row.cells[column].textContent, row]);
      rows.sort((a, b) => sign * compare(a[0], b[0]));
      body.append(...rows.map((pair) => pair[1]));
    });
  });

  let folded = [];
  addEventListener("beforeprint", () => { folded = [...document.querySelectorAll("details:not([open])")]; folded.forEach((d) => { d.open = true; }); });
  addEventListener("afterprint", () => folded.forEach((d) => { d.open = false; }));

  const holder = $("data"), rungs = $("rows-rung");
  if (!holder || !rungs) return;
  const data = JSON.parse(holder.textContent).rows, STEP = 50;
  const base = $("rows-base"), kind = $("rows-kind"), search = $("rows-search"), more = $("rows-more");
  const table = $("rows-table"), head = table.tHead.rows[0], body = table.tBodies[0];
  let order = [], shown = 0, sorted = null, lower = null, wanted = "";

  const option = (select, value, text) => { const made = document.createElement("option"); made.value = value; made.textContent = text; select.append(made); };
  data.runs.forEach((run, at) => option(rungs, at, run));
  option(base, "below", "the next simpler method");
  data.runs.forEach((run, at) => option(base, at, run));
  rungs.value = String(data.first);

  const chosen = () => Number(rungs.value);
  const other = () => (base.value === "below" ? data.below[chosen()] : Number(base.value));
  const text = (at) => data.texts[at];
  const verdict = (row) => {
    const [was, is] = [data.marks[other()][row], data.marks[chosen()][row]];
    return is > was ? "fixed" : is < was ? "regressed" : is >= data.full ? "right in both" : "wrong in both";
  };
  const fits = { changed: (v) => v === "fixed" || v === "regressed", fixed: (v) => v === "fixed", regressed: (v) => v === "regressed", wrong: (v) => v === "wrong in both", all: () => true };
  const shownRuns = () => [...new Set([data.baseline, other(), chosen()])];
  const columns = () => [
    ["id", (row) => text(data.ids[row])],
    ["question", (row) => text(data.questions[row])],
    ["expected", (row) => text(data.expected[row])],
    ...shownRuns().map((run) => [data.runs[run], (row) => text(data.answers[run][row]), (row) => (data.marks[run][row] >= data.full ? "right" : "wrong"), run]),
    ["change", verdict, verdict],
  ];
  const say = (cell, text) => {
    const at = wanted ? text.toLowerCase().indexOf(wanted) : -1;
    if (at < 0) { cell.textContent = text; return; }
    const found = document.createElement("mark");
    found.textContent = text.slice(at, at + wanted.length);
    cell.append(text.slice(0, at), found, text.slice(at + wanted.length));
  };
  const grow = () => {
    const list = columns(), part = document.createDocumentFragment();
    order.slice(shown, shown + STEP).forEach((row) => {
      const line = document.createElement("tr");
      list.forEach(([title, tell, mark, run]) => {
        const cell = document.createElement("td");
        say(cell, tell(row));
        if (mark) cell.className = mark(row);
        if (run !== undefined) { const sign = data.graded ? ` (${(data.marks[run][row] / data.full).toFixed(2)})` : mark(row) === "right" ? " \u2713" : " \u2717"; cell.append(sign); }
        line.append(cell);
      });
      part.append(line);
    });
    body.append(part);
    shown = Math.min(order.length, shown + STEP);
    more.hidden = shown >= order.length;
  };
  const lay = () => {
    wanted = search.value.trim().toLowerCase();
    if (wanted && !lower) lower = data.texts.map((each) => each.toLowerCase());
    const runs = shownRuns();
    const hit = (row) => !wanted || [data.ids[row], data.questions[row], data.expected[row], ...runs.map((run) => data.answers[run][row])].some((at) => lower[at].includes(wanted));
    const found = { fixed: 0, regressed: 0 };
    order = [];
    for (let row = 0; row < data.ids.length; row += 1) {
      const change = verdict(row);
      if (change in found) found[change] += 1;
      if (fits[kind.value](change) && hit(row)) order.push(row);
    }
    if (sorted) {
      const tell = columns()[sorted.column][1], keys = new Map(order.map((row) => [row, tell(row)]));
      order.sort((a, b) => sorted.sign * compare(keys.get(a), keys.get(b)));
    }
    body.replaceChildren();
    shown = 0;
    grow();
    $("rows-count").textContent = `${order.length} of ${data.ids.length} examples shown. ${data.runs[chosen()]} against ${data.runs[other()]}: ${found.fixed} fixed, ${found.regressed} regressed. ${data.note}`;
  };
  const relay = () => {
    sorted = null;
    head.replaceChildren(...columns().map(([title]) => { const cell = document.createElement("th"); cell.scope = "col"; cell.textContent = title; return cell; }));
    sortable([...head.cells], (column, sign) => { sorted = { column, sign }; lay(); });
    lay();
  };
  [rungs, base].forEach((each) => each.addEventListener("change", relay));
  kind.addEventListener("change", lay);
  let waiting = 0;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(lay, 120); });
  more.addEventListener("click", grow);
  relay();
})();
