// What the daemon sends, as api/storm/{names,rows}.rs describe it.

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  isAtEnd() {
    return this.at >= this.bytes.length;
  }

  byte() {
    if (this.isAtEnd()) throw new RangeError("the data end too early");
    return this.bytes[this.at++];
  }

  // Times have more than 32 bits, so that shifts would not do.
  number() {
    let number = 0;
    let place = 1;
    for (;;) {
      const byte = this.byte();
      number += (byte & 0x7f) * place;
      if (byte < 0x80) return number;
      place *= 128;
      if (place > 2 ** 63) throw new RangeError("a number does not end");
    }
  }

  signed() {
    const number = this.number();
    return number % 2 === 0 ? number / 2 : -(number + 1) / 2;
  }
}

// The snapshot: a line of JSON, the names, the rows.
export function decodeSnapshot(bytes) {
  const end = bytes.indexOf(10);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
  const names = bytes.subarray(end + 1, end + 1 + head.names);
  const rows = bytes.subarray(end + 1 + head.names);
  return { head, ...decodeNames(names, head.nodes), rows };
}

function decodeNames(bytes, count) {
  const reader = new Reader(bytes);
  const winpe = new Uint32Array(count);
  const address = new Float64Array(count);
  const addresses = new Uint32Array(count);
  let text = new Uint8Array(1 << 16);
  let end = 0;
  let before = 0;
  let lastAddress = 0;
  for (let node = 0; node < count; node++) {
    const shared = reader.number();
    const rest = reader.number();
    const need = end + shared + rest + 1;
    if (need > text.length) {
      const longer = new Uint8Array(need * 2);
      longer.set(text);
      text = longer;
    }
    text.copyWithin(end, before, before + shared);
    for (let at = 0; at < rest; at++) text[end + shared + at] = reader.byte();
    before = end;
    end += shared + rest;
    text[end++] = 10;
    winpe[node] = reader.number();
    addresses[node] = reader.number();
    lastAddress += reader.signed();
    address[node] = lastAddress;
  }
  const names = new TextDecoder().decode(text.subarray(0, end)).split("\n");
  names.length = count;
  return { names, winpe, address, addresses };
}

// Calls take(node, state, arch, requests, first, span, kib) for each row; times are in milliseconds.
export function decodeRows(bytes, now, take) {
  const reader = new Reader(bytes);
  let node = -1;
  let first = now;
  while (!reader.isAtEnd()) {
    node += reader.number() + 1;
    const state = reader.byte();
    if (state === 0) {
      take(node, 0, 0, 0, 0, 0, 0);
      continue;
    }
    const arch = reader.number();
    const requests = reader.number();
    first += reader.signed();
    take(node, state, arch, requests, first, reader.number(), reader.number());
  }
}

export function fromBase64(text) {
  const plain = atob(text);
  const bytes = new Uint8Array(plain.length);
  for (let at = 0; at < plain.length; at++) bytes[at] = plain.charCodeAt(at);
  return bytes;
}
