// Bytes that have arrived and are not understood yet, in one buffer that grows by doubling, so that a request
// dripping in byte by byte costs no more than one that comes whole. Remembers when each byte came: the deadline
// of a request runs from its first byte.

const SMALL = 4096;

export class ByteQueue {
  #buffer = Buffer.allocUnsafe(SMALL);
  #start = 0;
  #end = 0;
  /** Chunks that still have bytes here: where each begins (counted from #start of now) and when it came. */
  #arrivals: { at: number; bytes: number }[] = [];
  /** How many of them are gone already: taking each off the front would move all the others, every time. */
  #gone = 0;

  get length(): number {
    return this.#end - this.#start;
  }

  /** When the oldest byte came, in the unit of the `at` given to `push`. */
  get arrivedAt(): number {
    return this.#arrivals[this.#gone]?.at ?? 0;
  }

  /** Copies: the caller may use `chunk` again at once. */
  push(chunk: Uint8Array, at: number): void {
    if (chunk.length === 0) return;
    const length = this.length;
    if (this.#end + chunk.length > this.#buffer.length) {
      const needed = length + chunk.length;
      const target =
        needed <= this.#buffer.length ? this.#buffer : Buffer.allocUnsafe(2 ** Math.ceil(Math.log2(needed)));
      this.#buffer.copy(target, 0, this.#start, this.#end);
      this.#buffer = target;
      this.#start = 0;
      this.#end = length;
    }
    this.#buffer.set(chunk, this.#end);
    this.#end += chunk.length;
    this.#arrivals.push({ at, bytes: chunk.length });
  }

  byteAt(index: number): number {
    return this.#buffer[this.#start + index] ?? 0;
  }

  /** Where `byte` first stands at or after `from`; -1 when it does not. */
  indexOf(byte: number, from: number): number {
    const found = this.#buffer.subarray(this.#start, this.#end).indexOf(byte, from);
    return found;
  }

  /** The first `length` bytes as a view that is good until the next `push`. */
  peek(length: number): Buffer {
    return this.#buffer.subarray(this.#start, Math.min(this.#start + length, this.#end));
  }

  /** Drops the first `length` bytes. */
  skip(length: number): void {
    this.#start += length;
    if (this.#start >= this.#end) {
      this.#start = 0;
      this.#end = 0;
      this.#arrivals.length = 0;
      this.#gone = 0;
      // A single large request must not hold its memory for the rest of the session.
      if (this.#buffer.length > SMALL) this.#buffer = Buffer.allocUnsafe(SMALL);
      return;
    }
    let rest = length;
    for (let first = this.#arrivals[this.#gone]; first !== undefined; first = this.#arrivals[this.#gone]) {
      if (rest < first.bytes) {
        first.bytes -= rest;
        break;
      }
      rest -= first.bytes;
      this.#gone++;
    }
    if (this.#gone * 2 > this.#arrivals.length) {
      this.#arrivals.splice(0, this.#gone);
      this.#gone = 0;
    }
  }
}
