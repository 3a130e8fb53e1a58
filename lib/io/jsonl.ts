import { checkOptions } from '../tensor/index.js';
import { checkRecordLength, corruptText, readRecords, type TextDecoding } from './text.js';

export interface JsonlOptions {
  /** A line of more characters is refused; 2^24 unless given. */
  maxRecordLength?: number;
}

/**
 * The values of a JSON Lines file (jsonlines.org), one a line, read as they are asked for; empty lines are passed over. What
 * is in them is not checked against `T`. Throws `DT_CORRUPT_FILE`, naming file and line; `DT_NOT_FOUND`, `DT_IO`.
 */
export function readJsonl<T = unknown>(
  path: string,
  options: JsonlOptions = {},
): AsyncGenerator<T, void, undefined> {
  checkOptions('readJsonl', options, ['maxRecordLength']);
  return readRecords<T>(path, new JsonlDecoder<T>(path, checkRecordLength(options.maxRecordLength)));
}

class JsonlDecoder<T> implements TextDecoding<T> {
  readonly #name: string;
  readonly #maxLength: number;
  #rest = '';
  line = 1;

  constructor(name: string, maxLength: number) {
    this.#name = name;
    this.#maxLength = maxLength;
  }

  *push(text: string): Iterable<T> {
    const lines = text.split('\n');
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop()!;
    for (const line of lines) {
      yield* this.#parse(line);
      this.line++;
    }
    this.#checkLength(this.#rest);
  }

  end(): Iterable<T> {
    return this.#parse(this.#rest);
  }

  /** The value of a line in an array, or none. */
  #parse(line: string): T[] {
    this.#checkLength(line);
    if (line.trim() === '') return [];
    try {
      return [JSON.parse(line) as T];
    } catch (error) {
      throw corruptText(this.#name, this.line, `it is no JSON (${(error as Error).message})`, error);
    }
  }

  #checkLength(line: string): void {
    if (line.length <= this.#maxLength) return;
    throw corruptText(
      this.#name,
      this.line,
      `it has more than the ${this.#maxLength} characters that are allowed; raise maxRecordLength if you trust it`,
    );
  }
}
