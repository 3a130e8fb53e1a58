import { inspect } from '../native/index.js';
import type { ChainAttrs, MatmulAttrs, Opcode } from '../ops/index.js';
import { DTYPES, type DType, formatShape, type Storage, type Tensor } from '../tensor/index.js';
import { isRecomputed } from './checkpoint.js';
import { flopsOf } from './flops.js';
import type { MemoryReport } from './plan.js';
import type { Footprint } from './program.js';
import type { Step } from './record.js';

export interface ExplainedOperand {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** `input 0`, `result 0`, `captured 0`, or the first byte in the program's arena: `arena +64`. */
  readonly place: string;
}

export interface ExplainedInstruction {
  readonly op: Opcode;
  /**
   * What is done with a product before it is stored, in this order: `scale`, `bias`, `relu`, `gelu`, `residual`; of a
   * `chain`, the ops that it consists of.
   */
  readonly fused: readonly string[];
  /** Until `commit` a run may still end without having changed anything. */
  readonly section: 'compute' | 'commit';
  /** Whether it is computed for the second time, because of `checkpoint`. */
  readonly recomputed: boolean;
  readonly reads: readonly ExplainedOperand[];
  readonly writes: readonly ExplainedOperand[];
  /** Of the elements that it reads and writes. */
  readonly bytes: number;
  /** Floating-point operations, two for a multiply-add: exact for products and attention, else estimated by elements. */
  readonly flops: number;
  /** Measured, the least of several runs; absent where nothing was measured. */
  readonly microseconds?: number;
  /** The line of the compiled function that recorded it, with DRIVETRAIN_DEBUG=1. */
  readonly line?: string;
}

/** What a program consists of: as data, and as a table where it is printed. */
export class Explanation {
  readonly instructions: readonly ExplainedInstruction[];
  readonly memory: MemoryReport;
  readonly footprint: Footprint;

  constructor(instructions: readonly ExplainedInstruction[], memory: MemoryReport, footprint: Footprint) {
    this.instructions = instructions;
    this.memory = memory;
    this.footprint = footprint;
  }

  /** Of all instructions together. */
  get flops(): number {
    return total(this.instructions, ({ flops }) => flops);
  }

  /** Of all instructions together; undefined where nothing was measured. */
  get microseconds(): number | undefined {
    const measured = this.instructions.every(({ microseconds }) => microseconds !== undefined);
    return measured ? total(this.instructions, ({ microseconds }) => microseconds!) : undefined;
  }

  toString(): string {
    return format(this);
  }

  [inspect.custom](): string {
    return format(this);
  }
}

/** The instructions of `steps`, the first `commitStart` of which only compute. */
export function explainSteps(
  steps: readonly Step[],
  commitStart: number,
  placeOf: (storage: Storage) => string,
  nanoseconds: Float64Array | undefined,
): ExplainedInstruction[] {
  const operand = ({ dtype, shape, storage }: Tensor) => ({ dtype, shape, place: placeOf(storage) });
  return steps.map((step, i) => {
    const { op, inputs, outputs, line } = step;
    const written = inputs.filter((_, k) => op.writes?.(k));
    return {
      op: op.name,
      fused: fusedInto(step),
      section: i < commitStart ? 'compute' : 'commit',
      recomputed: isRecomputed(step),
      reads: inputs.filter((_, k) => !op.writes?.(k)).map(operand),
      writes: [...written, ...outputs].map(operand),
      bytes: total([...inputs, ...outputs], bytesOf),
      flops: flopsOf(step),
      ...(nanoseconds && { microseconds: nanoseconds[i]! / 1000 }),
      ...(line !== undefined && { line }),
    };
  });
}

function fusedInto({ op, attrs }: Step): string[] {
  if (op.name === 'chain') return (attrs as ChainAttrs).nodes.map((node) => node.op);
  if (op.name !== 'matmul' && op.name !== 'matmulInt8') return [];
  const { alpha = 1, hasBias, activation, hasResidual } = attrs as Partial<MatmulAttrs>;
  return [
    ...(alpha === 1 ? [] : ['scale']),
    ...(hasBias ? ['bias'] : []),
    ...(activation === undefined || activation === 'none' ? [] : [activation]),
    ...(hasResidual ? ['residual'] : []),
  ];
}

