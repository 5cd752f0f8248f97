// The page: what comes from the daemon is taken up at once, and shown with the next frame.

import { Cells } from "./cells.js";
import { Chart } from "./chart.js";
import { Frames } from "./frames.js";
import { Keys } from "./keys.js";
import { Nodes } from "./nodes.js";
import { Panels } from "./panels.js";
import { follow } from "./stream.js";

const OFTEN = 1000;

const part = (id) => document.getElementById(id);
const frames = new Frames();
const cells = new Cells(part("field"), part("cells"), part("labels"));
const chart = new Chart(part("rate"), part("rate-caption"));
const panels = new Panels({
  choose: (node) => {
    keys.go(node, true);
    part("field").focus({ preventScroll: true });
  },
  dim: (state) => {
    shown.state = state;
    dim();
  },
});
const shown = { state: null, found: null };
const keys = new Keys({
  field: part("field"),
  cursor: part("cursor"),
  input: part("search"),
  cells,
  choose: (node) => frames.count(() => panels.node(nodes, node, now())),
  search: (text) => frames.count(() => search(text)),
});

let nodes = null;
let changed = [];
let totals = null;
// The daemon's clock is not this browser's.
let ahead = 0;
let panelsAt = 0;

const now = () => Date.now() + ahead;

function began(snapshot) {
  frames.count(() => {
    nodes = new Nodes(snapshot);
    ahead = snapshot.head.now - Date.now();
    changed = [];
    totals = snapshot.head.totals;
    panelsAt = 0;
    cells.show(nodes);
    keys.mark();
    search(part("search").value);
  });
}

function update(update) {
  frames.count(() => {
    nodes.take(update.rows, update.now, (node) => changed.push(node));
    ahead = update.now - Date.now();
    totals = update.totals;
  });
}

function search(text) {
  if (!nodes) return -1;
  shown.found = text.trim() ? nodes.search(text) : null;
  const count = shown.found?.reduce((all, it) => all + it, 0);
  panels.found(shown.found ? `${count.toLocaleString("en")} found` : "");
  dim();
  return shown.found?.indexOf(1) ?? -1;
}

function dim() {
  const { state, found } = shown;
  cells.dim = state === null && !found ? null :
    (node) => (state !== null && nodes.state[node] !== state) || (found !== null && !found[node]);
  if (nodes) cells.paintAll();
}

frames.each(() => {
  if (!nodes) return;
  if (changed.length > 0) cells.update(changed);
  const chosenChanged = changed.includes(keys.chosen);
  changed = [];
  const time = performance.now();
  if (time - panelsAt < OFTEN && !chosenChanged) return;
  panelsAt = time;
  panels.totals(totals, now());
  panels.lists(nodes);
  panels.node(nodes, keys.chosen, now());
  chart.draw(nodes, now());
  panels.cost(frames.cost());
});

function again() {
  if (nodes) frames.count(() => {
    cells.colours();
    cells.show(nodes);
    keys.mark();
  });
}

// The height follows from the cells.
let width = 0;
new ResizeObserver(([{ contentRect }]) => {
  if (contentRect.width === width) return;
  width = contentRect.width;
  again();
}).observe(part("storm"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
follow({ began, changed: update, said: (text) => panels.say(text) });
