// The results as text.

const shorten = (value) => (value >= 1000 ? value.toFixed(0) : value.toPrecision(3));

/** Cells padded to columns, the first two to the left. */
export function align(lines) {
  const widths = lines[0].map((_, i) => Math.max(...lines.map((cells) => cells[i].length)));
  return lines
    .map((cells) => cells.map((cell, i) => (i < 1 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))))
    .map((cells) => cells.join('  ').trimEnd())
    .join('\n');
}

function ratioCell(row, name) {
  const wrong = row.wrong[name] !== undefined;
  const ratio = row.ratios[name];
  if (ratio === undefined) return wrong ? 'wrong' : row.missing.includes(name) ? 'missing' : '–';
  return `${shorten(ratio)} ×${wrong ? ' wrong' : ''}`;
}

const LIMIT = 'of limit';

/** One group: our value, how much of the limit it is, and the ratio to everybody else (above 1: ours is better). */
export function groupTable(rows) {
  const names = [...new Set(rows.flatMap(({ peers, missing }) => [...Object.keys(peers), ...missing]))];
  const limited = rows.some(({ limit }) => limit);
  const head = ['', 'threads', 'drivetrain', ...(limited ? [LIMIT] : []), ...names];
  const lines = rows.map((row) => [
    row.name,
    String(row.threads),
    `${shorten(row.ours)} ${row.unit}${row.wrong.drivetrain ? ' wrong' : ''}`,
    ...(limited ? [row.limit ? `${(row.ratios[row.limit.name] * 100).toFixed(0)} %` : '–'] : []),
    ...names.map((name) => ratioCell(row, name)),
  ]);
  const limits = [...new Set(rows.flatMap(({ limit }) => (limit ? [limit.name] : [])))];
  const legend = limits.length ? `\nLimit: ${limits.join('; ')}.` : '';
  return `${rows[0].group}\n${align([head, ...lines])}${legend}`;
}

export function wrongResults(rows) {
  const lines = rows.flatMap(({ group, name, threads, wrong }) =>
    Object.entries(wrong).map(([who, what]) => `  ${who}, ${group} ${name}, threads ${threads}: ${what}`),
  );
  return lines.length ? ['Wrong results:', ...lines].join('\n') : '';
}

export function targetTable(verdicts) {
  const lines = verdicts.map(({ what, ratio, figure, row, met }) => [
    what,
    `≥ ${ratio} ×`,
    figure === null ? '–' : `${shorten(figure)} ×`,
    met === null ? 'not measured' : met ? 'met' : 'NOT MET',
    row ? `(least: ${row})` : '',
  ]);
  return `Targets\n${align([['', 'wanted', 'found', '', ''], ...lines])}`;
}
