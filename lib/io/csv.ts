import { DrivetrainError, inspect } from '../native/index.js';
import { checkOptions } from '../tensor/index.js';
import { CsvDecoder, type CsvRecord, type CsvSource } from './csv-decoder.js';
import { checkRecordLength, corruptText, readRecords, type TextDecoding } from './text.js';

/**
 * What the text of a field becomes: `number` takes decimals, `nan`, `inf`, and an empty field as NaN; `integer` whole numbers
 * up to 2^53 − 1; `boolean` true, false, 1 and 0. A function's error makes the field unsound.
 */
export type CsvType = 'string' | 'number' | 'integer' | 'boolean' | ((text: string) => unknown);

export type CsvValue<T extends CsvType> = T extends (text: string) => infer R
  ? R
  : T extends 'string'
    ? string
    : T extends 'boolean'
      ? boolean
      : number;

/** A record by the names of its columns; strings where no columns were given. */
export type CsvRow<C extends Readonly<Record<string, CsvType>>> = string extends keyof C
  ? Record<string, string>
  : { -readonly [K in keyof C]: CsvValue<C[K]> };

export interface CsvOptions<C extends Readonly<Record<string, CsvType>>> {
  /** The columns that are wanted, and their types; all as strings unless given. */
  columns?: C;
  /** The names of all columns, for a file that does not begin with them. */
  header?: readonly string[];
  /** One character; a comma unless given, `'\t'` for tab-separated values. */
  delimiter?: string;
  /** Whether fields may stand in quotes; true unless given. */
  quotes?: boolean;
  /** A record of more characters is refused; 2^24 unless given. */
  maxRecordLength?: number;
}

type Columns = Readonly<Record<string, CsvType>>;

/**
 * The records of a file of comma-separated values (RFC 4180, UTF-8), read as they are asked for, by the names in its first
 * one. Empty lines are passed over, unless there is one column. Throws `DT_CORRUPT_FILE`, naming file, line and column;
 * `DT_INVALID_ARGUMENT`, `DT_NOT_FOUND`, `DT_IO`.
 */
export function readCsv<C extends Columns>(
  path: string,
  options: CsvOptions<C> = {},
): AsyncGenerator<CsvRow<C>, void, undefined> {
  return readRecords<CsvRow<C>>(path, new RowDecoder<C>(path, options));
}

/** The records of comma-separated values in a text, as `readCsv` gives those of a file. */
export function parseCsv<C extends Columns>(
  text: string,
  options: CsvOptions<C> = {},
  name = 'The text',
): CsvRow<C>[] {
  const decoder = new RowDecoder<C>(name, options);
  return [...decoder.push(text.replace(/^\ufeff/, '')), ...decoder.end()];
}

interface Column {
  readonly name: string;
  readonly index: number;
  readonly type: CsvType;
}

/** Makes rows of records: names, chosen columns, types. */
class RowDecoder<C extends Columns> implements TextDecoding<CsvRow<C>> {
  readonly #name: string;
  readonly #records: CsvDecoder;
  readonly #types: C | undefined;
  #header: readonly string[] | undefined;
  #columns: readonly Column[] = [];

  constructor(name: string, options: CsvOptions<C>) {
    this.#name = name;
    this.#records = new CsvDecoder(checkCsvOptions(name, options));
    this.#types = options.columns;
    if (options.header !== undefined) this.#begin(options.header, 1);
  }

  get line(): number {
    return this.#records.line;
  }

