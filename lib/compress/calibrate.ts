import { DrivetrainError } from '../native/index.js';
import { Module } from '../nn/index.js';
import { currentPool, Tensor } from '../tensor/index.js';
import { RangeObserver } from './range-observer.js';
import { replaceModules } from './submodules.js';

/** Inputs of a model, one after another: a tensor for each, or an array where `forward` takes several. */
export type Inputs = Iterable<Tensor | readonly Tensor[]>;

/** Shows what goes into a layer, and what comes out. */
class Watched extends Module {
  readonly layer: Module;
  private readonly watch: (x: Tensor, y: Tensor) => void;

  constructor(layer: Module, watch: (x: Tensor, y: Tensor) => void) {
    super();
    this.layer = layer;
    this.watch = watch;
  }

  forward(input: Tensor, ...others: unknown[]): Tensor {
    const y = this.layer.forward(input, ...others);
    this.watch(input, y);
    return y;
  }
}

function describe(inputs: unknown): string {
  if (inputs instanceof Tensor) return 'a tensor; [tensor] is one input';
  const isAsync =
    typeof (inputs as Partial<AsyncIterable<unknown>> | null | undefined)?.[Symbol.asyncIterator] ===
    'function';
  return isAsync
    ? 'what is read asynchronously, as a DataLoader; collect some of its inputs in an array'
    : typeof inputs;
}

/** Runs a model on inputs and shows what goes into each of the layers and what comes out, and the model's outputs. */
export function watchLayers(
  operation: string,
  model: Module,
  layers: ReadonlyMap<string, Module>,
  inputs: Inputs,
  watch: (name: string, x: Tensor, y: Tensor) => void,
  finished: (given: readonly [Tensor, ...Tensor[]], y: Tensor) => void = () => {},
): void {
  const reached = new Set<string>();
  const watched = replaceModules(
    model,
    new Map(
      [...layers].map(([name, layer]) => [
        name,
        new Watched(layer, (x, y) => {
          reached.add(name);
          watch(name, x, y);
        }),
      ]),
    ),
  );
  if (
    typeof (inputs as Partial<Inputs> | undefined)?.[Symbol.iterator] !== 'function' ||
    inputs instanceof Tensor
  ) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected an iterable of inputs (tensors, or arrays of them) for ${operation} but received ${describe(inputs)}.`,
    );
  }
  for (const input of inputs) {
    const given = input instanceof Tensor ? ([input] as const) : (input as readonly [Tensor, ...Tensor[]]);
    currentPool().scope(() => finished(given, watched.forward(...given)));
  }
  const missed = [...layers.keys()].filter((name) => !reached.has(name));
  if (missed.length === 0) return;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected inputs for ${operation} that reach every layer, through fields of the model, but received none that reach ${missed.join(', ')}; exclude what is not used.`,
  );
}

/** What went into each of the layers. */
export function observeRanges(
  model: Module,
  layers: ReadonlyMap<string, Module>,
  inputs: Inputs,
): Map<string, RangeObserver> {
  const observers = new Map([...layers.keys()].map((name) => [name, new RangeObserver()]));
  watchLayers('the calibration of quantize', model, layers, inputs, (name, x) => {
    observers.get(name)!.add(x, name);
  });
  return observers;
}
