// The connection: a snapshot, then events with what changes; and again after a loss.

import { decodeSnapshot, fromBase64 } from "./decode.js";

const AGAIN = 2000;
// The daemon sends an event twice a second.
const SILENCE = 10_000;

// Calls began(snapshot), changed(update) and said(text) from now on.
export function follow({ began, changed, said }) {
  let source = null;
  let timer = null;

  const later = (why, wait = AGAIN) => {
    source?.close();
    source = null;
    clearTimeout(timer);
    if (why) said(why);
    timer = setTimeout(begin, wait);
  };
  const listen = () => {
    clearTimeout(timer);
    timer = setTimeout(() => later("the daemon is silent; connecting again"), SILENCE);
  };

  async function begin() {
    clearTimeout(timer);
    try {
      const answer = await fetch("/storm", { cache: "no-store" });
      if (!answer.ok) throw new Error(await answer.text());
      const snapshot = decodeSnapshot(new Uint8Array(await answer.arrayBuffer()));
      began(snapshot);
      const { list, known } = snapshot.head.position;
      source = new EventSource(`/storm/events?list=${list}&known=${known}`);
      listen();
    } catch (error) {
      later(`not connected: ${error.message}`);
      return;
    }
    source.onmessage = ({ data }) => {
      listen();
      try {
        const update = JSON.parse(data);
        update.rows = fromBase64(update.rows);
        changed(update);
        said("live");
      } catch (error) {
        later(`not understood: ${error.message}`);
      }
    };
    source.addEventListener("others", () => later("other nodes are in service", 0));
    // A browser that connects again by itself would begin from the old position.
    source.onerror = () => later("the connection is lost; connecting again");
  }

  begin();
}