  *push(text: string): Iterable<CsvRow<C>> {
    for (const record of this.#records.push(text)) yield* this.#rowOf(record);
  }

  *end(): Iterable<CsvRow<C>> {
    for (const record of this.#records.end()) yield* this.#rowOf(record);
    if (this.#header === undefined)
      throw corruptText(this.#name, 1, 'it is empty, without the names of its columns');
  }

  #begin(header: readonly string[], line: number): void {
    const twice = header.find((name, i) => header.indexOf(name) !== i);
    if (twice !== undefined) throw corruptText(this.#name, line, `two columns are called ${quoted(twice)}`);
    const types: Columns = this.#types ?? Object.fromEntries(header.map((name) => [name, 'string']));
    this.#columns = Object.entries(types).map(([name, type]) => {
      const index = header.indexOf(name);
      if (index >= 0) return { name, index, type };
      throw corruptText(
        this.#name,
        line,
        `it has no column ${quoted(name)} among ${header.map(quoted).join(', ')}`,
      );
    });
    this.#header = header;
  }

  /** The row of a record in an array; none for the header and empty lines. */
  #rowOf({ fields, lines }: CsvRecord): CsvRow<C>[] {
    if (this.#header === undefined) {
      this.#begin(fields, lines[0]!);
      return [];
    }
    const { length } = this.#header;
    if (fields.length !== length) {
      if (fields.length === 1 && fields[0] === '') return [];
      throw corruptText(this.#name, lines[0]!, `it has ${fields.length} fields, not ${length} as the header`);
    }
    const convert = ({ name, index, type }: Column) => {
      const text = fields[index]!;
      try {
        return [name, typeof type === 'function' ? type(text) : CONVERSIONS[type](text)];
      } catch (error) {
        const at = `column ${index + 1} (${quoted(name)})`;
        const reason = `${at} has ${quoted(text)}, ${(error as Error).message}`;
        throw corruptText(this.#name, lines[index]!, reason, error);
      }
    };
    return [Object.fromEntries(this.#columns.map(convert)) as CsvRow<C>];
  }
}

/** Text from a file, as errors show it. */
const quoted = (text: string) => JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const SPECIAL = /^([+-]?)(?:(inf|infinity)|nan)$/i;

function unlike(expected: string): never {
  throw new Error(`which is not ${expected}`);
}

const CONVERSIONS: Readonly<Record<Exclude<CsvType, (text: string) => unknown>, (text: string) => unknown>> =
  {
    string: (text) => text,
    number: (text) => {
      const trimmed = text.trim();
      if (DECIMAL.test(trimmed)) return Number(trimmed);
      if (trimmed === '') return NaN;
      const [, sign, infinite] = SPECIAL.exec(trimmed) ?? unlike('a number');
      return infinite === undefined ? NaN : sign === '-' ? -Infinity : Infinity;
    },
    integer: (text) => {
      const value = /^\s*[+-]?\d+\s*$/.test(text) ? Number(text) : NaN;
      return Number.isSafeInteger(value) ? value : unlike('a whole number within ±(2^53 − 1)');
    },
    boolean: (text) => {
      const trimmed = text.trim().toLowerCase();
      if (trimmed === 'true' || trimmed === '1') return true;
      return trimmed === 'false' || trimmed === '0' ? false : unlike('true, false, 1 or 0');
    },
  };

function checkCsvOptions<C extends Columns>(name: string, options: CsvOptions<C>): CsvSource {
  checkOptions('readCsv', options, ['columns', 'header', 'delimiter', 'quotes', 'maxRecordLength']);
  const { columns = {}, header, delimiter = ',', quotes = true, maxRecordLength } = options;
  const refuse = (expected: string, received: unknown) => {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected ${expected} for readCsv but received ${inspect(received)}.`,
    );
  };
  if (typeof delimiter !== 'string' || !/^[^"\r\n]$/.test(delimiter))
    refuse('one character that is no quote and no line end as delimiter', delimiter);
  if (typeof quotes !== 'boolean') refuse('true or false as quotes', quotes);
  if (header !== undefined && !(Array.isArray(header) && header.every((one) => typeof one === 'string')))
    refuse('an array of names as header', header);
  for (const [column, type] of Object.entries(columns)) {
    if (typeof type === 'function' || Object.hasOwn(CONVERSIONS, type as string)) continue;
    refuse(`${Object.keys(CONVERSIONS).join(', ')} or a function as type of column ${column}`, type);
  }
  return { name, delimiter, quotes, maxLength: checkRecordLength(maxRecordLength) };
}
