import { cpus } from 'node:os';
import { type DeviceInfo, device, type TypedArray } from '../native/index.js';
import {
  checkOptions,
  defaultPool,
  type MemoryPool,
  type MemoryPoolStatistics,
  Tensor,
  wrap,
} from '../tensor/index.js';
import { bytes, type Finding, percent } from '../text/index.js';
import { Diagnosis } from './diagnosis.js';
import { lookAt, type Numbers } from './numbers.js';
import { stateTensors } from './state-tensors.js';
import type { TrainingMetrics } from './training-metrics.js';
import type { MonitoredOptimizer, TrainingMonitor } from './training-monitor.js';

export interface DiagnoseOptions {
  /** Tells where time goes, and which optimizer and pools to look at. */
  monitor?: TrainingMonitor;
  /** Its parameters and state are searched for denormals, NaN and infinity. */
  optimizer?: MonitoredOptimizer;
  /** So are these. */
  tensors?: Readonly<Record<string, Tensor | TypedArray>>;
  /** Memory pools by name; those of the monitor, or `{ default: defaultPool }`, unless given. */
  pools?: Readonly<Record<string, MemoryPool>>;
}

/** Free memory in pieces is worth a word from so many bytes on, and from this share outside of the largest piece. */
const FRAGMENTED = { bytes: 64 * 2 ** 20, share: 0.75 };
/** The share of a pool's limit in use. */
const FULL = 0.9;
/** The share of the threads that training keeps busy. */
const BUSY = 0.6;

/**
 * Looks for what makes training slow or wrong: the instruction set, threads, memory pools, odd numbers, where time goes.
 * Prints as a table. Looks at every element of the tensors in pieces, and lets the event loop turn between them.
 */
export async function diagnose(options: DiagnoseOptions = {}): Promise<Diagnosis> {
  checkOptions('diagnose', options, ['monitor', 'optimizer', 'tensors', 'pools']);
  const { monitor, optimizer = monitor?.optimizer, tensors = {} } = options;
  const pools = options.pools ?? monitor?.pools ?? { default: defaultPool };
  const info = device.info();
  const statistics = Object.fromEntries(Object.entries(pools).map(([name, pool]) => [name, pool.statistics]));
  const numbers: Record<string, Numbers> = {};
  for (const [name, tensor] of Object.entries({ ...tensorsOf(optimizer), ...tensors })) {
    numbers[name] = await lookAt(tensor instanceof Tensor ? tensor : wrap(tensor));
  }
  const training = monitor?.metrics;
  const findings = [
    instructionSet(info),
    threads(info),
    ...Object.entries(pools).map(([name, pool]) => memory(name, statistics[name]!, pool.limit)),
    ...(Object.keys(numbers).length === 0 ? [] : oddNumbers(numbers)),
    ...(training === undefined ? [] : time(training, info)),
    ...(monitor?.health().reasons ?? []).map(
      ({ status, code, message }): Finding => ({
        status: status === 'critical' ? 'problem' : 'note',
        subject: 'health',
        found: code,
        advice: message,
      }),
    ),
  ];
  return new Diagnosis(findings, { device: info, pools: statistics, numbers, training });
}

/** Parameters by name and state by name. */
function tensorsOf(optimizer: MonitoredOptimizer | undefined): Record<string, Tensor> {
  if (optimizer === undefined) return {};
  const parameters = optimizer.paramGroups.flatMap(({ params, names }, g) =>
    params.map((parameter, i) => [names?.[i] ?? `parameter ${g}.${i}`, parameter] as const),
  );
  return { ...Object.fromEntries(parameters), ...stateTensors(optimizer) };
}

function instructionSet({ isa, isas, sanitized }: DeviceInfo): Finding {
  const subject = 'instruction set';
  const pinned = process.env['DRIVETRAIN_ISA'];
  if (sanitized) {
    return {
      status: 'problem',
      subject,
      found: `${isa}, in a build with sanitizers`,
      advice: 'This build is for tests, and many times slower: build anew with `node scripts/setup.mjs`.',
    };
  }
  if (isa !== isas[0]) {
    return {
      status: 'problem',
      subject,
      found: `${isa}${isa === 'scalar' ? ': no SIMD' : ''}, where ${isas[0]} would run`,
      advice: `Unset DRIVETRAIN_ISA, which is '${pinned}' in this process.`,
    };
  }
  if (isa === 'scalar') {
    return {
      status: 'problem',
      subject,
      found: 'scalar: no SIMD',
      advice:
        'This processor has none of the instruction sets that there are kernels for (AVX2, AVX-512, NEON).',
    };
  }
  return { status: 'ok', subject, found: `${isa}, the best that this processor and this build have` };
}

function threads({ threads: own, processors }: DeviceInfo): Finding {
  const machine = cpus().length;
  const found = `${own} for ${processors} ${processors === 1 ? 'processor' : 'processors'}${
    machine > processors ? ` that the process may use, of ${machine} that there are` : ''
  }`;
  if (own === processors) return { status: 'ok', subject: 'threads', found };
  return {
    status: 'note',
    subject: 'threads',
    found,
    advice:
      own < processors
        ? `device.setThreads(${processors}) uses all of them.`
        : `More threads than processors wait for each other: device.setThreads(${processors}).`,
  };
}

