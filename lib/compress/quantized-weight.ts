import { DrivetrainError } from '../native/index.js';
import { Module, withThawed } from '../nn/index.js';
import { assign, clone, packInt8, transient } from '../ops/index.js';
import { formatShape, type Tensor } from '../tensor/index.js';

/** A linear layer whose weights are INT8 by a scale per output channel, with their packed copy. */
export abstract class QuantizedWeight extends Module {
  /** i8 [out, in] */
  readonly weight: Tensor;
  /** f32 [out]: weight · scale is the original weight, rounded. */
  readonly scale: Tensor;
  /** f32 [out] */
  readonly bias?: Tensor;
  /** The weight in the layout of this processor's kernels, made anew after loading: no part of the model's state. */
  protected readonly layout: { readonly packed: Tensor };

  constructor(weight: Tensor, scale: Tensor, bias?: Tensor) {
    super();
    const perChannel = (t: Tensor) => t.dtype === 'f32' && t.rank === 1 && t.size === weight.shape[0];
    if (
      weight.rank !== 2 ||
      weight.dtype !== 'i8' ||
      !perChannel(scale) ||
      (bias !== undefined && !perChannel(bias))
    ) {
      const received = [weight, scale, ...(bias ? [bias] : [])];
      throw new DrivetrainError(
        'DT_SHAPE_MISMATCH',
        `Expected weight i8 [out, in], scale f32 [out] and bias f32 [out] for ${new.target.name} but received ${received.map((t) => `${t.dtype} ${formatShape(t.shape)}`).join(', ')}.`,
      );
    }
    // A caller's array could change under its packed copy.
    this.weight = weight.storage.callerOwned ? clone(weight) : weight;
    this.scale = scale;
    if (bias !== undefined) this.bias = bias;
    this.layout = { packed: packInt8(this.weight) };
    this.weight.storage.frozen = true;
    this.weight.storage.sealed = true;
  }

  /** Frees its tensors. @internal */
  dispose(): void {
    for (const tensor of [...Object.values(this.stateDict()), this.layout.packed]) tensor.dispose();
  }

  protected checkInput(x: Tensor): void {
    const width = this.weight.shape[1]!;
    if (x.dtype === 'f32' && x.shape.at(-1) === width) return;
    throw new DrivetrainError(
      'DT_SHAPE_MISMATCH',
      `Expected f32 [..., ${width}] for ${this.constructor.name} but received ${x.dtype} ${formatShape(x.shape)}.`,
    );
  }

  /** Nothing here is trained. */
  override namedParameters(): Map<string, Tensor> {
    return new Map();
  }

  /** The weight is frozen, since a packed copy of it exists; loading writes both. */
  protected override loadField(field: string, target: Tensor, source: Tensor): void {
    if (field !== 'weight') {
      super.loadField(field, target, source);
      return;
    }
    withThawed([target.storage], () => super.loadField(field, target, source));
    transient(() => assign(this.layout.packed, packInt8(target)));
  }

  protected override checkLoadable(field: string, target: Tensor): void {
    if (field !== 'weight') {
      super.checkLoadable(field, target);
      return;
    }
    withThawed([target.storage], () => super.checkLoadable(field, target));
    this.layout.packed.checkReady(true);
  }
}
