/** Objects for as long as somebody else holds them. */
export class LiveSet<T extends object> {
  readonly #references = new Set<WeakRef<T>>();
  readonly #referenceOf = new WeakMap<T, WeakRef<T>>();
  readonly #forgotten = new FinalizationRegistry<WeakRef<T>>((reference) =>
    this.#references.delete(reference),
  );

  add(object: T): void {
    if (this.#referenceOf.has(object)) return;
    const reference = new WeakRef(object);
    this.#referenceOf.set(object, reference);
    this.#references.add(reference);
    this.#forgotten.register(object, reference);
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (const reference of this.#references) {
      const object = reference.deref();
      if (object !== undefined) yield object;
    }
  }
}
