import type { LRPoint } from './lr-finder.js';

const [WIDTH, HEIGHT] = [640, 360];
const [LEFT, RIGHT, TOP, BOTTOM] = [64, 16, 32, 48];

/** The loss over the learning rate, logarithmic, as an SVG document: single losses as dots, the smoothed ones as a line. */
export function curveSvg(points: readonly LRPoint[], suggestion: number | undefined): string {
  const finite = points.filter(({ loss, smoothed }) => Number.isFinite(loss) && Number.isFinite(smoothed));
  const losses = finite.map(({ smoothed }) => smoothed);
  const [low, high] = range(losses);
  const [from, to] = range(finite.map(({ lr }) => Math.log10(lr)));
  const x = (lr: number) => LEFT + ((Math.log10(lr) - from) / (to - from)) * (WIDTH - LEFT - RIGHT);
  const y = (loss: number) =>
    HEIGHT - BOTTOM - ((Math.min(high, Math.max(low, loss)) - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const at = (value: number) => value.toFixed(1);
  const parts: string[] = [];
  for (let decade = Math.ceil(from); decade <= Math.floor(to); decade++) {
    const px = at(x(10 ** decade));
    parts.push(
      line(px, TOP, px, HEIGHT - BOTTOM, '#ddd'),
      text(px, HEIGHT - BOTTOM + 18, 'middle', `1e${decade}`),
    );
  }
  for (let i = 0; i <= 4; i++) {
    const loss = low + ((high - low) * i) / 4;
    parts.push(
      line(LEFT, at(y(loss)), WIDTH - RIGHT, at(y(loss)), '#ddd'),
      text(LEFT - 8, y(loss) + 4, 'end', loss.toPrecision(3)),
    );
  }
  parts.push(
    ...finite.map(({ lr, loss }) => `<circle cx="${at(x(lr))}" cy="${at(y(loss))}" r="2" fill="#9bbbdc"/>`),
    `<polyline fill="none" stroke="#1f5fa8" stroke-width="2" points="${finite.map(({ lr, smoothed }) => `${at(x(lr))},${at(y(smoothed))}`).join(' ')}"/>`,
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, 'middle', 'learning rate'),
    text(8, 18, 'start', 'loss'),
  );
  if (suggestion !== undefined) {
    const px = at(x(suggestion));
    parts.push(
      line(px, TOP, px, HEIGHT - BOTTOM, '#c0392b', ' stroke-dasharray="4 3"'),
      text(x(suggestion) - 6, TOP + 12, 'end', `falls fastest at ${suggestion.toExponential(1)}`),
    );
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>${parts.join('')}</svg>\n`;
}

/** The least and the largest value, apart. */
function range(values: readonly number[]): [least: number, largest: number] {
  const [least, largest] = [Math.min(...values), Math.max(...values)];
  if (values.length === 0) return [0, 1];
  return least < largest ? [least, largest] : [least - 0.5, largest + 0.5];
}

type Coordinate = number | string;

function line(
  x1: Coordinate,
  y1: Coordinate,
  x2: Coordinate,
  y2: Coordinate,
  color: string,
  more = '',
): string {
  return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="${color}"${more}/>`;
}

function text(x: Coordinate, y: Coordinate, anchor: string, content: string): string {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}" fill="#333">${content}</text>`;
}
