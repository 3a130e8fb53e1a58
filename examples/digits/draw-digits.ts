import { pad, type Style, styleOf, widthOf } from '#text';

/** MNIST's images: SIDE rows of SIDE pixels, 0 (paper) to 255 (ink). */
const SIDE = 28;

const INDENT = '  ';
const GAP = '  ';
/** Fainter pixels do not count as ink when the margins are cut off. */
const FAINT = 32;

/** A rectangle of pixels; it may reach beyond the image, where there is paper. */
interface Frame {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/**
 * Digits side by side, as many in a row as the terminal is wide, with a caption below each.
 *
 * A character shows two pixels, one above the other: with colours as the upper half block in the colour of the upper
 * pixel on the colour of the lower one, otherwise as a shade of their mean. Each digit stands in the middle of a
 * frame that is as large as the largest of them needs.
 */
export function drawDigits(
  images: readonly Uint8Array[],
  captions: readonly string[],
  style: Style = styleOf(),
): string {
  const frames = framesOf(images);
  const drawn = images.map((image, i) => draw(image, frames[i]!, style));
  const width = Math.max(0, ...frames.map((frame) => frame.width), ...captions.map(widthOf));
  const perRow = Math.max(1, Math.floor((style.columns - INDENT.length) / (width + GAP.length)));
  const blocks: string[] = [];
  for (let first = 0; first < images.length; first += perRow) {
    const cells = drawn
      .slice(first, first + perRow)
      .map((lines, i) => [...lines, captions[first + i] ?? ''].map((line) => pad(line, width, 'centre')));
    blocks.push(
      cells[0]!
        .map(
          (_, y) =>
            INDENT +
            cells
              .map((cell) => cell[y])
              .join(GAP)
              .trimEnd(),
        )
        .join('\n'),
    );
  }
  return blocks.join('\n\n');
}

/** For each image a frame round the middle of its ink; all are as wide and high as the largest, and a margin. */
function framesOf(images: readonly Uint8Array[]): Frame[] {
  const inks = images.map(inkOf);
  const width = Math.max(0, ...inks.map((ink) => ink.width)) + 2;
  const height = 2 * Math.ceil((Math.max(0, ...inks.map((ink) => ink.height)) + 2) / 2);
  return inks.map((ink) => ({
    left: ink.left - Math.floor((width - ink.width) / 2),
    top: ink.top - Math.floor((height - ink.height) / 2),
    width,
    height,
  }));
}

/** The smallest frame that holds the ink. */
function inkOf(image: Uint8Array): Frame {
  let [left, top, right, bottom] = [SIDE, SIDE, 0, 0];
  for (let i = 0; i < SIDE * SIDE; i++) {
    if (image[i]! <= FAINT) continue;
    const [x, y] = [i % SIDE, Math.floor(i / SIDE)];
    left = Math.min(left, x);
    right = Math.max(right, x + 1);
    top = Math.min(top, y);
    bottom = Math.max(bottom, y + 1);
  }
  if (right === 0) return { left: 0, top: 0, width: SIDE, height: SIDE };
  return { left, top, width: right - left, height: bottom - top };
}

/** The lines of one digit, each as many columns as the frame is wide. */
function draw(image: Uint8Array, { left, top, width, height }: Frame, style: Style): string[] {
  const pixel = (x: number, y: number) =>
    x < 0 || y < 0 || x >= SIDE || y >= SIDE ? 0 : image[y * SIDE + x]!;
  const column = (x: number, y: number): [number, number] => [pixel(x, y), pixel(x, y + 1)];
  const row = style.colours >= 256 ? colouredRow : shadedRow;
  return Array.from({ length: height / 2 }, (_, line) => {
    const y = top + 2 * line;
    return row(
      Array.from({ length: width }, (_, x) => column(left + x, y)),
      style,
    );
  });
}

const SHADES = ' ░▒▓█';

function shadedRow(pairs: readonly [number, number][]): string {
  return pairs
    .map(([upper, lower]) => SHADES[Math.round(((upper + lower) / 510) * (SHADES.length - 1))])
    .join('');
}

function colouredRow(pairs: readonly [number, number][], style: Style): string {
  let row = '';
  let before = '';
  for (const pair of pairs) {
    const [upper, lower] = [colourOf(pair[0], style), colourOf(pair[1], style)];
    const colours = `\x1b[38;${upper};48;${lower}m`;
    row += `${colours === before ? '' : colours}${upper === lower ? ' ' : '▀'}`;
    before = colours;
  }
  return `${row}\x1b[0m`;
}

/** From paper to ink, in sRGB: night blue, sea, warm white. */
const INK: readonly (readonly [number, number, number])[] = [
  [16, 20, 34],
  [38, 84, 124],
  [146, 190, 196],
  [255, 250, 235],
];

/** The parameters of SGR 38 and 48 for a pixel: 24-bit, or one of the 24 greys from 232 on in the palette of 256. */
function colourOf(pixel: number, { colours }: Style): string {
  if (colours === 256) return `5;${232 + Math.round((pixel / 255) * 23)}`;
  const position = (pixel / 255) * (INK.length - 1);
  const lower = Math.min(INK.length - 2, Math.floor(position));
  const share = position - lower;
  const channels = INK[lower]!.map((from, i) => Math.round(from + share * (INK[lower + 1]![i]! - from)));
  return `2;${channels.join(';')}`;
}
