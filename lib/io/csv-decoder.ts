import { corruptText, type TextDecoding } from './text.js';

export interface CsvRecord {
  readonly fields: readonly string[];
  /** Where each field begins, from 1. */
  readonly lines: readonly number[];
}

export interface CsvSource {
  /** What errors call it. */
  readonly name: string;
  readonly delimiter: string;
  /** Whether fields may stand in quotes. */
  readonly quotes: boolean;
  /** A record of more characters is refused. */
  readonly maxLength: number;
}

/**
 * Where in a field the text stands: `quote` is after a quote inside of a quoted field (another one makes one of the two,
 * otherwise the field is at its end), `return` after a carriage return, which a line feed must follow.
 */
type Place = 'begin' | 'plain' | 'quoted' | 'quote' | 'return';

/**
 * Takes comma-separated values apart as they come (RFC 4180): fields in quotes may hold delimiters, line ends and doubled
 * quotes; records end with CRLF or LF, the last one with the text. An empty line is a record of one empty field.
 */
export class CsvDecoder implements TextDecoding<CsvRecord> {
  readonly #source: CsvSource;
  /** Finds what does not belong to a plain field. */
  readonly #special: RegExp;
  #at: Place = 'begin';
  #fields: string[] = [];
  #lines: number[] = [];
  #field = '';
  #fieldLine = 1;
  #length = 0;
  line = 1;

  constructor(source: CsvSource) {
    this.#source = source;
    const code = source.delimiter.charCodeAt(0).toString(16).padStart(4, '0');
    this.#special = new RegExp(`[\\u${code}\\r\\n${source.quotes ? '"' : ''}]`, 'g');
  }

  *push(text: string): Iterable<CsvRecord> {
    for (let i = 0; i < text.length; ) {
      if (this.#at === 'quoted') i = this.#readQuoted(text, i);
      else if (this.#at === 'begin' || this.#at === 'plain') i = this.#readPlain(text, i);
      if (i < text.length && this.#readSpecial(text[i++]!)) yield this.#endRecord();
    }
  }

  end(): CsvRecord[] {
    if (this.#at === 'quoted') this.#corrupt('a quote opens here that is never closed', this.#fieldLine);
    if (this.#at === 'return') this.#corrupt('no line feed follows a carriage return');
    const isEmpty = this.#at === 'begin' && this.#fields.length === 0;
    return isEmpty ? [] : [this.#endRecord()];
  }

  #readPlain(text: string, from: number): number {
    this.#special.lastIndex = from;
    const to = this.#special.exec(text)?.index ?? text.length;
    if (to > from) {
      this.#take(text.slice(from, to));
      this.#at = 'plain';
    }
    return to;
  }

  #readQuoted(text: string, from: number): number {
    const found = text.indexOf('"', from);
    const to = found < 0 ? text.length : found;
    const part = text.slice(from, to);
    this.#take(part);
    for (let i = part.indexOf('\n'); i >= 0; i = part.indexOf('\n', i + 1)) this.line++;
    return to;
  }

  /** One character where a field may end; whether a record does. */
  #readSpecial(character: string): boolean {
    const { delimiter, quotes } = this.#source;
    if (quotes && character === '"') this.#readQuote();
    else if (this.#at === 'return' && character !== '\n')
      this.#corrupt('no line feed follows a carriage return');
    else if (character === delimiter) this.#endField();
    else if (character === '\r') {
      this.#length++;
      this.#at = 'return';
    } else if (character === '\n') {
      this.line++;
      return true;
    } else this.#corrupt(`${JSON.stringify(character)} follows the quote at the end of a field`);
    return false;
  }

  #readQuote(): void {
    if (this.#at === 'begin') this.#at = 'quoted';
    else if (this.#at === 'quoted') this.#at = 'quote';
    else if (this.#at === 'quote') {
      this.#take('"');
      this.#at = 'quoted';
    } else if (this.#at === 'return') this.#corrupt('no line feed follows a carriage return');
    else
      this.#corrupt(
        'a quote stands in a field that does not begin with one (quotes: false takes it as it is)',
      );
  }

  #take(text: string): void {
    this.#field += text;
    this.#length += text.length;
    if (this.#length > this.#source.maxLength) {
      this.#corrupt(
        `a record has more than the ${this.#source.maxLength} characters that are allowed; raise maxRecordLength if you trust it`,
        this.#lines[0] ?? this.#fieldLine,
      );
    }
  }

  #endField(): void {
    this.#fields.push(this.#field);
    this.#lines.push(this.#fieldLine);
    this.#take('');
    this.#length++;
    this.#field = '';
    this.#fieldLine = this.line;
    this.#at = 'begin';
  }

  #endRecord(): CsvRecord {
    this.#endField();
    const record = { fields: this.#fields, lines: this.#lines };
    this.#fields = [];
    this.#lines = [];
    this.#length = 0;
    return record;
  }

  #corrupt(reason: string, line = this.line): never {
    throw corruptText(this.#source.name, line, reason);
  }
}
