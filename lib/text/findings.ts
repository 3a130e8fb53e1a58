import { PLAIN, paint, type Style } from './style.js';

export interface Finding {
  /** 'ok', worth a thought, or to be mended. */
  readonly status: 'ok' | 'note' | 'problem';
  readonly subject: string;
  readonly found: string;
  /** What to do about it. */
  readonly advice?: string;
}

const MARKS = { ok: '✓', note: '•', problem: '✗' } as const;
const COLOURS = { ok: 'green', note: 'yellow', problem: 'red' } as const;
const WIDTH = 100;

/** How many problems and notes there are, and the findings as a table with what to do below each. */
export function formatFindings(findings: readonly Finding[], style: Style = PLAIN): string {
  const count = (status: Finding['status'], name: string) => {
    const n = findings.filter((finding) => finding.status === status).length;
    return n === 0 ? [] : [`${n} ${name}${n === 1 ? '' : 's'}`];
  };
  const summary = [...count('problem', 'problem'), ...count('note', 'note')].join(', ') || 'all is well';
  const column = Math.max(...findings.map(({ subject }) => subject.length));
  const indent = ' '.repeat(column + 6);
  const rows = findings.flatMap(({ status, subject, found, advice }) => {
    const [first, ...rest] = wrapped(`  ${MARKS[status]} ${subject.padEnd(column)}  `, indent, found);
    return [
      first!.replace(MARKS[status], paint(MARKS[status], COLOURS[status], style)),
      ...rest,
      ...(advice === undefined ? [] : wrapped(`${indent}→ `, `${indent}  `, advice)),
    ];
  });
  return [`drivetrain: ${summary}`, '', ...rows].join('\n');
}

/** A text in lines of at most `WIDTH` characters, where its words allow; its own line feeds stay. */
function wrapped(first: string, indent: string, text: string): string[] {
  const lines: string[] = [];
  let line = first;
  for (const [i, paragraph] of text.split('\n').entries()) {
    if (i > 0) {
      lines.push(line);
      line = indent;
    }
    let empty = true;
    for (const word of paragraph.split(' ')) {
      if (!empty && line.length + 1 + word.length > WIDTH) {
        lines.push(line);
        line = indent;
        empty = true;
      }
      line += empty ? word : ` ${word}`;
      empty = false;
    }
  }
  return [...lines, line];
}
