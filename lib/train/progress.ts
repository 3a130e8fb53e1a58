export interface ProgressOptions {
  readonly epochs: number;
  readonly samplesPerEpoch: number;
  /** Where the lines go; standard output unless given. */
  readonly output?: ProgressOutput;
}

/** What of a stream matters here: `process.stdout`, or a stand-in. */
export interface ProgressOutput {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** Figures by name, in the order in which they are shown. */
export type Figures = Readonly<Record<string, number>>;

/** What an epoch came to. */
export interface EpochReport {
  /** From 1. */
  readonly epoch: number;
  /** `loss` and the metrics, over the epoch's samples as the model met them. */
  readonly figures: Figures;
  /** Where there is an evaluation. */
  readonly evaluation?: Figures;
  /** Of training, without evaluation. */
  readonly seconds: number;
  readonly samplesPerSecond: number;
}

const DEFAULT_COLUMNS = 80;
const MIN_BAR = 10;
const MAX_BAR = 30;
const REDRAW_MS = 50;
const CLEAR = '\r\x1b[K';

/**
 * Shows how training goes: on a terminal one line that is drawn again, at most 20 times a second, and kept at the end of each
 * epoch; elsewhere one line for each epoch.
 */
export class Progress {
  readonly #options: ProgressOptions;
  readonly #output: ProgressOutput;
  #lastDraw = -Infinity;
  #drawn = false;

  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#output = options.output ?? process.stdout;
  }

  /** After a batch of an epoch, counted from 1: how many samples of it are done in how many seconds, and their figures. */
  update(epoch: number, samples: number, figures: Figures, seconds: number): void {
    const time = performance.now();
    if (!this.#output.isTTY || process.env.TERM === 'dumb' || time - this.#lastDraw < REDRAW_MS) return;
    this.#lastDraw = time;
    this.#drawn = true;
    const { epochs, samplesPerEpoch } = this.#options;
    const perSecond = samples / seconds;
    const left = ((epochs - epoch + 1) * samplesPerEpoch - samples) / perSecond;
    const fields = [...fieldsOf(figures), speed(perSecond), `${formatDuration(left)} left`];
    const room = (this.#output.columns || DEFAULT_COLUMNS) - 1;
    this.#output.write(`\r${progressLine(this.#head(epoch), samples / samplesPerEpoch, fields, room)}\x1b[K`);
  }

  /** After an epoch: its line stays. */
  endEpoch({ epoch, figures, evaluation, seconds, samplesPerSecond }: EpochReport): void {
    this.stop();
    const fields = [...fieldsOf(figures), speed(samplesPerSecond), `${seconds.toFixed(1)} s`];
    if (evaluation !== undefined) fields.push(['evaluation:', ...fieldsOf(evaluation)].join(' '));
    this.#output.write(`  ${[this.#head(epoch), ...fields].join('  ')}\n`);
    this.#lastDraw = -Infinity;
  }

  /** Takes an unfinished line away, so that something else can be printed. */
  stop(): void {
    if (this.#drawn) this.#output.write(CLEAR);
    this.#drawn = false;
  }

  #head(epoch: number): string {
    const { epochs } = this.#options;
    return `epoch ${String(epoch).padStart(String(epochs).length)}/${epochs}`;
  }
}

/** The line while an epoch runs; where the room is too narrow for it, fields are left out, the last first. */
function progressLine(head: string, done: number, fields: readonly string[], room: number): string {
  const percent = `${Math.floor(100 * done)} %`.padStart(5);
  for (let count = fields.length; ; count--) {
    const rest = [percent, ...fields.slice(0, count)].join('  ');
    const width = Math.min(MAX_BAR, room - head.length - rest.length - 6);
    if (width >= MIN_BAR) return `  ${head}  ${bar(done, width)}  ${rest}`;
    if (count === 0) return `  ${head}  ${percent}`.slice(0, room);
  }
}

/** A bar of `width` columns, exact to half a column. */
function bar(done: number, width: number): string {
  const halves = Math.round(2 * width * Math.min(1, Math.max(0, done)));
  const filled = '━'.repeat(Math.floor(halves / 2)) + (halves % 2 ? '╸' : '');
  return filled.padEnd(width, '─');
}

function fieldsOf(figures: Figures): string[] {
  return Object.entries(figures).map(([name, value]) => `${name} ${value.toFixed(4)}`);
}

function speed(samplesPerSecond: number): string {
  return `${Math.round(samplesPerSecond).toLocaleString('en-US').padStart(9)} samples/s`;
}

/** "0:07", "12:34" or "1:02:03". */
function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?:??';
  const whole = Math.max(0, Math.round(seconds));
  const two = (value: number) => String(value).padStart(2, '0');
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
