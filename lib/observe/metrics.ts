import { DrivetrainError } from '../native/index.js';

/** What a scrape answers in its Content-Type: the Prometheus text exposition format, version 0.0.4. */
export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Bucket bounds in seconds, 100 µs to 10 s, for the durations of requests and batches. */
const DURATION_BUCKETS: readonly number[] = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL_NAME = /^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$/;

/** A number that only grows. */
export class Counter {
  #value = 0;

  get value(): number {
    return this.#value;
  }

  /** Adds `amount`, which is not negative; `DT_INVALID_ARGUMENT` otherwise. */
  inc(amount = 1): void {
    if (!(amount >= 0))
      throw invalid(`Expected a counter's increment to be 0 or more but received ${amount}.`);
    this.#value += amount;
  }

  /** @internal */
  expose(name: string, labels: string): string {
    return sample(name, labels, this.#value);
  }
}

/** A number that goes up and down. */
export class Gauge {
  #value = 0;

  get value(): number {
    return this.#value;
  }

  set(value: number): void {
    this.#value = value;
  }

  inc(amount = 1): void {
    this.#value += amount;
  }

  dec(amount = 1): void {
    this.#value -= amount;
  }

  /** @internal */
  expose(name: string, labels: string): string {
    return sample(name, labels, this.#value);
  }
}

/** Counts observations by size; bucket bounds are inclusive upper ones. */
export class Histogram {
  readonly #bounds: readonly number[];
  /** One a bound, and a last one for what is larger than all of them. Not cumulative. */
  readonly #counts: Float64Array;
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  /** The sum of all observations. */
  get sum(): number {
    return this.#sum;
  }

  /** The number of observations. */
  get count(): number {
    return this.#counts.reduce((total, count) => total + count, 0);
  }

