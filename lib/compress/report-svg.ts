import type { LayerReport } from './quantization-report.js';

const [ROW, TOP, BOTTOM] = [28, 40, 16];
/** The widths of the columns: bars of errors, what they say, intervals, shares. */
const [ERRORS, NOTES, RANGES, SHARES] = [200, 80, 220, 80];
/** The most characters of a name, and how wide one is at most, on the average. */
const [NAME, CHARACTER] = [40, 7];

/**
 * Layers as rows: the error as a bar, and on one axis for all layers what a layer's inputs were (thin) and what its integers
 * can stand for (thick), with the share that is clipped.
 */
export function reportSvg(layers: readonly LayerReport[]): string {
  const names = layers.map(({ name }) => shortened(name === '' ? '(model)' : name));
  const named = 24 + CHARACTER * Math.max(...names.map(({ length }) => length), 5);
  const errors = named + 12;
  const [ranges, rangesEnd] = [errors + ERRORS + NOTES, errors + ERRORS + NOTES + RANGES];
  const width = rangesEnd + SHARES;
  const height = TOP + layers.length * ROW + BOTTOM;
  const worst = Math.max(...layers.map(({ error }) => error)) || 1;
  const ends = layers.flatMap(({ seen, range }) => [...seen, ...(range ?? [])]).filter(Number.isFinite);
  const [low, high] = [Math.min(0, ...ends), Math.max(0, ...ends)];
  const x = (value: number) => ranges + ((value - low) / (high - low || 1)) * RANGES;
  const rows = layers.flatMap((layer, i) => {
    const y = TOP + i * ROW + ROW / 2;
    const { error, seen, range, clipped, kind } = layer;
    const length = (error / worst) * ERRORS;
    const color = kind === 'f32' ? '#999' : '#1f5fa8';
    const note = kind === 'f32' ? 'f32' : `${(100 * error).toPrecision(2)} %`;
    return [
      text(named, y + 4, 'end', escaped(names[i]!)),
      `<rect x="${errors}" y="${y - 7}" width="${length.toFixed(1)}" height="14" fill="${color}"/>`,
      text(errors + length + 6, y + 4, 'start', note),
      ...(range === undefined ? [] : [segment(x(range[0]), x(range[1]), y, 10, '#9bbbdc')]),
      segment(x(seen[0]), x(seen[1]), y, 2, '#1f5fa8'),
      text(
        rangesEnd + 12,
        y + 4,
        'start',
        kind === 'static' ? `${(100 * clipped).toFixed(2)} %` : kind === 'dynamic' ? 'by row' : '',
      ),
    ];
  });
  const zero = x(0).toFixed(1);
  const axis = `<line x1="${zero}" y1="${TOP - 6}" x2="${zero}" y2="${height - BOTTOM + 2}" stroke="#ddd"/>`;
  const head = [
    text(named, 20, 'end', 'layer'),
    text(errors, 20, 'start', 'error of its output'),
    text(ranges, 20, 'start', `inputs, ${low.toPrecision(3)} to ${high.toPrecision(3)}`),
    text(rangesEnd + 12, 20, 'start', 'clipped'),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>${[axis, ...head, ...rows].join('')}</svg>\n`;
}

function segment(from: number, to: number, y: number, thickness: number, color: string): string {
  return `<line x1="${from.toFixed(1)}" y1="${y}" x2="${to.toFixed(1)}" y2="${y}" stroke="${color}" stroke-width="${thickness}"/>`;
}

function text(x: number, y: number, anchor: string, content: string): string {
  return `<text x="${x.toFixed(1)}" y="${y}" text-anchor="${anchor}" fill="#333">${content}</text>`;
}

/** The beginning and the end of a long path. */
function shortened(name: string): string {
  return name.length > NAME ? `${name.slice(0, NAME / 2)}…${name.slice(1 - NAME / 2)}` : name;
}

function escaped(name: string): string {
  return name.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
