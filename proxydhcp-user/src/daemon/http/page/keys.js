// How a node is chosen: by pointing, by keys, and by searching.

export class Keys {
  // choose(node) is called for the node that is chosen, search(text) while somebody types.
  constructor({ field, cursor, input, cells, choose, search }) {
    Object.assign(this, { field, cursor, input, cells, choose, search });
    this.chosen = -1;
    field.addEventListener("pointermove", (event) => this.point(event));
    field.addEventListener("pointerdown", (event) => this.point(event));
    field.addEventListener("keydown", (event) => this.press(event));
    input.addEventListener("input", () => search(input.value));
    input.addEventListener("keydown", (event) => this.type(event));
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && document.activeElement !== input) {
        event.preventDefault();
        input.focus();
      }
    });
  }

  point(event) {
    if (!this.cells.layout) return;
    const box = this.field.getBoundingClientRect();
    const node = this.cells.layout.node(event.clientX - box.left, event.clientY - box.top);
    if (node >= 0 && node !== this.chosen) this.go(node, false);
  }

  press(event) {
    const node = this.next(event.key);
    if (node === null) return;
    event.preventDefault();
    this.go(Math.max(0, Math.min(this.cells.nodes.count - 1, node)), true);
  }

  // Where a key leads; null if it leads nowhere.
  next(key) {
    const { layout, nodes } = this.cells;
    if (!layout || nodes.count === 0) return null;
    const at = Math.max(this.chosen, 0);
    const number = layout.block(at);
    const block = layout.blocks[number];
    switch (key) {
      case "ArrowLeft": return at - 1;
      case "ArrowRight": return this.chosen < 0 ? 0 : at + 1;
      case "ArrowUp": return at - block.columns;
      case "ArrowDown": return at + block.columns;
      case "PageUp": return layout.blocks[Math.max(number - 1, 0)].first;
      case "PageDown": return layout.blocks[Math.min(number + 1, layout.blocks.length - 1)].first;
      case "Home": return 0;
      case "End": return nodes.count - 1;
      default: return null;
    }
  }

  type(event) {
    if (event.key === "Escape") {
      this.input.value = "";
      this.search("");
      this.field.focus();
    } else if (event.key === "Enter") {
      const node = this.search(this.input.value);
      if (node >= 0) {
        this.field.focus();
        this.go(node, true);
      }
    }
  }

  // Chooses a node, and shows where it is.
  go(node, scrolls) {
    this.chosen = node;
    this.mark();
    if (scrolls) this.cursor.scrollIntoView({ block: "nearest" });
    this.choose(node);
  }

  // Puts the frame around the chosen node.
  mark() {
    const isThere = this.chosen >= 0 && this.chosen < this.cells.nodes.count;
    this.cursor.hidden = !isThere;
    if (!isThere) {
      this.chosen = -1;
      return;
    }
    const { x, y } = this.cells.layout.place(this.chosen);
    const size = this.cells.layout.size;
    Object.assign(this.cursor.style, {
      left: `${x - 3}px`, top: `${y - 3}px`, width: `${size + 5}px`, height: `${size + 5}px`,
    });
  }
}
