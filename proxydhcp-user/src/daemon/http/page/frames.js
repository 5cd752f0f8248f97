// One place where work is done for a frame, and what the scripts take of it.

const KEPT = 240;

export class Frames {
  constructor() {
    this.works = [];
    this.spent = 0;
    this.costs = [];
    this.isAsked = false;
  }

  // Does something that a message asks for; its time counts for the next frame.
  count(work) {
    const began = performance.now();
    try {
      return work();
    } finally {
      this.spent += performance.now() - began;
      this.ask();
    }
  }

  // Adds what is to be done in each frame that is asked for.
  each(work) {
    this.works.push(work);
  }

  ask() {
    if (this.isAsked) return;
    this.isAsked = true;
    requestAnimationFrame(() => {
      this.isAsked = false;
      const began = performance.now();
      for (const work of this.works) work();
      this.costs.push(this.spent + performance.now() - began);
      this.spent = 0;
      if (this.costs.length > KEPT) this.costs.shift();
    });
  }

  // The median and the worst of the last frames, in milliseconds.
  cost() {
    const sorted = [...this.costs].sort((a, b) => a - b);
    const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
    return { frames: sorted.length, median: at(0.5), worst: sorted.at(-1) ?? 0 };
  }
}