function memory(name: string, statistics: MemoryPoolStatistics, limit: number): Finding {
  const { current, peak, reserved, largestFree, failures, fragmentation } = statistics;
  const subject = `memory, ${name}`;
  const free = reserved - current;
  const found = `${bytes(current)} in use (${bytes(peak)} at most so far), ${bytes(reserved)} held, limit ${bytes(limit)}; fragmentation ${percent(fragmentation)}`;
  if (failures > 0 || current > FULL * limit) {
    return {
      status: 'problem',
      subject,
      found,
      advice: `${failures > 0 ? `${failures} ${failures === 1 ? 'allocation was' : 'allocations were'} refused. ` : ''}Dispose what is no longer needed, take a smaller batch (recommendBatchSize), or raise the limit.`,
    };
  }
  if (free >= FRAGMENTED.bytes && fragmentation > FRAGMENTED.share) {
    return {
      status: 'note',
      subject,
      found,
      advice: `Of ${bytes(free)} that are free, the largest piece has ${bytes(largestFree)}: small tensors that live long lie between large ones that came and went. Make what lives long first, and work on the rest inside of pool.scope or compile.`,
    };
  }
  return { status: 'ok', subject, found };
}

function oddNumbers(numbers: Readonly<Record<string, Numbers>>): Finding[] {
  const entries = Object.entries(numbers);
  const elements = entries.reduce((sum, [, own]) => sum + own.elements, 0);
  const of = (which: 'denormal' | 'notFinite') => {
    const some = entries.filter(([, own]) => own[which] > 0).sort(([, a], [, b]) => b[which] - a[which]);
    const sum = some.reduce((total, [, own]) => total + own[which], 0);
    const where = some.slice(0, 3).map(([name, own]) => `${name} (${own[which]} of ${own.elements})`);
    return { sum, where: `${where.join(', ')}${some.length > 3 ? `, and ${some.length - 3} more` : ''}` };
  };
  const [denormal, notFinite] = [of('denormal'), of('notFinite')];
  const findings: Finding[] = [];
  if (notFinite.sum > 0) {
    findings.push({
      status: 'problem',
      subject: 'numbers',
      found: `NaN or infinite: ${notFinite.where}`,
      advice: 'Go back to a checkpoint, and train on with a lower learning rate or clipped gradients.',
    });
  }
  if (denormal.sum > 0) {
    findings.push({
      status: 'note',
      subject: 'numbers',
      found: `denormal: ${denormal.where}`,
      advice:
        'The kernels take them for 0, and lose no time; JavaScript of your own does. Many of them say that gradients vanish: scale the loss, or look for units that never act.',
    });
  }
  if (findings.length === 0) {
    findings.push({
      status: 'ok',
      subject: 'numbers',
      found: `none of ${elements} in ${entries.length} ${entries.length === 1 ? 'tensor' : 'tensors'} is denormal, NaN or infinite`,
    });
  }
  return findings;
}

function time(training: TrainingMetrics, { threads: own }: DeviceInfo): Finding[] {
  const { seconds, stepSeconds, samplesPerSecond, phases, processors } = training;
  if (stepSeconds === undefined) {
    return [
      {
        status: 'note',
        subject: 'time',
        found: 'no step was measured yet',
        advice: 'Train some steps first.',
      },
    ];
  }
  const speed = `${milliseconds(stepSeconds)} a step${samplesPerSecond === undefined ? '' : `, ${Math.round(samplesPerSecond)} samples/s`}`;
  const timed = Object.entries(phases).sort(([, a], [, b]) => b - a);
  const rest = seconds - timed.reduce((sum, [, own]) => sum + own, 0);
  const split = [...timed, ['the rest', rest] as const].map(([name, s]) => `${name} ${percent(s / seconds)}`);
  const findings: Finding[] = [
    timed.length === 0
      ? {
          status: 'note',
          subject: 'time',
          found: speed,
          advice:
            "To see where it goes, put parts into monitor.time('data', () => …). A compiled step is one native call, which is timed as a whole.",
        }
      : { status: 'ok', subject: 'time', found: `${speed}: ${split.join(', ')}` },
  ];
  if (processors !== undefined) {
    const found = `${processors.toFixed(1)} of ${own} ${own === 1 ? 'thread' : 'threads'} busy on average`;
    findings.push(
      processors >= BUSY * own
        ? { status: 'ok', subject: 'processors', found }
        : {
            status: 'note',
            subject: 'processors',
            found,
            advice:
              'Training waits, or its steps are too small for several threads: see that data is there in time, and try larger batches.',
          },
    );
  }
  return findings;
}

const milliseconds = (seconds: number) => `${Number((seconds * 1e3).toPrecision(3))} ms`;
