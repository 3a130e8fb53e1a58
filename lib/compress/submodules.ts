import { DrivetrainError } from '../native/index.js';
import { Module } from '../nn/index.js';
import type { Tensor } from '../tensor/index.js';

/** A model and the modules inside of it, each once, by their paths of field names: `layers.0`; the model itself is ''. */
export function namedModules(model: Module): Map<string, Module> {
  const names = new Map<Module, string>();
  const visit = (module: Module, name: string) => {
    if (names.has(module)) return;
    names.set(module, name);
    for (const [field, child] of children(module)) visit(child, joined(name, field));
  };
  visit(model, '');
  return new Map([...names].map(([module, name]) => [name, module]));
}

/**
 * A model with some modules replaced: those that `replacements` names, by their paths. What holds none of them is shared
 * with the original; what holds some is copied, field by field.
 */
export function replaceModules(model: Module, replacements: ReadonlyMap<string, Module>): Module {
  const made = new Map<Module, Module>();
  const visit = (module: Module, name: string): Module => {
    const known = made.get(module) ?? replacements.get(name);
    if (known !== undefined) {
      made.set(module, known);
      return known;
    }
    const changed = new Map<Module, Module>();
    for (const [field, child] of children(module)) {
      const other = visit(child, joined(name, field));
      if (other !== child) changed.set(child, other);
    }
    const result = changed.size === 0 ? module : copyWith(module, changed);
    made.set(module, result);
    return result;
  };
  return visit(model, '');
}

/** A copy of a layer with some of its tensors replaced. */
export function withTensors<M extends Module>(
  layer: M,
  tensors: Readonly<Record<string, Tensor | undefined>>,
): M {
  return Object.assign(copyWith(layer, new Map()) as M, tensors);
}

/** Whether a module is of a class itself: a subclass may do something else in forward. */
export function isExactly<M extends Module>(
  module: Module | undefined,
  type: abstract new (...args: never[]) => M,
): module is M {
  return module?.constructor === type;
}

function joined(name: string, field: string): string {
  return name === '' ? field : `${name}.${field}`;
}

/** The modules in a module's fields, and in arrays there. */
export function* children(module: Module): Generator<[field: string, child: Module]> {
  for (const [field, value] of Object.entries(module)) {
    if (value instanceof Module) yield [field, value];
    if (!Array.isArray(value)) continue;
    for (const [i, item] of value.entries()) if (item instanceof Module) yield [`${field}.${i}`, item];
  }
}

function copyWith(module: Module, changed: ReadonlyMap<Module, Module>): Module {
  checkCopyable(module);
  const swap = (value: unknown) => changed.get(value as Module) ?? value;
  // Its own mode: it has no fields yet, so that no other module's is set.
  const copy = bare(Object.getPrototypeOf(module) as object).train(module.training);
  for (const [field, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(module))) {
    const { value } = descriptor;
    if ('value' in descriptor) descriptor.value = Array.isArray(value) ? value.map(swap) : swap(value);
    Object.defineProperty(copy, field, descriptor);
  }
  return copy;
}

/** A module with the methods of `prototype` and no fields: the constructors of subclasses, which would fill it, do not run. */
function bare(prototype: object): Module {
  return Object.setPrototypeOf(Reflect.construct(Module, []), prototype) as Module;
}

/** Private members of a class, by its source: at the beginning of a line or a block, `#name` or `get #name`. */
const PRIVATE = /(?:^|[{};])\s*(?:(?:async|get|set)\s+|\*)?(#[\w$]+)\s*[=;(}\n]/m;

/** Only a class's own constructor makes its #private members; and a function in a field is that of the original. */
function checkCopyable(module: Module): void {
  if (Object.hasOwn(module, 'forward')) {
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected modules that can be copied, field by field, but received ${module.constructor.name}, whose forward is a field and would go on using the original; make it a method.`,
    );
  }
  for (
    let prototype = Object.getPrototypeOf(module) as object;
    prototype !== Module.prototype;
    prototype = Object.getPrototypeOf(prototype) as object
  ) {
    const type = prototype.constructor;
    const [, member] = PRIVATE.exec(Function.prototype.toString.call(type)) ?? [];
    if (member === undefined) continue;
    throw new DrivetrainError(
      'DT_INVALID_ARGUMENT',
      `Expected modules that can be copied, field by field, but received ${type.name}, whose ${member} no copy can have; make it a plain field (private in TypeScript does no harm).`,
    );
  }
}
