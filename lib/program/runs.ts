import { binding, DrivetrainError, Status } from '../native/index.js';

interface PendingRun {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Awaited runs that native code has not reported yet, by their id. */
const pending = new Map<number, PendingRun>();
let lastId = 0;

binding.start((id, status) => {
  const run = pending.get(id);
  pending.delete(id);
  if (status === Status.ok) run?.resolve();
  else run?.reject(failure(status));
});

/** Why a run wrote nothing. */
function failure(status: number): DrivetrainError {
  return status === Status.refused ? refused() : aborted();
}

export function refused(): DrivetrainError {
  return new DrivetrainError(
    'DT_NON_FINITE',
    "Expected gradients that are finite (and within maxMagnitude) in a compiled step but received others: nothing was changed. Lower the learning rate, look at the data, or make the optimizer with nonFinite: 'skip' or 'zero'.",
  );
}

function aborted(): DrivetrainError {
  return new DrivetrainError(
    'DT_ABORTED',
    'The run was cancelled before it wrote anything: parameters and other state are as they were.',
  );
}

/** Submits a run with the bindings in the command page. Rejects with `DT_ABORTED` where the signal ends it in time. */
export async function submitRun(program: number, signal: AbortSignal | undefined): Promise<void> {
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
    await new Promise<void>((resolve, reject) => {
      pending.set(id, { resolve, reject });
      const status = binding.run(program, id);
      if (status === Status.pending) return;
      pending.delete(id);
      // In a turn of its own, as other runs end, so that a loop of awaited runs lets the event loop turn.
      setImmediate(() => (status === Status.ok ? resolve() : reject(failure(status))));
    });
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}
