// Where each cell is: groups are blocks, which flow like words.

const SMALLEST = 3;
const LARGEST = 14;
const LABEL = 14;
// Between groups, besides the size of a cell.
const GAP = 2;
// Below this size of a cell, or with more groups, names of groups are shown on demand only.
const MOST_LABELS = 600;

// All lengths are in CSS pixels. Cells are as large as they may be for all to fit into the height; if
// even the smallest do not, the page is scrolled.
export function layout(groups, width, height) {
  for (let size = LARGEST; size > SMALLEST; size--) {
    const fits = flow(groups, width, size);
    if (fits.height <= height) return fits;
  }
  return flow(groups, width, SMALLEST);
}

function flow(groups, width, size) {
  const label = groups.length <= MOST_LABELS ? LABEL : 0;
  const most = Math.max(1, Math.floor(width / size));
  const blocks = [];
  let [x, y, tallest, first] = [0, 0, 0, 0];
  for (const [name, count] of groups) {
    // A name needs some room, and a large group is as wide as the page.
    const wish = Math.max(Math.ceil(Math.sqrt(count) * 1.4), label ? Math.ceil(48 / size) : 1);
    const columns = count * size * size > width * 200 ? most : Math.min(most, wish);
    const rows = Math.ceil(count / columns);
    if (x > 0 && x + columns * size > width) {
      x = 0;
      y += tallest + size + GAP;
      tallest = 0;
    }
    blocks.push({ name, first, count, columns, rows, x, y: y + label });
    tallest = Math.max(tallest, label + rows * size);
    x += (columns + 1) * size + GAP;
    first += count;
  }
  return new Layout(blocks, size, label, width, y + tallest);
}

class Layout {
  constructor(blocks, size, label, width, height) {
    Object.assign(this, { blocks, size, label, width, height: Math.max(height, 1) });
  }

  block(node) {
    let [low, high] = [0, this.blocks.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.blocks[middle].first <= node) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  place(node) {
    const block = this.blocks[this.block(node)];
    const at = node - block.first;
    return {
      x: block.x + (at % block.columns) * this.size,
      y: block.y + Math.floor(at / block.columns) * this.size,
    };
  }

  // The node at a point; -1 if there is none.
  node(x, y) {
    for (const block of this.blocks) {
      const column = Math.floor((x - block.x) / this.size);
      const row = Math.floor((y - block.y) / this.size);
      if (column < 0 || row < 0 || column >= block.columns || row >= block.rows) continue;
      const at = row * block.columns + column;
      if (at < block.count) return block.first + at;
    }
    return -1;
  }
}
