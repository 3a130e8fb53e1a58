import { BertLayer } from '../models/index.js';
import { DrivetrainError } from '../native/index.js';
import { Linear, type Module, MultiHeadAttention } from '../nn/index.js';
import { checkOptions } from '../tensor/index.js';
import { layersOf } from './layers-of.js';
import { checkAmount, inBlocks, largest, narrowedLinear, squaredNorms } from './slices.js';
import { isExactly, namedModules, replaceModules } from './submodules.js';

export interface PruneHeadsOptions {
  /** The share of heads that each attention loses, in [0, 1); at least one is kept. */
  amount: number;
  /** Attentions that keep all heads, by name: `layers.0.selfAttn`, or `bert.layers.0` in a BERT. */
  exclude?: readonly string[];
}

/** The fields of the projections into heads (queries, keys and values, one under another) and out of them. */
const PROJECTIONS = { attention: ['inProj', 'outProj'], bert: ['queryKeyValue', 'attentionOutput'] } as const;

/**
 * A smaller copy of a model: its `MultiHeadAttention`s and the attentions of a `BertModel` without the heads of the least L2
 * norm, taken over all weights of a head: its rows of the projections to queries, keys and values, and its columns of the
 * projection out. Width and scale of the other heads stay. The outputs are those of the original whose projections out are
 * 0 for the heads that are gone. All else is shared with the original. Heads as what is removed: Michel, Levy and Neubig,
 * arXiv:1905.10650, who rank them by gradients; norms as the rank: Li and others, arXiv:1608.08710.
 *
 * Throws `DT_INVALID_ARGUMENT` for a share that leaves no head, a name of no attention, a model without, and projections
 * that are no `Linear` of their own, such as those of integers.
 */
export function pruneHeads(model: Module, options: PruneHeadsOptions): Module {
  checkOptions('pruneHeads', options, ['amount', 'exclude']);
  const { amount, exclude = [] } = options;
  checkAmount('pruneHeads', amount);
  const attentions = layersOf('pruneHeads', model, exclude, isAttention, 'attention');
  const modules = namedModules(model);
  const replacements = new Map<string, Module>();
  for (const [name, attention] of attentions) {
    const fields = isExactly(attention, BertLayer) ? PROJECTIONS.bert : PROJECTIONS.attention;
    const names = fields.map((field) => (name === '' ? field : `${name}.${field}`));
    const [into, out] = names.map((at) => projectionOf(modules, at));
    const { headDim } = attention;
    const kept = inBlocks(largest('pruneHeads', squaresOfHeads(into!, out!, headDim), amount), headDim);
    const width = out!.weight.shape[1]!;
    const rows = [0, 1, 2].flatMap((part) => kept.map((column) => part * width + column));
    replacements.set(names[0]!, narrowedLinear(into!, rows));
    replacements.set(names[1]!, narrowedLinear(out!, undefined, kept));
  }
  return replaceModules(model, replacements);
}

function isAttention(module: Module): module is MultiHeadAttention | BertLayer {
  return isExactly(module, MultiHeadAttention) || isExactly(module, BertLayer);
}

/** The squares of all weights of each head. */
function squaresOfHeads(into: Linear, out: Linear, headDim: number): number[] {
  const columns = squaredNorms(out.weight, 1);
  const heads = columns.length / headDim;
  const sums = new Array<number>(heads).fill(0);
  for (const squares of [squaredNorms(into.weight, 0), columns]) {
    for (const [i, square] of squares.entries()) sums[Math.floor(i / headDim) % heads]! += square;
  }
  return sums;
}

/** A projection by its name, which a layer that stands elsewhere too does not have. */
function projectionOf(modules: ReadonlyMap<string, Module>, name: string): Linear {
  const layer = modules.get(name);
  if (isExactly(layer, Linear)) return layer;
  const received = layer === undefined ? 'one that stands elsewhere too' : layer.constructor.name;
  throw new DrivetrainError(
    'DT_INVALID_ARGUMENT',
    `Expected a Linear of its own as ${name} for pruneHeads but received ${received}; heads are pruned before layers are quantized.`,
  );
}
