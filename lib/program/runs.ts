import { binding, DrivetrainError, Status } from '../native/index.js';

/** Awaited runs that native code has not reported yet, by their id: what takes their status. */
const pending = new Map<number, (status: number) => void>();
let lastId = 0;

binding.start((id, status) => {
  const end = pending.get(id);
  pending.delete(id);
  end?.(status);
});

/** `complaint` says where the values came from, as far as it is known. */
export function refused(complaint: string): DrivetrainError {
  return new DrivetrainError(
    'DT_NON_FINITE',
    `Expected gradients that are finite (and within maxMagnitude) in a compiled step but received others: nothing was changed. Lower the learning rate, look at the data, or make the optimizer with nonFinite: 'skip' or 'zero'. ${complaint}`.trimEnd(),
  );
}

function aborted(): DrivetrainError {
  return new DrivetrainError(
    'DT_ABORTED',
    'The run was cancelled before it wrote anything: parameters and other state are as they were.',
  );
}

/**
 * Submits a run with the bindings in the command page. Rejects with `DT_ABORTED` where the signal ends it in time, and with
 * `DT_NON_FINITE` and what `complaint` says where a step refuses its gradients.
 */
export async function submitRun(
  program: number,
  signal: AbortSignal | undefined,
  complaint: () => string,
): Promise<void> {
  if (signal !== undefined && typeof signal.addEventListener !== 'function') {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected an AbortSignal for signal but received ${typeof signal}.`,
    );
  }
  if (signal?.aborted) throw aborted();
  const id = ++lastId;
  const cancel = () => binding.cancel(id);
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    const status = await new Promise<number>((resolve) => {
      pending.set(id, resolve);
      const done = binding.run(program, id);
      if (done === Status.pending) return;
      pending.delete(id);
      // In a turn of its own, as other runs end, so that a loop of awaited runs lets the event loop turn.
      setImmediate(() => resolve(done));
    });
    if (status !== Status.ok) throw status === Status.refused ? refused(complaint()) : aborted();
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}