/** Of the elements that are in memory: broadcasting repeats them. */
function bytesOf({ dtype, shape, strides }: Tensor): number {
  return shape.reduce((n, dimension, i) => (strides[i] === 0 ? n : n * dimension), DTYPES[dtype].bytes);
}

function total<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((sum, item) => sum + value(item), 0);
}

/** Operands of one kind that a row shows; an optimizer's step has five for each parameter. */
const MAX_SHOWN = 4;

function format({ instructions, memory, footprint, flops, microseconds }: Explanation): string {
  const columns = ['', 'op', 'reads → writes', 'where', 'bytes', 'FLOP'];
  if (microseconds !== undefined) columns.push('µs', '%');
  const lined = instructions.some(({ line }) => line !== undefined);
  if (lined) columns.push('recorded at');
  const rows = instructions.map((one, i) => [
    `${i}`,
    `${nameOf(one)}${one.recomputed ? ' (again)' : ''}`,
    `${operands(one.reads)} → ${operands(one.writes, one.reads.at(-1)?.dtype)}`.trimStart(),
    places(one),
    quantity(one.bytes),
    one.flops === 0 ? '' : quantity(one.flops),
    ...(microseconds === undefined
      ? []
      : [one.microseconds!.toFixed(1), ((100 * one.microseconds!) / microseconds).toFixed(0)]),
    ...(lined ? [one.line ?? ''] : []),
  ]);
  const widths = columns.map((name, c) => Math.max(name.length, ...rows.map((row) => row[c]!.length)));
  const right = (c: number) => c === 0 || (c > 3 && !(lined && c === columns.length - 1));
  const line = (row: readonly string[]) =>
    row
      .map((cell, c) => (right(c) ? cell.padStart(widths[c]!) : cell.padEnd(widths[c]!)))
      .join('  ')
      .trimEnd();
  const width = Math.min(100, total(widths, (w) => w + 2) - 2);
  const commit = instructions.findIndex(({ section }) => section === 'commit');
  const table = rows.map(line);
  if (commit >= 0)
    table.splice(commit, 0, '── commit: from here on the run ends as a whole '.padEnd(width, '─'));
  const time =
    microseconds === undefined
      ? ''
      : `, ${microseconds.toFixed(1)} µs (${quantity(flops / (microseconds * 1e-6))}FLOP/s)`;
  const { planned, naive, reuse } = memory;
  return [
    `${instructions.length} instructions, ${quantity(flops)}FLOP${time}`,
    '',
    line(columns),
    ...table,
    '',
    `temporaries  ${quantity(planned)}B planned; ${quantity(naive)}B with memory of their own each (${reuse.toFixed(2)})`,
    `beside them  ${quantity(footprint.inputs)}B of inputs, ${quantity(footprint.outputs)}B of results, ${quantity(footprint.captured)}B captured`,
  ].join('\n');
}

function nameOf({ op, fused }: ExplainedInstruction): string {
  return op === 'chain' ? `chain: ${fused.join(', ')}` : [op, ...fused].join(' + ');
}

/** A dtype is named where it is another one than before. */
function operands(list: readonly ExplainedOperand[], before?: DType): string {
  const shown = list.slice(0, list.length > MAX_SHOWN ? MAX_SHOWN - 1 : MAX_SHOWN);
  const texts = shown.map(({ dtype, shape }, i) =>
    dtype === (list[i - 1]?.dtype ?? before) ? formatShape(shape) : `${dtype} ${formatShape(shape)}`,
  );
  if (shown.length < list.length) texts.push(`${list.length - shown.length} more`);
  return texts.join(', ');
}

/** Where the results go, and whether they take the place of what was read. */
function places({ reads, writes }: ExplainedInstruction): string {
  const [first] = writes;
  if (first === undefined) return '';
  const inPlace = first.place.startsWith('arena') && reads[0]?.place === first.place ? ', in place' : '';
  const more = writes.length > 1 ? `, ${writes.length - 1} more` : '';
  return `${first.place}${inPlace}${more}`;
}

/** Three digits and a prefix: 1.23 M. */
function quantity(value: number): string {
  const prefixes = ['', 'k', 'M', 'G', 'T', 'P'];
  let at = 0;
  let scaled = value;
  while (scaled >= 999.5 && at < prefixes.length - 1) {
    scaled /= 1000;
    at++;
  }
  const digits = at === 0 ? `${Math.round(scaled)}` : scaled.toPrecision(3);
  return `${digits} ${prefixes[at]}`;
}
