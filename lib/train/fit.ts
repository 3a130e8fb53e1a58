import {
  type CheckpointManager,
  type CheckpointParts,
  type DataLoader,
  disposeBatch,
  type Stateful,
} from '../io/index.js';
import { DrivetrainError, inspect } from '../native/index.js';
import type { Module } from '../nn/index.js';
import type { Stepper } from '../optim/index.js';
import { grad, type MemoryReport } from '../program/index.js';
import type { Tensor } from '../tensor/index.js';
import { CompiledForBatches, type FitBatch, type ModelInputs } from './batch.js';
import { checkFit } from './check-fit.js';
import { EarlyStopping, type EarlyStoppingOptions } from './early-stopping.js';
import { MeanFigures } from './mean-figures.js';
import { type EpochReport, type Figures, Progress, type ProgressOutput } from './progress.js';

/**
 * Batches are arrays: the model's inputs, and whatever the loss takes beside the output. The inputs are a tensor or an object
 * of tensors, `forward`'s only argument, or an array of its arguments: tensors, and arrays and objects of them.
 */
export type Batches = DataLoader<unknown, FitBatch>;

/** A scalar of a model's output and the rest of the batch: a mean over its samples. */
export type Figure =
  | ((output: Tensor, target: Tensor) => Tensor)
  | ((output: Tensor, ...targets: Tensor[]) => Tensor);

export interface FitOptions {
  /** Epochs in all, those that a checkpoint has behind it included. */
  epochs: number;
  optimizer: Stepper & Stateful;
  /** What is minimised: `crossEntropy`, `mseLoss` or another function of operations. */
  loss: Figure;
  /** More figures by name, such as `{ accuracy }`; they are averaged over an epoch as the loss is. */
  metrics?: Readonly<Record<string, Figure>>;
  /** Its `step()` is called after each step of the optimizer. */
  schedule?: Stateful & { step(): void };
  /** After each epoch: data to compute loss and metrics of in evaluation mode, or a function that gives figures. */
  evaluate?: Batches | (() => Figures | Promise<Figures>);
  /** Called, and awaited, after each epoch, one after the other. */
  callbacks?: readonly ((report: EpochReport) => void | Promise<void>)[];
  /** Called after each step. */
  onProgress?: (progress: FitProgress) => void;
  /** Shows a line for each epoch, on a terminal a bar as well: on standard output (true) or elsewhere; false unless given. */
  progress?: boolean | ProgressOutput;
  /** Ends training with `DT_ABORTED` when the step that is running has been made. */
  signal?: AbortSignal;
  /** Ends training when a figure has stopped improving. The model has the weights of the best epoch then, and at the end. */
  earlyStopping?: EarlyStoppingOptions;
  /** Saves after each epoch, and begins with the latest checkpoint where there is one. */
  checkpoints?: CheckpointManager;
  /** What else checkpoints keep, such as the generator of dropout. */
  parts?: CheckpointParts;
}

export interface FitProgress {
  /** From 1. */
  readonly epoch: number;
  readonly epochs: number;
  /** Samples of this epoch so far, and their figures. */
  readonly samples: number;
  readonly figures: Figures;
}

export interface FitReport {
  /** Of the epochs that this call trained. */
  readonly epochs: readonly EpochReport[];
  /** Steps in all, those that a checkpoint has behind it included. */
  readonly steps: number;
  readonly stoppedEarly: boolean;
  /** Of the temporaries in one step; undefined where none was made. */
  readonly memory: MemoryReport | undefined;
}

/**
 * Trains a model: for each batch one compiled step (forward, backward, optimizer), then evaluation, early stopping, callbacks
 * and a checkpoint after each epoch. Resumed from a checkpoint it gives the bits of training that never stopped, given that
 * `parts` has every generator that the model draws from. Whatever ends it, the model is whole, as the last step left it, and
 * in evaluation mode; called again after an abort it goes on with the next batch. The batches are disposed.
 */
