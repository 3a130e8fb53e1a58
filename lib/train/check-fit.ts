import { DataLoader } from '../io/index.js';
import { DrivetrainError, inspect } from '../native/index.js';
import { Module } from '../nn/index.js';
import type { Stepper } from '../optim/index.js';
import { checkOptions } from '../tensor/index.js';
import type { FitOptions } from './fit.js';

const OPTIONS = [
  'epochs',
  'optimizer',
  'loss',
  'metrics',
  'schedule',
  'evaluate',
  'callbacks',
  'onProgress',
  'progress',
  'signal',
  'earlyStopping',
  'checkpoints',
  'parts',
];

/** Names that fit gives to what it saves. */
const OWN_PARTS = ['model', 'optimizer', 'data', 'run', 'schedule', 'stopping'];

/** Refuses what `fit` cannot work with, before anything has changed. */
export function checkFit(model: unknown, data: unknown, options: FitOptions): void {
  checkOptions('fit', options, OPTIONS);
  const { epochs, optimizer, loss, metrics = {}, schedule, evaluate, callbacks = [], onProgress } = options;
  const { signal, progress = false, checkpoints } = options;
  if (!(model instanceof Module)) refuse('a Module as model', model);
  if (!(data instanceof DataLoader)) refuse('a DataLoader as data', data);
  if (data.length === 0) refuse('data with at least one batch', `${data.samples} samples in none`);
  if (!Number.isSafeInteger(epochs) || epochs < 1) refuse('a whole number from 1 on as epochs', epochs);
  if (!Array.isArray(optimizer?.paramGroups) || !isFunction(optimizer.step))
    refuse('an optimizer with paramGroups and step', optimizer);
  const own = new Set(model.parameters().map(({ storage }) => storage));
  const strange = (optimizer as Stepper).paramGroups.flatMap(({ params, names }) =>
    names.filter((_, i) => !own.has(params[i]!.storage)),
  );
  if (strange.length > 0)
    refuse('an optimizer of parameters of the model', `one of others: ${strange.join(', ')}`);
  if (typeof metrics !== 'object' || metrics === null || Symbol.iterator in metrics)
    refuse('an object of functions by name as metrics, such as { accuracy },', metrics);
  for (const [name, figure] of Object.entries({ loss, ...metrics }))
    if (!isFunction(figure)) refuse(`a function (output, …targets) => scalar as ${name}`, figure);
  if (Object.hasOwn(metrics, 'loss')) refuse('metrics of other names than loss', 'loss');
  if (schedule !== undefined && !isFunction(schedule.step)) refuse('a schedule with step()', schedule);
  if (evaluate !== undefined && !(evaluate instanceof DataLoader) && !isFunction(evaluate))
    refuse('a DataLoader or a function as evaluate', evaluate);
  if (evaluate === data) refuse('another DataLoader to evaluate than to train', 'the same');
  if (!Array.isArray(callbacks) || !callbacks.every(isFunction))
    refuse('an array of functions as callbacks', callbacks);
  if (onProgress !== undefined && !isFunction(onProgress)) refuse('a function as onProgress', onProgress);
  if (signal !== undefined && !isFunction(signal?.addEventListener))
    refuse('an AbortSignal as signal', signal);
  if (typeof progress !== 'boolean' && !isFunction(progress?.write))
    refuse('true, false or something with write(text) as progress', progress);
  if (checkpoints !== undefined && !isFunction(checkpoints?.latest))
    refuse('a CheckpointManager as checkpoints', checkpoints);
  const taken = Object.keys(options.parts ?? {}).filter((name) => OWN_PARTS.includes(name));
  if (taken.length > 0) refuse(`other names of parts than ${OWN_PARTS.join(', ')}`, taken.join(', '));
}

const isFunction = (value: unknown) => typeof value === 'function';

function refuse(expected: string, received: unknown): never {
  const what = typeof received === 'string' ? received : inspect(received, { depth: 0 });
  throw new DrivetrainError('DT_INVALID_ARGUMENT', `Expected ${expected} for fit but received ${what}.`);
}
