/*
 * What is printed, as functions from data to text: headings, aligned values and tables.
 * Each takes the style of the stream that the text is for (`styleOf()` for standard output) and returns lines joined
 * by line feeds, without one at the end.
 */
import { pad, paint, type Style, styleOf, unpainted, widthOf } from './style.js';

const INDENT = '  ';
const GAP = '  ';

/** A title and a rule across the terminal. */
export function heading(title: string, style: Style = styleOf()): string {
  const rule = '─'.repeat(Math.max(3, style.columns - widthOf(title) - 2));
  return `\n${paint(title, 'bold', style)} ${paint(rule, 'dim', style)}`;
}

/** Names and what they stand for, the values beneath each other; long ones are wrapped between words. */
export function keyValues(
  rows: readonly (readonly [string, string | number])[],
  style: Style = styleOf(),
): string {
  const width = Math.max(0, ...rows.map(([key]) => widthOf(key)));
  const room = Math.max(20, style.columns - INDENT.length - width - GAP.length - 1);
  const hang = ' '.repeat(INDENT.length + width + GAP.length);
  return rows
    .map(([key, value]) => {
      const lines = wrapWords(typeof value === 'number' ? formatNumber(value) : value, room);
      return `${INDENT}${paint(pad(key, width), 'dim', style)}${GAP}${lines.join(`\n${hang}`)}`;
    })
    .join('\n');
}

/**
 * A table with a rule below its header. Columns of numbers stand to the right; where the terminal is too narrow the
 * widest column of words is shortened.
 */
export function table(
  header: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  style: Style = styleOf(),
): string {
  const cells = rows.map((row) => row.map((cell) => (typeof cell === 'number' ? formatNumber(cell) : cell)));
  const numeric = header.map(
    (_, i) =>
      rows.length > 0 && cells.every((row) => /^[-+±\d–—](?!\d*\.[a-z])/i.test(unpainted(row[i] ?? ''))),
  );
  const widths = header.map((title, i) =>
    Math.max(widthOf(title), ...cells.map((row) => widthOf(row[i] ?? ''))),
  );
  fitColumns(widths, numeric, style.columns - 1 - INDENT.length - GAP.length * (header.length - 1));
  const line = (row: readonly string[]) =>
    widths
      .map((width, i) => pad(shorten(row[i] ?? '', width), width, numeric[i] ? 'right' : 'left'))
      .join(GAP);
  const rule = widths.map((width) => '─'.repeat(width)).join('──');
  return [paint(line(header), 'bold', style), paint(rule, 'dim', style), ...cells.map(line)]
    .map((text) => `${INDENT}${text}`.trimEnd())
    .join('\n');
}

/** 1234567 as "1,234,567"; fractions with the digits that they need, at most four. */
export function formatNumber(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 4 });
}

const MIN_COLUMN = 6;

/** Takes columns of words, widest first, down to what fits into `room`. */
function fitColumns(widths: number[], numeric: readonly boolean[], room: number): void {
  for (;;) {
    const excess = widths.reduce((sum, width) => sum + width, 0) - room;
    let widest = -1;
    for (const [i, width] of widths.entries()) {
      if (!numeric[i] && width > MIN_COLUMN && width > (widths[widest] ?? 0)) widest = i;
    }
    if (excess <= 0 || widest < 0) return;
    widths[widest] = widths[widest]! - 1;
  }
}

function shorten(text: string, width: number): string {
  return widthOf(text) <= width ? text : `${[...unpainted(text)].slice(0, width - 1).join('')}…`;
}

function wrapWords(text: string, room: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && widthOf(last) + 1 + widthOf(word) <= room)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
