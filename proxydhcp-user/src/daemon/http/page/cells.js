// The cells as pixels. Only those of changed nodes are painted.

import { FAILED, REFUSED, STATES } from "./nodes.js";
import { layout } from "./layout.js";

// More is not to be seen, and costs memory.
const FINEST = 2;

export class Cells {
  constructor(field, canvas, labels) {
    Object.assign(this, { field, canvas, labels });
    this.context = canvas.getContext("2d");
    this.dim = null;
    this.colours();
  }

  // Reads the colours of the style sheet, which are others in the dark.
  colours() {
    const style = getComputedStyle(document.documentElement);
    const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const pixel = (colour, alpha) => {
      probe.clearRect(0, 0, 1, 1);
      probe.fillStyle = colour;
      probe.fillRect(0, 0, 1, 1);
      const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
      return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    };
    const all = STATES.map((state) => style.getPropertyValue(`--${state}`).trim());
    this.bright = Uint32Array.from(all, (colour) => pixel(colour, 255));
    this.dimmed = Uint32Array.from(all, (colour) => pixel(colour, 40));
  }

  // Lays all nodes out anew, for the room that there is.
  show(nodes) {
    this.nodes = nodes;
    const width = Math.max(this.field.clientWidth, 50);
    const height = Math.max(window.innerHeight * 0.72, 240);
    this.layout = layout(nodes.groups, width, height);
    const scale = Math.min(window.devicePixelRatio || 1, FINEST);
    this.cell = Math.max(2, Math.round(this.layout.size * scale));
    this.scale = this.cell / this.layout.size;
    // A gap tells neighbours apart.
    this.inner = this.cell - Math.max(1, Math.round(this.scale));
    this.canvas.width = Math.ceil(this.layout.width * this.scale);
    this.canvas.height = Math.ceil(this.layout.height * this.scale);
    this.canvas.style.width = `${this.layout.width}px`;
    this.canvas.style.height = `${this.layout.height}px`;
    this.image = this.context.createImageData(this.canvas.width, this.canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.offsets = new Uint32Array(nodes.count);
    for (const block of this.layout.blocks) this.arrange(block);
    this.name();
    this.paintAll();
  }

  arrange(block) {
    const left = Math.round(block.x * this.scale);
    const top = Math.round(block.y * this.scale);
    for (let at = 0; at < block.count; at++) {
      const x = left + (at % block.columns) * this.cell;
      const y = top + Math.floor(at / block.columns) * this.cell;
      this.offsets[block.first + at] = y * this.canvas.width + x;
    }
  }

  name() {
    const names = this.layout.label ? this.layout.blocks : [];
    this.labels.replaceChildren(...names.map((block) => {
      const label = document.createElement("span");
      label.textContent = block.name || "others";
      label.style.left = `${block.x}px`;
      label.style.top = `${block.y - this.layout.label}px`;
      label.style.maxWidth = `${block.columns * this.layout.size}px`;
      return label;
    }));
  }

  paintAll() {
    for (let node = 0; node < this.nodes.count; node++) this.paint(node);
    this.context.putImageData(this.image, 0, 0);
  }

  // Paints these nodes.
  update(changed) {
    let [top, bottom] = [this.canvas.height, 0];
    for (const node of changed) {
      this.paint(node);
      const y = Math.floor(this.offsets[node] / this.canvas.width);
      if (y < top) top = y;
      if (y > bottom) bottom = y;
    }
    if (top > bottom) return;
    const height = Math.min(bottom + this.cell, this.canvas.height) - top;
    this.context.putImageData(this.image, 0, 0, 0, top, this.canvas.width, height);
  }

  paint(node) {
    const state = this.nodes.state[node];
    const colour = this.dim?.(node) ? this.dimmed[state] : this.bright[state];
    const { pixels, inner, canvas: { width } } = this;
    const start = this.offsets[node];
    const isHollow = state === REFUSED && inner >= 4;
    const isCrossed = state === FAILED && inner >= 4;
    const edge = inner >= 8 ? 2 : 1;
    for (let y = 0; y < inner; y++) {
      const row = start + y * width;
      for (let x = 0; x < inner; x++) {
        const isInside = x >= edge && y >= edge && x < inner - edge && y < inner - edge;
        const isOnCross = x === y || x === inner - 1 - y;
        pixels[row + x] = (isHollow && isInside) || (isCrossed && isOnCross) ? 0 : colour;
      }
    }
  }
}
