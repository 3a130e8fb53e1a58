import { DrivetrainError } from '../native/index.js';
import {
  AdaptiveAvgPool2d,
  AvgPool1d,
  AvgPool2d,
  Dropout,
  Flatten,
  GELU,
  LeakyReLU,
  Linear,
  MaxPool1d,
  MaxPool2d,
  type Module,
  ReLU,
  Sigmoid,
  SiLU,
  Tanh,
} from '../nn/index.js';
import { checkOptions } from '../tensor/index.js';
import {
  type BatchNorm,
  type Convolution,
  isBatchNorm,
  isConvolution,
  narrowedBatchNorm,
} from './convolutions.js';
import { layersOf } from './layers-of.js';
import { prunePairs } from './prune-pairs.js';
import { type Followers, givenPairs, pairsIn } from './sequences.js';
import { checkAmount, narrowed, narrowedLinear } from './slices.js';
import { isExactly, withTensors } from './submodules.js';

export interface PruneChannelsOptions {
  /** The share of output channels that a convolution loses, in [0, 1); at least one is kept. */
  amount: number;
  /**
   * Which convolutions lose channels, and all that takes them: normalisations, convolutions, and `Linear`s behind a
   * flattening, as in `{ conv1: ['norm1', 'conv2'] }`. Unless given, these are found in `Sequential`s: a convolution, its
   * normalisations and the next convolution or, behind a `Flatten()`, `Linear`, with nothing between but activations, pooling
   * and dropout.
   */
  layers?: Followers;
}

/** Layers that treat every channel by itself. */
const BY_CHANNEL = [
  ReLU,
  LeakyReLU,
  GELU,
  SiLU,
  Tanh,
  Sigmoid,
  Dropout,
  MaxPool1d,
  MaxPool2d,
  AvgPool1d,
  AvgPool2d,
  AdaptiveAvgPool2d,
];

type Follower = Convolution | BatchNorm | Linear;

/**
 * A smaller copy of a model: its `Conv1d` and `Conv2d` without the output channels whose filters have the least L2 norm, the
 * normalisations after them without these channels, and the layers after those without the inputs that came from there. The
 * outputs are those of the original in which the layers that take them weigh these inputs with 0, so that neither a bias
 * nor a normalisation leaves anything of them. All else is shared with the original. Li and others, arXiv:1608.08710, with
 * their L1 norm; L2 is that of PyTorch's `ln_structured` and of `pruneUnits`.
 *
 * Throws `DT_INVALID_ARGUMENT` for a share that leaves no channel, a name of no such layer, convolutions in groups, and a
 * model in which nothing is found; `DT_SHAPE_MISMATCH` for layers that do not take the channels.
 */
export function pruneChannels(model: Module, options: PruneChannelsOptions): Module {
  checkOptions('pruneChannels', options, ['amount', 'layers']);
  const { amount } = options;
  checkAmount('pruneChannels', amount);
  const followers = layersOf('pruneChannels', model, [], isFollower, 'convolutions');
  const pairs = options.layers === undefined ? pairsIn(model, pairsOf) : givenPairs(options.layers);
  if (pairs.length === 0) {
    throw invalid(
      'a convolution before another layer that takes its channels in a Sequential, or layers: { layer: next },',
      'none',
    );
  }
  return prunePairs(model, pairs, amount, {
    operation: 'pruneChannels',
    rows: 'channels',
    layers: followers,
    kinds: 'convolutions, normalisations and Linear layers',
    check,
    inputs: (taker) => ({
      count: taker.weight.shape[isBatchNorm(taker) ? 0 : 1]!,
      several: !isConvolution(taker),
    }),
    cut,
  });
}

/** Each convolution of a sequence, but those in groups, with what takes its channels, by their places. */
function pairsOf(layers: readonly Module[]): number[][] {
  const pairs: number[][] = [];
  let taken: number[] = [];
  let flat = false;
  for (const [i, layer] of layers.entries()) {
    const isNext = flat ? isExactly(layer, Linear) : isConvolution(layer);
    if (taken.length > 0 && isNext && !inGroups(layer)) pairs.push([...taken, i]);
    if (isConvolution(layer)) [taken, flat] = [inGroups(layer) ? [] : [i], false];
    else if (isBatchNorm(layer)) taken = taken.length > 0 ? [...taken, i] : [];
    else if (flattens(layer)) flat = true;
    else if (!BY_CHANNEL.some((type) => isExactly<Module>(layer, type))) taken = [];
  }
  return pairs;
}

const inGroups = (layer: Module) => isConvolution(layer) && layer.groups > 1;

function flattens(module: Module): boolean {
  return isExactly(module, Flatten) && module.startDim === 1 && module.endDim === -1;
}

function isFollower(module: Module): module is Follower {
  return isConvolution(module) || isBatchNorm(module) || isExactly(module, Linear);
}

function check(
  name: string,
  layer: Follower,
  takers: readonly (readonly [name: string, layer: Follower])[],
): void {
  if (!isConvolution(layer)) throw invalid(`a convolution as ${name}`, layer.constructor.name);
  if (takers.every(([, taker]) => isBatchNorm(taker))) {
    const received = takers.map(([own]) => own).join(', ');
    throw invalid(`a convolution or a Linear among what takes the channels of ${name}`, received);
  }
  for (const [own, each] of [[name, layer] as const, ...takers]) {
    if (inGroups(each)) throw invalid(`${own} in one group`, `${(each as Convolution).groups} groups`);
  }
}

function cut(
  layer: Follower,
  outputs: readonly number[] | undefined,
  inputs: readonly number[] | undefined,
): Module {
  if (isBatchNorm(layer)) return narrowedBatchNorm(layer, inputs!);
  if (!isConvolution(layer)) return narrowedLinear(layer, outputs, inputs);
  const { weight, bias } = layer;
  return withTensors<Convolution>(layer, {
    weight: narrowed(weight, outputs, inputs),
    ...(bias && { bias: narrowed(bias, outputs, undefined) }),
  });
}

function invalid(expected: string, received: string): DrivetrainError {
  return new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected ${expected} for pruneChannels but received ${received}.`,
  );
}
