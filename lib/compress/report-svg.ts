import type { LayerReport } from './quantization-report.js';

const [WIDTH, ROW, TOP, BOTTOM] = [760, 28, 40, 16];
/** Where the columns stand: names end, bars of errors, intervals. */
const [NAMES, ERRORS, ERRORS_END, RANGES, RANGES_END] = [168, 180, 380, 460, 680];

/**
 * Layers as rows: the error as a bar, and on one axis for all layers what a layer's inputs were (thin) and what its integers
 * can stand for (thick), with the share that is clipped.
 */
export function reportSvg(layers: readonly LayerReport[]): string {
  const height = TOP + layers.length * ROW + BOTTOM;
  const worst = Math.max(...layers.map(({ error }) => error)) || 1;
  const ends = layers.flatMap(({ seen, range }) => [...seen, ...(range ?? [])]).filter(Number.isFinite);
  const [low, high] = [Math.min(0, ...ends), Math.max(0, ...ends)];
  const x = (value: number) => RANGES + ((value - low) / (high - low || 1)) * (RANGES_END - RANGES);
  const rows = layers.flatMap((layer, i) => {
    const y = TOP + i * ROW + ROW / 2;
    const { error, seen, range, clipped, kind } = layer;
    const width = (error / worst) * (ERRORS_END - ERRORS);
    const color = kind === 'f32' ? '#999' : '#1f5fa8';
    const note = kind === 'f32' ? 'f32' : `${(100 * error).toPrecision(2)} %`;
    return [
      text(NAMES, y + 4, 'end', escaped(shortened(layer.name === '' ? '(model)' : layer.name))),
      `<rect x="${ERRORS}" y="${y - 7}" width="${width.toFixed(1)}" height="14" fill="${color}"/>`,
      text(ERRORS + width + 6, y + 4, 'start', note),
      ...(range === undefined ? [] : [segment(x(range[0]), x(range[1]), y, 10, '#9bbbdc')]),
      segment(x(seen[0]), x(seen[1]), y, 2, '#1f5fa8'),
      text(
        RANGES_END + 12,
        y + 4,
        'start',
        kind === 'static' ? `${(100 * clipped).toFixed(2)} %` : kind === 'dynamic' ? 'by row' : '',
      ),
    ];
  });
  const zero = x(0).toFixed(1);
  const axis = `<line x1="${zero}" y1="${TOP - 6}" x2="${zero}" y2="${height - BOTTOM + 2}" stroke="#ddd"/>`;
  const head = [
    text(NAMES, 20, 'end', 'layer'),
    text(ERRORS, 20, 'start', 'error of its output'),
    text(RANGES, 20, 'start', `inputs, ${low.toPrecision(3)} to ${high.toPrecision(3)}`),
    text(RANGES_END + 12, 20, 'start', 'clipped'),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>${[axis, ...head, ...rows].join('')}</svg>\n`;
}

function segment(from: number, to: number, y: number, thickness: number, color: string): string {
  return `<line x1="${from.toFixed(1)}" y1="${y}" x2="${to.toFixed(1)}" y2="${y}" stroke="${color}" stroke-width="${thickness}"/>`;
}

function text(x: number, y: number, anchor: string, content: string): string {
  return `<text x="${x.toFixed(1)}" y="${y}" text-anchor="${anchor}" fill="#333">${content}</text>`;
}

/** The end of a long path, which tells more than its beginning. */
function shortened(name: string): string {
  return name.length > 26 ? `…${name.slice(-25)}` : name;
}

function escaped(name: string): string {
  return name.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
