import { escaped } from '../text/index.js';

const NATURAL = /(?:0|[1-9][0-9]{0,15})(?![0-9.eE])/y;
const LONE_SURROGATE = /\p{Surrogate}/u;

/**
 * Reads JSON from front to back as its caller expects it: objects, strings, arrays of natural numbers and
 * nothing else. Meant for headers that may be hostile: unlike `JSON.parse` it sees duplicate keys, builds
 * nothing that was not asked for and cannot be made to nest. Every surprise goes to `fail`, which throws.
 */
export class JsonCursor {
  readonly #text: string;
  readonly #fail: (reason: string) => never;
  #at = 0;

  constructor(text: string, fail: (reason: string) => never) {
    this.#text = text;
    this.#fail = fail;
  }

  /** `{"key": …, …}`: calls `visit` with each key; it must read the value. No key may stand twice. */
  object(what: string, visit: (key: string) => void): void {
    const keys = new Set<string>();
    this.#expect('{', what);
    if (this.#skip('}')) return;
    do {
      const key = this.string(`a key of ${what}`);
      if (keys.has(key)) this.#fail(`${what} has the key ${printable(key)} twice`);
      keys.add(key);
      this.#expect(':', `the value of ${printable(key)}`);
      visit(key);
    } while (this.#skip(','));
    this.#expect('}', `the end of ${what}`);
  }

  /** `[1, 2, …]`: whole numbers from 0 to 2^53 - 1, at most `limit` of them. */
  naturals(what: string, limit: number): number[] {
    const numbers: number[] = [];
    this.#expect('[', what);
    if (this.#skip(']')) return numbers;
    do {
      if (numbers.length === limit) this.#fail(`${what} has more than ${limit} numbers`);
      numbers.push(this.#natural(what));
    } while (this.#skip(','));
    this.#expect(']', `the end of ${what}`);
    return numbers;
  }

  string(what: string): string {
    const literal = this.#literal(what);
    let value: string;
    try {
      value = JSON.parse(literal);
    } catch {
      return this.#fail(`${what} is not a valid JSON string: ${printable(literal)}`);
    }
    if (LONE_SURROGATE.test(value)) this.#fail(`${what} is not valid Unicode: ${printable(value)}`);
    return value;
  }

  /** Only white space may follow. */
  end(): void {
    this.#skipSpace();
    if (this.#at < this.#text.length) this.#surprise('nothing more');
  }

  #natural(what: string): number {
    this.#skipSpace();
    NATURAL.lastIndex = this.#at;
    const value = Number(NATURAL.exec(this.#text)?.[0] ?? Number.NaN);
    if (!Number.isSafeInteger(value)) this.#surprise(`${what} to hold whole numbers from 0 to 2^53 - 1`);
    this.#at = NATURAL.lastIndex;
    return value;
  }

  /** A string with its quotes. A loop, since a regular expression keeps a stack as long as the string. */
  #literal(what: string): string {
    this.#skipSpace();
    const start = this.#at;
    if (this.#text[start] !== '"') this.#surprise(`${what} to be a string`);
    let end = start + 1;
    while (end < this.#text.length && this.#text[end] !== '"') end += this.#text[end] === '\\' ? 2 : 1;
    if (end >= this.#text.length) this.#fail(`${what} is a string without an end`);
    this.#at = end + 1;
    return this.#text.slice(start, this.#at);
  }

  #expect(character: string, what: string): void {
    if (!this.#skip(character)) this.#surprise(`'${character}' for ${what}`);
  }

  #skip(character: string): boolean {
    this.#skipSpace();
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #skipSpace(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#at++;
    }
  }

  #surprise(expected: string): never {
    const found =
      this.#at < this.#text.length ? printable(this.#text.slice(this.#at, this.#at + 20)) : 'the end';
    return this.#fail(`expected ${expected}, found ${found} at character ${this.#at} of the header`);
  }
}

/** Text from a file, quoted for an error message: short, and with no character that could act on a terminal. */
export function printable(text: string): string {
  const clipped = text.length > 80 ? `${text.slice(0, 80)}…` : text;
  return escaped(JSON.stringify(clipped));
}
