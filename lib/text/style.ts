/** How a stream takes text. */
export interface Style {
  /** Colours that it shows; 0 where none are wanted. */
  readonly colours: 0 | 16 | 256 | 16_777_216;
  /** Characters in a line. */
  readonly columns: number;
}

/** No colours, and the usual width. */
export const PLAIN: Style = { colours: 0, columns: 100 };

/** What of a stream matters here: `process.stdout`, or a stand-in. */
export interface Output {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const COLOUR_LEVELS = [0, 16, 256, 16_777_216] as const;

/**
 * Colours only on a terminal and without NO_COLOR (no-color.org); FORCE_COLOR overrides both, as Node has it: 0 none,
 * 1 or empty 16, 2 256, 3 all. Asked anew for each piece of output, since a terminal may be resized.
 */
export function styleOf(output: Output = process.stdout, env: NodeJS.ProcessEnv = process.env): Style {
  const interactive = output.isTTY === true && env.TERM !== 'dumb';
  return { colours: coloursOf(interactive, env), columns: output.columns || PLAIN.columns };
}

function coloursOf(interactive: boolean, env: NodeJS.ProcessEnv): Style['colours'] {
  const forced = env.FORCE_COLOR;
  if (forced !== undefined) {
    if (forced === 'false') return 0;
    if (forced === '') return 16;
    return COLOUR_LEVELS[Number(forced)] ?? 16;
  }
  if (!interactive || env.NO_COLOR) return 0;
  if (/^(truecolor|24bit)$/.test(env.COLORTERM ?? '')) return 16_777_216;
  return /256|kitty|alacritty|ghostty/.test(env.TERM ?? '') || process.platform === 'win32' ? 256 : 16;
}

/** Select Graphic Rendition codes (ECMA-48, 8.3.117): on and off. */
const SGR = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
} as const;

/** The text in a colour or weight, or as it is where the style has none. */
export function paint(text: string, kind: keyof typeof SGR, { colours }: Style): string {
  const [on, off] = SGR[kind];
  return colours === 0 || text === '' ? text : `\x1b[${on}m${text}\x1b[${off}m`;
}

const ESCAPES = new RegExp(`${String.fromCharCode(0x1b)}\\[[0-9;]*m`, 'g');

/** The text without its escape sequences. */
export function unpainted(text: string): string {
  return text.replace(ESCAPES, '');
}

/** A text from elsewhere with no character that could act on a terminal: those are shown as JSON would write them. */
export function escaped(text: string): string {
  return text.replace(
    /[\p{Control}\p{Bidi_Control}\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Columns that the text takes; each character outside an escape sequence counts as one. */
export function widthOf(text: string): number {
  return [...unpainted(text)].length;
}

export type Alignment = 'left' | 'right' | 'centre';

/** Fills with spaces up to `width` columns. */
export function pad(text: string, width: number, alignment: Alignment = 'left'): string {
  const missing = Math.max(0, width - widthOf(text));
  const before = alignment === 'left' ? 0 : alignment === 'right' ? missing : Math.floor(missing / 2);
  return ' '.repeat(before) + text + ' '.repeat(missing - before);
}
