import { inspect } from 'node:util';
import type { DeviceInfo } from '../native/index.js';
import type { MemoryPoolStatistics } from '../tensor/index.js';
import type { Numbers } from './numbers.js';
import type { TrainingMetrics } from './training-metrics.js';

export interface Finding {
  /** 'ok', worth a thought, or to be mended. */
  readonly status: 'ok' | 'note' | 'problem';
  readonly subject: string;
  readonly found: string;
  /** What to do about it. */
  readonly advice?: string;
}

/** What stands behind the findings. */
export interface DiagnosisData {
  readonly device: DeviceInfo;
  readonly pools: Readonly<Record<string, MemoryPoolStatistics>>;
  /** By the names of the tensors that were looked at. */
  readonly numbers: Readonly<Record<string, Numbers>>;
  /** Of the monitor, where one was given. */
  readonly training: TrainingMetrics | undefined;
}

const MARKS = { ok: '✓', note: '•', problem: '✗' } as const;
const WIDTH = 100;

/** What `diagnose` found: as data, and as a table where it is printed. */
export class Diagnosis {
  readonly findings: readonly Finding[];
  readonly data: DiagnosisData;

  constructor(findings: readonly Finding[], data: DiagnosisData) {
    this.findings = findings;
    this.data = data;
  }

  toString(): string {
    const count = (status: Finding['status'], name: string) => {
      const n = this.findings.filter((finding) => finding.status === status).length;
      return n === 0 ? [] : [`${n} ${name}${n === 1 ? '' : 's'}`];
    };
    const summary = [...count('problem', 'problem'), ...count('note', 'note')].join(', ') || 'all is well';
    const column = Math.max(...this.findings.map(({ subject }) => subject.length));
    const indent = ' '.repeat(column + 6);
    const rows = this.findings.flatMap(({ status, subject, found, advice }) => [
      ...wrapped(`  ${MARKS[status]} ${subject.padEnd(column)}  `, indent, found),
      ...(advice === undefined ? [] : wrapped(`${indent}→ `, `${indent}  `, advice)),
    ]);
    return [`drivetrain: ${summary}`, '', ...rows].join('\n');
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/** A text in lines of at most `WIDTH` characters, where its words allow. */
function wrapped(first: string, indent: string, text: string): string[] {
  const lines: string[] = [];
  let line = first;
  let empty = true;
  for (const word of text.split(' ')) {
    if (!empty && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = indent;
      empty = true;
    }
    line += empty ? word : ` ${word}`;
    empty = false;
  }
  return [...lines, line];
}
