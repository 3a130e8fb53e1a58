import { DrivetrainError, inspect } from '../native/index.js';
import { checkOptions } from '../tensor/index.js';
import { notify } from './notify.js';

export type CircuitState = 'closed' | 'open' | 'half-open';

export interface CircuitBreakerOptions {
  /** So many failures within the window open it; 5 unless given. */
  failures?: number;
  /** For how long a failure counts, in milliseconds, whatever succeeds meanwhile; 60,000 unless given. */
  windowMs?: number;
  /** How long it stays open before it lets one attempt through, in milliseconds; 30,000 unless given. */
  cooldownMs?: number;
  /** Called after each change. What it throws becomes an uncaught exception, and does not reach who made the attempt. */
  onStateChange?: (to: CircuitState, from: CircuitState) => void;
  /** A clock in milliseconds that never goes back; `performance.now` unless given. */
  now?: () => number;
}

/** What the breaker let through. Its end is to be reported, once; further reports change nothing. */
export interface Attempt {
  succeed(): void;
  fail(): void;
  /** It ended without telling anything about what the breaker guards: neither a success nor a failure. */
  abandon(): void;
}

/**
 * Keeps callers from what fails again and again (Nygard, "Release It!", 2007):
 *
 * - closed: attempts go through. With 5 failures within 60 s it opens.
 * - open: none goes through. The first attempt after 30 s does, and makes it half-open.
 * - half-open: that one attempt is on its way, and no other goes through. Its success closes the breaker and forgets all
 *   failures, its failure opens it for another 30 s; abandoned, or without an end after 30 s, it leaves its place to the
 *   next.
 *
 * What was begun before the last change of state reports too late to count. There is no timer: time is looked at when an
 * attempt begins or fails.
 */
export class CircuitBreaker {
  readonly #limit: number;
  readonly #windowMs: number;
  readonly #cooldownMs: number;
  readonly #onStateChange: CircuitBreakerOptions['onStateChange'];
  readonly #now: () => number;
  #state: CircuitState = 'closed';
  #openings = 0;
  /** When the failures happened that may still count, oldest first. */
  #failures: number[] = [];
  /** When it opened, or the attempt began that it is half-open for. */
  #since = 0;
  /** What counts belongs to this; every change of state, and every trial, makes another. */
  #era = {};

  constructor(options: CircuitBreakerOptions = {}) {
    checkOptions('CircuitBreaker', options, ['failures', 'windowMs', 'cooldownMs', 'onStateChange', 'now']);
    const {
      failures = 5,
      windowMs = 60_000,
      cooldownMs = 30_000,
      onStateChange,
      now = () => performance.now(),
    } = options;
    check('failures', 'a whole number from 1 on', failures, Number.isSafeInteger(failures) && failures >= 1);
    for (const [name, value] of Object.entries({ windowMs, cooldownMs })) {
      check(name, 'a finite number of milliseconds above 0', value, isDuration(value));
    }
    this.#limit = failures;
    this.#windowMs = windowMs;
    this.#cooldownMs = cooldownMs;
    this.#onStateChange = onStateChange;
    this.#now = now;
  }

  get state(): CircuitState {
    return this.#state;
  }

  /** How often it has opened since it was last closed. */
  get openings(): number {
    return this.#openings;
  }

  /** Lets an attempt through, or returns undefined where none may be made now. */
  begin(): Attempt | undefined {
    if (this.#state !== 'closed') {
      const now = this.#now();
      if (now - this.#since < this.#cooldownMs) return undefined;
      this.#since = now;
      this.#change('half-open');
    }
    const era = this.#era;
    let ended = false;
    const end = (act: () => void) => () => {
      if (!ended && era === this.#era) act();
      ended = true;
    };
    return {
      succeed: end(() => this.#succeeded()),
      fail: end(() => this.#failed()),
      abandon: end(() => this.#abandoned()),
    };
  }

  #succeeded(): void {
    if (this.#state === 'closed') return;
    this.#failures = [];
    this.#openings = 0;
    this.#change('closed');
  }

  #failed(): void {
    const now = this.#now();
    this.#failures = [...this.#failures.filter((at) => now - at < this.#windowMs), now];
    if (this.#state === 'closed' && this.#failures.length < this.#limit) return;
    this.#since = now;
    this.#openings++;
    this.#change('open');
  }

  #abandoned(): void {
    if (this.#state === 'half-open') this.#since = -Infinity;
  }

  #change(to: CircuitState): void {
    const from = this.#state;
    this.#state = to;
    this.#era = {};
    if (from !== to) notify(this.#onStateChange, to, from);
  }
}

const isDuration = (value: unknown) => typeof value === 'number' && value > 0 && value < Infinity;

function check(name: string, expected: string, received: unknown, holds: boolean): void {
  if (holds) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${name} of CircuitBreaker to be ${expected} but received ${inspect(received)}.`,
  );
}
