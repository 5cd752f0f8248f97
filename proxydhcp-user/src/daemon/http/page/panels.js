// Everything beside the cells: figures, the legend, lists, and the chosen node. Text from the daemon is
// hostile: it only ever becomes text.

import { REFUSED, SILENT, STATES } from "./nodes.js";

const LISTED = 200;
const SLOWEST = 10;

const part = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en");

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

export function duration(milliseconds) {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 120_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  if (milliseconds < 7_200_000) return `${Math.round(milliseconds / 60_000)} min`;
  return `${Math.round(milliseconds / 3_600_000)} h`;
}

export class Panels {
  // choose(node) is called for a node in a list, dim(state) for a state in the legend.
  constructor({ choose, dim }) {
    this.choose = choose;
    this.rate = null;
    this.last = null;
    this.buttons = STATES.map((state) => {
      const button = element("button", "");
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      button.append(element("span", "", `mark ${state}`), element("span", state), element("span", "0"));
      button.addEventListener("click", () => {
        const isChosen = button.getAttribute("aria-pressed") === "true";
        for (const other of this.buttons) other.setAttribute("aria-pressed", "false");
        button.setAttribute("aria-pressed", String(!isChosen));
        dim(isChosen ? null : STATES.indexOf(state));
      });
      return button;
    });
    part("legend").replaceChildren(...this.buttons);
  }

  // Shows the sums of an update.
  totals(totals, now) {
    totals.states.forEach((count, state) => {
      this.buttons[state].lastChild.textContent = whole.format(count);
    });
    const sum = (of) => totals.interfaces.reduce((all, it) => all + of(it), 0);
    const answered = sum((it) => it.answered);
    const refused = sum((it) => Object.values(it.refused).reduce((all, count) => all + count, 0));
    if (this.last && now > this.last.now) {
      this.rate = Math.max(0, ((answered - this.last.answered) * 1000) / (now - this.last.now));
    }
    this.last = { answered, now };
    const nodes = totals.states.reduce((all, count) => all + count, 0);
    const time = (it) => (it === null ? "–" : duration(it));
    this.numbers([
      ["nodes", whole.format(nodes)],
      ["answers a second", this.rate === null ? "–" : whole.format(Math.round(this.rate))],
      ["answers", whole.format(answered)],
      ["refused", whole.format(refused)],
      ["conversations, p50", time(totals.p50)],
      ["p99", time(totals.p99)],
      ...totals.interfaces.map((it) => [it.name, it.lost ? `${it.datapath}, ${it.lost} lost` : it.datapath]),
    ]);
    const reasons = new Map();
    for (const { refused: counts, limited } of totals.interfaces) {
      for (const [reason, count] of [...Object.entries(counts), ["rate limit", limited]]) {
        if (count) reasons.set(reason, (reasons.get(reason) ?? 0) + count);
      }
    }
    const lines = [...reasons].sort(([, a], [, b]) => b - a);
    part("refused").replaceChildren(
      ...lines.map(([reason, count]) => element("li", `${whole.format(count)} ${reason}`)),
    );
  }

  numbers(pairs) {
    const list = part("numbers");
    if (list.childElementCount !== pairs.length) {
      list.replaceChildren(...pairs.map(() => {
        const pair = document.createElement("div");
        pair.append(element("dt", ""), element("dd", ""));
        return pair;
      }));
    }
    pairs.forEach(([name, value], at) => {
      const [term, number] = list.children[at].children;
      if (term.textContent !== name) term.textContent = name;
      if (number.textContent !== value) number.textContent = value;
    });
  }

  lists(nodes) {
    const { first, count } = nodes.inState(SILENT, LISTED);
    part("silent-count").textContent = whole.format(count);
    this.list("silent", nodes, first, (node) => nodes.names[node], count - first.length);
    const slowest = nodes.slowest(SLOWEST);
    this.list("slowest", nodes, slowest, (node) => `${nodes.names[node]}: ${duration(nodes.span[node])}`, 0);
  }

  list(id, nodes, some, text, more) {
    const key = `${some.map(text).join("\n")}\n${more}`;
    const list = part(id);
    // What stays as it is keeps its place and the focus.
    if (this[id] === key && list.nodes === nodes) return;
    this[id] = key;
    list.nodes = nodes;
    const items = some.map((node) => {
      const item = element("li", "");
      const button = element("button", text(node));
      button.type = "button";
      button.addEventListener("click", () => this.choose(node));
      item.append(button);
      return item;
    });
    if (more > 0) items.push(element("li", `and ${whole.format(more)} more`));
    list.replaceChildren(...items);
  }

  node(nodes, node, now) {
    if (node < 0) return;
    const list = document.createElement("dl");
    const say = (name, value) => list.append(element("dt", name), element("dd", value));
    const state = nodes.state[node];
    say("state", STATES[state]);
    say("group", nodes.groupOf(node) || "others");
    const more = nodes.addresses[node] - 1;
    say("address", (nodes.addressOf(node) || "none") + (more > 0 ? ` and ${more} more` : ""));
    say("WinPE", nodes.winpes[nodes.winpe[node]] || "the default WinPE");
    if (state !== SILENT) {
      say("firmware", nodes.archOf(node));
      say("requests", whole.format(nodes.requests[node]));
      say("last", `${duration(Math.max(0, now - nodes.first[node] - nodes.span[node]))} ago`);
      say("took", duration(nodes.span[node]));
      if (nodes.kib[node] > 0) say("fetched", `${whole.format(nodes.kib[node])} KiB`);
      if (state === REFUSED) say("why", "proxydhcp lookup says");
    }
    part("node").replaceChildren(element("h2", nodes.names[node]), list);
  }

  say(text) {
    const connection = part("connection");
    if (connection.textContent !== text) connection.textContent = text;
  }

  found(text) {
    part("found").textContent = text;
  }

  cost({ frames, median, worst }) {
    part("cost").textContent = frames < 2 ? "" :
      `scripts took ${median.toFixed(1)} ms of a frame (median of ${frames}), ${worst.toFixed(1)} ms at most`;
  }
}
