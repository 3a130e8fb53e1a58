import { binding, DrivetrainError, type Refusal, readRefusal, Status } from '../native/index.js';

/** How a run ended. */
interface Outcome {
  readonly status: number;
  /** Where it was refused. */
  readonly refusal?: Refusal;
}

/** Awaited runs that native code has not reported yet, by their id. */
const pending = new Map<number, (outcome: Outcome) => void>();
let lastId = 0;

binding.start((id, status) => {
  const end = pending.get(id);
  pending.delete(id);
  end?.(outcomeOf(status));
});

/** Asked for at once: the next call writes over the refusal. */
const outcomeOf = (status: number): Outcome =>
  status === Status.refused ? { status, refusal: readRefusal() } : { status };

function aborted({ reason }: AbortSignal): DrivetrainError {
  return new DrivetrainError(
    'DT_ABORTED',
    'The run was cancelled before it wrote anything: parameters and other state are as they were.',
    { cause: reason },
  );
}

/**
 * Submits a run with the bindings in the command page. Rejects with `DT_ABORTED` where the signal ends it in time, and with
 * what `refused` makes of it where an instruction refuses its values.
 */
export async function submitRun(
  program: number,
  signal: AbortSignal | undefined,
  refused: (refusal: Refusal) => DrivetrainError,
): Promise<void> {
  if (signal !== undefined && typeof signal.addEventListener !== 'function') {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected an AbortSignal for signal but received ${typeof signal}.`,
    );
  }
  if (signal?.aborted) throw aborted(signal);
  const id = ++lastId;
  const cancel = () => binding.cancel(id);
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    const { status, refusal } = await new Promise<Outcome>((resolve) => {
      pending.set(id, resolve);
      const done = binding.run(program, id);
      if (done === Status.pending) return;
      pending.delete(id);
      const outcome = outcomeOf(done);
      // In a turn of its own, as other runs end, so that a loop of awaited runs lets the event loop turn.
      setImmediate(() => resolve(outcome));
    });
    if (refusal !== undefined) throw refused(refusal);
    if (status !== Status.ok) throw aborted(signal!);
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}
