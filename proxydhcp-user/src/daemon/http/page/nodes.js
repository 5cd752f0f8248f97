// All nodes and what is known of them, in columns.

import { decodeRows } from "./decode.js";

// In the order of their numbers.
export const STATES = ["silent", "asked", "refused", "answered", "failed", "fetching", "fetched"];
export const SILENT = STATES.indexOf("silent");
export const REFUSED = STATES.indexOf("refused");
export const FAILED = STATES.indexOf("failed");

const ARCHITECTURES = new Map([
  [0, "BIOS"], [6, "UEFI IA32"], [7, "UEFI x64"], [9, "UEFI x64"], [11, "UEFI ARM64"],
]);

export class Nodes {
  constructor(snapshot) {
    const { head, names, winpe, address, addresses, rows } = snapshot;
    const count = names.length;
    Object.assign(this, { names, winpe, address, addresses, count });
    this.groups = head.groups;
    this.winpes = head.winpes;
    this.state = new Uint8Array(count);
    this.arch = new Uint16Array(count);
    this.requests = new Uint32Array(count);
    this.first = new Float64Array(count);
    this.span = new Float64Array(count);
    this.kib = new Uint32Array(count);
    this.group = new Uint32Array(count);
    let node = 0;
    this.groups.forEach(([, size], group) => {
      this.group.fill(group, node, node + size);
      node += size;
    });
    this.take(rows, head.now, () => {});
  }

  // Takes rows up, and calls changed(node) for each.
  take(rows, now, changed) {
    decodeRows(rows, now, (node, state, arch, requests, first, span, kib) => {
      if (node >= this.count || state >= STATES.length) throw new RangeError("no such node or state");
      this.state[node] = state;
      this.arch[node] = arch;
      this.requests[node] = requests;
      this.first[node] = first;
      this.span[node] = span;
      this.kib[node] = kib;
      changed(node);
    });
  }

  // Those whose name, address or WinPE contains this text: 1 for each that does.
  search(text) {
    const wanted = text.trim().toLowerCase();
    const found = new Uint8Array(this.count);
    const winpes = this.winpes.map((path) => path.toLowerCase().includes(wanted));
    const isAddress = /^[0-9.]+$/.test(wanted) && wanted.includes(".");
    this.lower ??= this.names.map((name) => name.toLowerCase());
    for (let node = 0; node < this.count; node++) {
      const fits = this.lower[node].includes(wanted) || winpes[this.winpe[node]] ||
        (isAddress && this.addressOf(node).startsWith(wanted));
      found[node] = fits ? 1 : 0;
    }
    return found;
  }

  addressOf(node) {
    if (this.addresses[node] === 0) return "";
    const number = this.address[node];
    return [number >>> 24, (number >>> 16) & 255, (number >>> 8) & 255, number & 255].join(".");
  }

  archOf(node) {
    return ARCHITECTURES.get(this.arch[node]) ?? `architecture ${this.arch[node]}`;
  }

  groupOf(node) {
    return this.groups[this.group[node]]?.[0] ?? "";
  }

  // The first nodes in a state, and how many there are.
  inState(state, most) {
    const first = [];
    let count = 0;
    for (let node = 0; node < this.count; node++) {
      if (this.state[node] !== state) continue;
      if (count++ < most) first.push(node);
    }
    return { first, count };
  }

  // The nodes whose conversations took longest.
  slowest(most) {
    let slow = [];
    let least = 0;
    for (let node = 0; node < this.count; node++) {
      const span = this.span[node];
      if (span <= least) continue;
      slow.push(node);
      if (slow.length < 8 * most) continue;
      slow.sort((a, b) => this.span[b] - this.span[a]);
      slow = slow.slice(0, most);
      least = this.span[slow[most - 1]];
    }
    return slow.sort((a, b) => this.span[b] - this.span[a]).slice(0, most);
  }
}