export async function fit(model: Module, data: Batches, options: FitOptions): Promise<FitReport> {
  checkFit(model, data, options);
  const { epochs, optimizer, loss, metrics = {}, schedule, evaluate, checkpoints, signal } = options;
  const parameters = optimizer.paramGroups.flatMap(({ params }) => params);
  const figuresOf = (output: Tensor, targets: Tensor[]) =>
    Object.fromEntries(
      Object.entries({ loss, ...metrics }).map(([name, of]) => [
        name,
        (of as (output: Tensor, ...targets: Tensor[]) => Tensor)(output, ...targets),
      ]),
    );
  const forward = (inputs: readonly ModelInputs[]) => model.forward(...(inputs as [Tensor]));
  const step = new CompiledForBatches((inputs, targets) => {
    const figures = figuresOf(forward(inputs), targets);
    optimizer.step(grad(figures.loss!, parameters));
    return figures;
  });
  const measure = new CompiledForBatches((inputs, targets) => figuresOf(forward(inputs), targets));
  const stopping = options.earlyStopping && new EarlyStopping(model, options.earlyStopping);
  const run = new RunState();
  const parts = { model, optimizer, data, run, ...(schedule && { schedule }), ...(stopping && { stopping }) };
  const all: CheckpointParts = { ...options.parts, ...parts };
  const progress = progressOf(data, options);
  const reports: EpochReport[] = [];
  let memory: MemoryReport | undefined;
  try {
    await (await checkpoints?.latest())?.load(all);
    while (run.epochs < epochs && !stopping?.stopped) {
      model.train();
      const epoch = run.epochs + 1;
      const means = new MeanFigures();
      const begin = performance.now();
      await over(data, signal, async (batch) => {
        const { tensors, compiled } = step.for(batch);
        memory ??= compiled.program(...tensors).memory;
        means.add(await compiled(...tensors), samplesOf(batch, tensors));
        schedule?.step();
        run.steps++;
        const { samples, figures } = means;
        progress?.update(epoch, samples, figures, secondsSince(begin));
        options.onProgress?.({ epoch, epochs, samples, figures });
      });
      run.epochs++;
      const seconds = secondsSince(begin);
      model.eval();
      const evaluation = evaluate && (await evaluated(evaluate, measure, signal));
      const { figures } = means;
      const samplesPerSecond = means.samples / seconds;
      const report = { epoch, figures, ...(evaluation && { evaluation }), seconds, samplesPerSecond };
      reports.push(report);
      progress?.endEpoch(report);
      stopping?.note(evaluation ?? figures);
      for (const callback of options.callbacks ?? []) await callback(report);
      await checkpoints?.save(all, { step: run.steps, metrics: evaluation ?? figures });
    }
    stopping?.restore();
    return { epochs: reports, steps: run.steps, stoppedEarly: run.epochs < epochs, memory };
  } finally {
    progress?.stop();
    model.eval();
    stopping?.dispose();
  }
}

/** How far training has come. */
class RunState implements Stateful {
  epochs = 0;
  steps = 0;

  stateDict(): { epochs: number; steps: number } {
    return { epochs: this.epochs, steps: this.steps };
  }

  loadStateDict({ epochs, steps }: { readonly epochs: number; readonly steps: number }): void {
    this.epochs = epochs;
    this.steps = steps;
  }
}

/** Targets have one for each sample; inputs may have masks and the like besides. */
function samplesOf(batch: FitBatch, tensors: readonly Tensor[]): number {
  return ((batch[1] as Tensor | undefined) ?? tensors[0]!).shape[0] ?? 1;
}

/** Calls `use` with each batch of an epoch, or of what is left of it, and disposes the batch. */
async function over(
  data: Batches,
  signal: AbortSignal | undefined,
  use: (batch: FitBatch) => Promise<void>,
): Promise<void> {
  for await (const batch of data.iterate({ signal })) {
    try {
      await use(batch);
    } finally {
      disposeBatch(batch);
    }
  }
}

async function evaluated(
  evaluate: NonNullable<FitOptions['evaluate']>,
  measure: CompiledForBatches<Record<string, Tensor>>,
  signal: AbortSignal | undefined,
): Promise<Figures> {
  if (typeof evaluate === 'function') return figuresOf(await evaluate());
  const means = new MeanFigures();
  // Also where an evaluation before was aborted half-way.
  evaluate.loadStateDict({ ...evaluate.stateDict(), position: 0 });
  await over(evaluate, signal, async (batch) => {
    const { tensors, compiled } = measure.for(batch);
    means.add(await compiled(...tensors), samplesOf(batch, tensors));
  });
  return means.figures;
}

/** Refuses what an `evaluate` of the caller's gives that is no numbers by name. */
function figuresOf(given: unknown): Figures {
  const isFigures =
    typeof given === 'object' &&
    given !== null &&
    Object.values(given).every((value) => typeof value === 'number');
  if (isFigures) return given as Figures;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected numbers by name from evaluate, such as { accuracy: 0.9 }, but received ${inspect(given)}.`,
  );
}

function progressOf(data: Batches, { epochs, progress }: FitOptions): Progress | undefined {
  if (progress === undefined || progress === false) return undefined;
  const samplesPerEpoch = Math.min(data.samples, data.length * data.batchSize);
  return new Progress({ epochs, samplesPerEpoch, ...(progress !== true && { output: progress }) });
}

const secondsSince = (begin: number) => (performance.now() - begin) / 1000;
