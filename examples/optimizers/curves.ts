import type { Run } from './train.js';

// One panel a method, all on the same axes: its own loss in colour before those of the others in grey.
const COLUMNS = 3;
const [PANEL_WIDTH, PANEL_HEIGHT] = [300, 170];
const [LEFT, RIGHT, TOP, BOTTOM] = [38, 10, 26, 22];
const [LOW, HIGH] = [1e-3, 3];
const DECADES = [1e-3, 1e-2, 1e-1, 1];

type Point = readonly [x: number, y: number];

/** Training losses over the epochs, logarithmic, as an SVG document. */
export function drawCurves(runs: readonly Run[], epochs: number): string {
  const x = (share: number) => LEFT + share * (PANEL_WIDTH - LEFT - RIGHT);
  const y = (loss: number) => {
    const share = Math.log(Math.min(HIGH, Math.max(LOW, loss)) / LOW) / Math.log(HIGH / LOW);
    return PANEL_HEIGHT - BOTTOM - share * (PANEL_HEIGHT - TOP - BOTTOM);
  };
  const points = ({ losses }: Run) =>
    losses.map((loss, i): Point => [x((i + 0.5) / losses.length), y(loss)]);
  const curves = runs.map(points);
  const frame = [
    ...DECADES.map(
      (loss) => line([x(0), y(loss)], [x(1), y(loss)]) + text([LEFT - 5, y(loss) + 3.5], `${loss}`, 'end'),
    ),
    ...Array.from({ length: epochs + 1 }, (_, epoch) => {
      const at = x(epoch / epochs);
      return line([at, y(LOW)], [at, y(LOW) + 3]) + text([at, y(LOW) + 14], `${epoch}`, 'middle');
    }),
    ...curves.map((curve) => polyline(curve, '#ddd', 1)),
  ].join('');
  const panels = runs.map((run, i) => {
    const [left, top] = [(i % COLUMNS) * PANEL_WIDTH, Math.floor(i / COLUMNS) * PANEL_HEIGHT];
    const accuracy = `${(100 * run.accuracies.at(-1)!).toFixed(2)} %`;
    return `<g transform="translate(${left} ${top})"><use href="#frame"/>${[
      text([LEFT, 17], run.name, 'start', 'font-weight="bold" font-size="12"'),
      text([PANEL_WIDTH - RIGHT, 17], accuracy, 'end', 'font-size="12"'),
      polyline(curves[i]!, '#1f5fa8', 2),
    ].join('')}</g>`;
  });
  const [width, height] = [COLUMNS * PANEL_WIDTH, Math.ceil(runs.length / COLUMNS) * PANEL_HEIGHT + 24];
  const caption = text(
    [width / 2, height - 8],
    'training loss over epochs (logarithmic), every other method in grey; in the corner, accuracy on the test digits',
    'middle',
    'font-size="12"',
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="10"><defs><g id="frame">${frame}</g></defs><rect width="100%" height="100%" fill="#fff"/>${panels.join('\n')}${caption}</svg>\n`;
}

const at = (value: number) => value.toFixed(1);

function polyline(points: readonly Point[], color: string, width: number): string {
  const path = points.map((point) => point.map(at).join(',')).join(' ');
  return `<polyline fill="none" stroke="${color}" stroke-width="${width}" stroke-linejoin="round" points="${path}"/>`;
}

function line([x1, y1]: Point, [x2, y2]: Point): string {
  return `<line x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}" stroke="#eee"/>`;
}

function text([x, y]: Point, content: string, anchor: string, more = ''): string {
  return `<text x="${at(x)}" y="${at(y)}" text-anchor="${anchor}" fill="#333" ${more}>${content}</text>`;
}
