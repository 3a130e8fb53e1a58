import { type Output, pad, paint, type Style, styleOf, widthOf } from './style.js';

export interface ProgressOptions {
  readonly epochs: number;
  readonly samplesPerEpoch: number;
  /** Where the lines go; standard output unless given. */
  readonly output?: Output;
}

/** What is known while an epoch runs, or at its end. */
export interface ProgressState {
  /** From 1. */
  readonly epoch: number;
  readonly epochs: number;
  /** The share of the epoch that is done, from 0 to 1. */
  readonly done: number;
  readonly loss: number;
  /** From 0 to 1; left out where it is not known. */
  readonly accuracy?: number | undefined;
  readonly samplesPerSecond: number;
  /** Until the last epoch ends, or at an epoch's end what the epoch took. */
  readonly seconds: number;
}

const MIN_BAR = 10;
const MAX_BAR = 30;
const REDRAW_MS = 50;

/**
 * Shows how training goes: on a terminal one line that is drawn again, at most 20 times a second, and kept at the
 * end of each epoch; elsewhere one line for each epoch.
 */
export class Progress {
  readonly #options: ProgressOptions;
  readonly #output: Output;
  readonly #start = performance.now();
  #epoch = 1;
  #epochStart = this.#start;
  #lastDraw = Number.NEGATIVE_INFINITY;
  #drawn = false;

  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#output = options.output ?? process.stdout;
  }

  /** After a batch: how many samples of this epoch are done, and what they came to. */
  update(now: { samples: number; loss: number; accuracy?: number }): void {
    const time = performance.now();
    const style = styleOf(this.#output);
    if (!style.interactive || time - this.#lastDraw < REDRAW_MS) return;
    this.#lastDraw = time;
    this.#drawn = true;
    this.#output.write(`\r${progressLine(this.#state(now, time), style)}\x1b[K`);
  }

  /** After an epoch: its line stays. `accuracy` may be that of a test set. */
  endEpoch(now: { loss: number; accuracy?: number }): void {
    const time = performance.now();
    const state = this.#state({ ...now, samples: this.#options.samplesPerEpoch }, time);
    const took = { ...state, seconds: (time - this.#epochStart) / 1000 };
    this.stop();
    this.#output.write(`${epochLine(took, styleOf(this.#output))}\n`);
    this.#epoch++;
    this.#epochStart = performance.now();
    this.#lastDraw = Number.NEGATIVE_INFINITY;
  }

  /** Takes an unfinished line away, so that something else can be printed. */
  stop(): void {
    if (this.#drawn) this.#output.write('\r\x1b[K');
    this.#drawn = false;
  }

  #state(now: { samples: number; loss: number; accuracy?: number }, time: number): ProgressState {
    const { epochs, samplesPerEpoch } = this.#options;
    const before = (this.#epoch - 1) * samplesPerEpoch;
    const rate = (before + now.samples) / (time - this.#start);
    return {
      epoch: this.#epoch,
      epochs,
      done: Math.min(1, now.samples / samplesPerEpoch),
      loss: now.loss,
      accuracy: now.accuracy,
      samplesPerSecond: (1000 * now.samples) / (time - this.#epochStart),
      seconds: (epochs * samplesPerEpoch - before - now.samples) / rate / 1000,
    };
  }
}

/** The line while an epoch runs. Where it does not fit, speed, accuracy, time and loss go, in this order. */
export function progressLine(state: ProgressState, style: Style): string {
  const room = style.columns - 1;
  const percent = paint(pad(`${Math.floor(100 * state.done)} %`, 5, 'right'), 'bold', style);
  const left = paint(`${formatDuration(state.seconds)} left`, 'dim', style);
  const { loss, accuracy, speed } = measures(state, style);
  let fields = [epochField(state, style), percent, loss, accuracy, speed, left];
  const barRoom = () => room - fields.reduce((sum, text) => sum + (text ? widthOf(text) + 2 : 0), 2);
  for (const dispensable of [speed, accuracy, left, loss]) {
    if (barRoom() < MIN_BAR) fields = fields.filter((text) => text !== dispensable);
  }
  const width = Math.min(MAX_BAR, barRoom());
  if (width >= MIN_BAR) fields.splice(1, 0, bar(state.done, width, style));
  return `  ${fields.filter(Boolean).join('  ')}`;
}

/** The line that stays when an epoch is over; `seconds` is what it took. */
export function epochLine(state: ProgressState, style: Style): string {
  const { loss, accuracy, speed } = measures(state, style);
  const took = paint(`${state.seconds.toFixed(1)} s`, 'dim', style);
  return `  ${[epochField(state, style), loss, accuracy, speed, took].filter(Boolean).join('  ')}`;
}

/** A bar of `width` columns, exact to half a column. */
export function bar(done: number, width: number, style: Style): string {
  const halves = Math.round(2 * width * Math.min(1, Math.max(0, done)));
  const full = Math.floor(halves / 2);
  const half = halves % 2;
  const filled = '━'.repeat(full) + (half ? '╸' : '');
  return (
    paint(filled, done >= 1 ? 'green' : 'cyan', style) + paint('─'.repeat(width - full - half), 'dim', style)
  );
}

function epochField({ epoch, epochs }: ProgressState, style: Style): string {
  const count = pad(String(epoch), String(epochs).length, 'right');
  return `${paint('epoch', 'dim', style)} ${paint(count, 'bold', style)}${paint(`/${epochs}`, 'dim', style)}`;
}

/** Each as wide as the last time; accuracy is '' where it is not known. */
function measures({ loss, accuracy, samplesPerSecond }: ProgressState, style: Style) {
  const speed = Math.round(samplesPerSecond).toLocaleString('en-US');
  return {
    loss: field('loss', loss.toFixed(4), 6, style),
    accuracy: accuracy === undefined ? '' : field('accuracy', `${(100 * accuracy).toFixed(2)} %`, 7, style),
    speed: `${pad(speed, 9, 'right')} ${paint('samples/s', 'dim', style)}`,
  };
}

function field(name: string, value: string, width: number, style: Style): string {
  return `${paint(name, 'dim', style)} ${pad(value, width, 'right')}`;
}

/** "0:07", "12:34" or "1:02:03". */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?:??';
  const whole = Math.max(0, Math.round(seconds));
  const two = (value: number) => String(value).padStart(2, '0');
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
