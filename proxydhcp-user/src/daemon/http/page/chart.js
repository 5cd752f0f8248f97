// How many nodes asked when: bars over the time, from the nodes' own times, so that what was before the
// page was opened is there, too.

import { SILENT } from "./nodes.js";

const BARS = 120;
const SHORTEST = 60_000;
const LONGEST = 3_600_000;

export class Chart {
  constructor(canvas, caption) {
    Object.assign(this, { canvas, caption });
    this.context = canvas.getContext("2d");
  }

  draw(nodes, now) {
    const span = this.span(nodes, now);
    const bars = new Uint32Array(BARS);
    const width = span / BARS;
    for (let node = 0; node < nodes.count; node++) {
      if (nodes.state[node] === SILENT) continue;
      const age = now - nodes.first[node] - nodes.span[node];
      const bar = BARS - 1 - Math.floor(age / width);
      if (bar >= 0) bars[Math.min(bar, BARS - 1)]++;
    }
    const highest = Math.max(1, ...bars);
    const scale = window.devicePixelRatio || 1;
    const [right, bottom] = [this.canvas.clientWidth * scale, this.canvas.clientHeight * scale];
    this.canvas.width = right;
    this.canvas.height = bottom;
    const style = getComputedStyle(document.documentElement);
    this.context.fillStyle = style.getPropertyValue("--answered");
    bars.forEach((count, bar) => {
      if (count === 0) return;
      const height = Math.max(1, (count / highest) * bottom);
      const x = (bar / BARS) * right;
      this.context.fillRect(x, bottom - height, Math.max(1, right / BARS - 1), height);
    });
    const most = Math.round((highest * 1000) / width);
    const minutes = Math.round(span / 60_000);
    this.caption.textContent =
      `nodes by their last request, over ${minutes} min; at most ${most.toLocaleString("en")} a second`;
  }

  // As long as need be for the first node's request, within limits.
  span(nodes, now) {
    let oldest = now;
    for (let node = 0; node < nodes.count; node++) {
      const last = nodes.first[node] + nodes.span[node];
      if (nodes.state[node] !== SILENT && last < oldest && last > now - LONGEST) oldest = last;
    }
    return Math.min(LONGEST, Math.max(SHORTEST, Math.ceil((now - oldest) / 60_000) * 60_000));
  }
}
