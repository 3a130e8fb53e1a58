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
import { type Followers, givenPairs, type Pair, sequencesOf } from './sequences.js';
import { checkAmount, inBlocks, largest, narrowed, narrowedLinear, squaredNorms } from './slices.js';
import { isExactly, namedModules, replaceModules, withTensors } from './submodules.js';

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
  const pairs = options.layers === undefined ? pairsOf(model) : givenPairs(options.layers);
  if (pairs.length === 0) {
    throw invalid(
      'a convolution before another layer that takes its channels in a Sequential, or layers: { layer: next },',
      'none',
    );
  }
  const outputs = new Map<string, readonly number[]>();
  const inputs = new Map<string, readonly number[]>();
  for (const [name, nexts] of pairs) {
    const layer = find(followers, name);
    if (!isConvolution(layer)) throw invalid(`a convolution as ${name}`, layer.constructor.name);
    checkWhole(name, layer);
    const channels = layer.weight.shape[0]!;
    const kept = largest('pruneChannels', squaredNorms(layer.weight, 0), amount);
    outputs.set(name, kept);
    if (nexts.every((next) => isBatchNorm(find(followers, next)))) {
      throw invalid(`a convolution or a Linear among what takes the channels of ${name}`, nexts.join(', '));
    }
    for (const next of nexts) {
      const taker = find(followers, next);
      checkWhole(next, taker);
      const places = taker.weight.shape[isBatchNorm(taker) ? 0 : 1]! / channels;
      if (!Number.isInteger(places) || (isConvolution(taker) && places !== 1)) {
        throw new DrivetrainError(
          'DT_SHAPE_MISMATCH',
          `Expected ${next} to take the ${channels} channels of ${name} for pruneChannels but it takes ${places * channels}.`,
        );
      }
      if (inputs.has(next)) throw invalid(`${next} after one layer`, 'two');
      inputs.set(next, inBlocks(kept, places));
    }
  }
  const names = new Set([...outputs.keys(), ...inputs.keys()]);
  return replaceModules(
    model,
    new Map([...names].map((name) => [name, cut(followers.get(name)!, outputs.get(name), inputs.get(name))])),
  );
}

/** Each convolution of a `Sequential` with what takes its channels; none that stands in two places, or works in groups. */
function pairsOf(model: Module): Pair[] {
  const names = new Map([...namedModules(model)].map(([name, module]) => [module, name]));
  return sequencesOf(model).flatMap((steps) => {
    const usable = (layer: Module) =>
      steps.indexOf(layer) === steps.lastIndexOf(layer) && !(isConvolution(layer) && layer.groups > 1);
    const pairs: Pair[] = [];
    let taken: Module[] = [];
    let flat = false;
    const end = (taker: Module) => {
      const [layer, ...nexts] = [...taken, taker];
      if ([layer!, ...nexts].every(usable))
        pairs.push([names.get(layer!)!, nexts.map((next) => names.get(next)!)]);
    };
    for (const step of steps) {
      const isNext = flat ? isExactly(step, Linear) : isConvolution(step);
      if (taken.length > 0 && isNext) end(step);
      if (isConvolution(step)) [taken, flat] = [[step], false];
      else if (isBatchNorm(step)) taken = taken.length > 0 ? [...taken, step] : [];
      else if (flattens(step)) flat = true;
      else if (!BY_CHANNEL.some((type) => isExactly<Module>(step, type))) taken = [];
    }
    return pairs;
  });
}

function flattens(module: Module): boolean {
  return isExactly(module, Flatten) && module.startDim === 1 && module.endDim === -1;
}

function isFollower(module: Module): module is Follower {
  return isConvolution(module) || isBatchNorm(module) || isExactly(module, Linear);
}

function find(followers: ReadonlyMap<string, Follower>, name: string): Follower {
  const layer = followers.get(name);
  if (layer !== undefined) return layer;
  throw invalid(
    `names of convolutions, normalisations and Linear layers (${[...followers.keys()].join(', ')})`,
    String(name),
  );
}

function checkWhole(name: string, layer: Follower): void {
  if (isConvolution(layer) && layer.groups > 1)
    throw invalid(`${name} in one group`, `${layer.groups} groups`);
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