  observe(value: number): void {
    let bucket = 0;
    while (bucket < this.#bounds.length && !(value <= this.#bounds[bucket]!)) bucket++;
    this.#counts[bucket]!++;
    this.#sum += value;
  }

  /** @internal */
  expose(name: string, labels: string): string {
    const separator = labels === '' ? '' : ',';
    let cumulative = 0;
    let text = '';
    for (let i = 0; i < this.#counts.length; i++) {
      cumulative += this.#counts[i]!;
      const bound = formatValue(this.#bounds[i] ?? Number.POSITIVE_INFINITY);
      text += sample(`${name}_bucket`, `${labels}${separator}le="${bound}"`, cumulative);
    }
    return text + sample(`${name}_sum`, labels, this.#sum) + sample(`${name}_count`, labels, cumulative);
  }
}

interface Exposable {
  expose(name: string, labels: string): string;
}

/** All metrics of one name, one for each combination of label values. */
export class Family<C extends Exposable, L extends string = string> {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly labelNames: readonly L[];
  readonly #make: () => C;
  readonly #children = new Map<string, C>();

  /** @internal Made by a registry. */
  constructor(name: string, help: string, type: string, labelNames: readonly L[], make: () => C) {
    this.name = name;
    this.help = help;
    this.type = type;
    this.labelNames = labelNames;
    this.#make = make;
  }

  /**
   * The metric with these label values, made on first use. Look it up once and keep it where it is counted often.
   * `DT_INVALID_ARGUMENT` where a label is missing or unknown.
   */
  labels(values: Readonly<Record<L, string>>): C {
    const names = Object.keys(values);
    if (
      names.length !== this.labelNames.length ||
      !this.labelNames.every((name) => Object.hasOwn(values, name))
    ) {
      throw invalid(
        `Expected labels {${this.labelNames.join(', ')}} for ${this.name} but received {${names.join(', ')}}.`,
      );
    }
    const key = this.labelNames.map((name) => `${name}="${escapeLabel(values[name])}"`).join(',');
    let child = this.#children.get(key);
    if (child === undefined) {
      child = this.#make();
      this.#children.set(key, child);
    }
    return child;
  }

  /** @internal */
  expose(): string {
    const help = this.help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
    let text = `# HELP ${this.name} ${help}\n# TYPE ${this.name} ${this.type}\n`;
    for (const [labels, child] of this.#children) text += child.expose(this.name, labels);
    return text;
  }
}

/**
 * Holds metrics and writes them for Prometheus. Asking for a name again gives the same family, so that several
 * batchers or engines can share one registry; asking for it with another type or other labels is an error
 * (`DT_INVALID_ARGUMENT`). Our own names read `drivetrain_<noun>_<unit>[_total]`.
 */
export class Registry {
  readonly #families = new Map<string, Family<Exposable>>();
  readonly #collectors = new Set<() => void>();

  counter<const L extends string = never>(
    name: string,
    help: string,
    labelNames: readonly L[] = [],
  ): Family<Counter, L> {
    return this.#family(name, help, 'counter', labelNames, () => new Counter());
  }

  gauge<const L extends string = never>(
    name: string,
    help: string,
    labelNames: readonly L[] = [],
  ): Family<Gauge, L> {
    return this.#family(name, help, 'gauge', labelNames, () => new Gauge());
  }

  /** `buckets`: finite upper bounds, increasing; +Inf is added. */
  histogram<const L extends string = never>(
    name: string,
    help: string,
    labelNames: readonly L[] = [],
    buckets: readonly number[] = DURATION_BUCKETS,
  ): Family<Histogram, L> {
    if (!buckets.every((bound, i) => Number.isFinite(bound) && (i === 0 || bound > buckets[i - 1]!))) {
      throw invalid(`Expected finite, increasing buckets for ${name} but received [${buckets.join(', ')}].`);
    }
    if ((labelNames as readonly string[]).includes('le')) {
      throw invalid(
        `Expected label names other than le for the histogram ${name}, which uses it for its buckets.`,
      );
    }
    return this.#family(name, help, 'histogram', labelNames, () => new Histogram(buckets));
  }

  /**
   * Calls `collect` before each exposition, for values that are read rather than counted, such as memory in use.
   * Returns a function that ends this.
   */
  onCollect(collect: () => void): () => void {
    this.#collectors.add(collect);
    return () => this.#collectors.delete(collect);
  }

  /** Everything in the text exposition format; serve it with `METRICS_CONTENT_TYPE`. */
  expose(): string {
    for (const collect of this.#collectors) collect();
    let text = '';
    for (const family of this.#families.values()) text += family.expose();
    return text;
  }

  #family<C extends Exposable, L extends string>(
    name: string,
    help: string,
    type: string,
    labelNames: readonly L[],
    make: () => C,
  ): Family<C, L> {
    const known = this.#families.get(name);
    if (known === undefined) {
      if (!METRIC_NAME.test(name))
        throw invalid(`Expected a metric name like ${METRIC_NAME} but received '${name}'.`);
      for (const label of labelNames) {
        if (!LABEL_NAME.test(label)) {
          throw invalid(`Expected label names like ${LABEL_NAME} for ${name} but received '${label}'.`);
        }
      }
      const family = new Family(name, help, type, [...labelNames], make);
      this.#families.set(name, family as unknown as Family<Exposable>);
      return family;
    }
    if (known.type !== type || known.labelNames.join() !== labelNames.join()) {
      throw invalid(
        `Expected ${name} to be the ${known.type} with labels {${known.labelNames.join(', ')}} that it is already but received a ${type} with {${labelNames.join(', ')}}.`,
      );
    }
    return known as unknown as Family<C, L>;
  }
}

/** The registry of whatever is not given one of its own. */
export const defaultRegistry: Registry = new Registry();

function sample(name: string, labels: string, value: number): string {
  return `${name}${labels === '' ? '' : `{${labels}}`} ${formatValue(value)}\n`;
}

function formatValue(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  if (value === Number.NEGATIVE_INFINITY) return '-Inf';
  return String(value);
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function invalid(message: string): DrivetrainError {
  return new DrivetrainError('DT_INVALID_ARGUMENT', message);
}
