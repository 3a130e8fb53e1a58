import {
  AdaBelief,
  Adadelta,
  Adafactor,
  Adagrad,
  Adam,
  Adam8bit,
  Adamax,
  AdamW,
  AdamW8bit,
  LAMB,
  LARS,
  Lion,
  Muon,
  NAdam,
  type Parameter,
  type Parameters,
  RAdam,
  RMSprop,
  SGD,
  type Tensor,
} from 'drivetrain';

/** An optimizer, as far as a training loop with a schedule is concerned. */
interface AnyOptimizer {
  readonly paramGroups: readonly { lr: number }[];
  step(gradients: readonly Tensor[]): void;
  stateDict(): Record<string, Tensor>;
}

/** One way to train: what stands in the table, and what makes the optimizer. */
export interface Method {
  readonly name: string;
  /** The options that are given; all others keep their defaults. */
  readonly options: object;
  readonly create: (parameters: Parameters) => AnyOptimizer;
}

function method<O extends object>(
  optimizer: new (parameters: Parameters, options: O) => AnyOptimizer,
  options: O,
  name: string = optimizer.name,
): Method {
  return { name, options, create: (parameters) => new optimizer(parameters, options) };
}

/** Muon for the matrices but that of the last layer, AdamW for the rest; one schedule sets the rates of both. */
function muonAndAdamW(options: { lr: number }, rest: { lr: number }): Method {
  const create = (parameters: Parameters): AnyOptimizer => {
    const named = [...(parameters as ReadonlyMap<string, Parameter>)] as [string, Tensor][];
    const last = named.findLastIndex(([, { rank }]) => rank === 2);
    const isMuons = ({ rank }: Tensor, i: number) => rank === 2 && i !== last;
    const choose = <T>(of: readonly T[], wanted: boolean) =>
      of.filter((_, i) => isMuons(named[i]![1], i) === wanted);
    const [muon, adam] = [
      new Muon(new Map(choose(named, true)), options),
      new AdamW(new Map(choose(named, false)), rest),
    ];
    return {
      paramGroups: [...muon.paramGroups, ...adam.paramGroups],
      step: (gradients) => {
        muon.step(choose(gradients, true));
        adam.step(choose(gradients, false));
      },
      stateDict: () => ({ ...muon.stateDict(), ...adam.stateDict() }),
    };
  };
  return { name: 'Muon, AdamW', options: { ...options, 'AdamW’s lr': rest.lr }, create };
}

/** `lr` is the highest rate, which the schedule reaches after its warm-up. */
export const METHODS: readonly Method[] = [
  method(SGD, { lr: 0.5 }),
  method(SGD, { lr: 0.05, momentum: 0.9 }, 'SGD with momentum'),
  method(SGD, { lr: 0.05, momentum: 0.9, nesterov: true }, 'SGD, Nesterov'),
  method(Adam, { lr: 2e-3 }),
  method(Adam, { lr: 2e-3, amsgrad: true }, 'Adam, AMSGrad'),
  method(AdamW, { lr: 2e-3, weightDecay: 0.01 }),
  method(NAdam, { lr: 2e-3 }),
  method(RAdam, { lr: 2e-3 }),
  method(AdaBelief, { lr: 2e-3 }),
  method(Adamax, { lr: 4e-3 }),
  method(Adagrad, { lr: 0.03 }),
  method(Adadelta, { lr: 1 }),
  method(RMSprop, { lr: 1e-3 }),
  method(Lion, { lr: 3e-4, weightDecay: 0.01 }),
  method(Adafactor, { lr: 3e-3, relativeStep: false, scaleParameter: false }),
  method(LAMB, { lr: 0.01, weightDecay: 0.01 }),
  muonAndAdamW({ lr: 0.02 }, { lr: 2e-3 }),
  method(LARS, { lr: 5, weightDecay: 1e-4 }),
  method(Adam8bit, { lr: 2e-3 }),
  method(AdamW8bit, { lr: 2e-3, weightDecay: 0.01 }),
];
