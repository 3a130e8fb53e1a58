/** What a queue needs to know of a request that waits for its batch. */
export interface Waiting {
  /** Requests of equal keys can share a batch. */
  readonly key: string;
  readonly rows: number;
  /** `performance.now()` on arrival. */
  readonly arrivedAt: number;
}

/** The waiting requests of one key, oldest first; never empty. */
export interface Group<R extends Waiting> {
  readonly requests: ReadonlySet<R>;
  readonly rows: number;
}

/** Waiting requests, grouped by what can share a batch. Any request can leave at any time, in constant time. */
export class RequestQueue<R extends Waiting> {
  readonly #groups = new Map<string, { requests: Set<R>; rows: number }>();
  #length = 0;
  #rows = 0;

  /** How many requests wait. */
  get length(): number {
    return this.#length;
  }

  /** How many rows they have together. */
  get rows(): number {
    return this.#rows;
  }

  add(request: R): void {
    let group = this.#groups.get(request.key);
    if (group === undefined) {
      group = { requests: new Set(), rows: 0 };
      this.#groups.set(request.key, group);
    }
    group.requests.add(request);
    group.rows += request.rows;
    this.#length++;
    this.#rows += request.rows;
  }

  /** Whether it was still waiting. */
  remove(request: R): boolean {
    const group = this.#groups.get(request.key);
    if (group === undefined || !group.requests.delete(request)) return false;
    group.rows -= request.rows;
    if (group.requests.size === 0) this.#groups.delete(request.key);
    this.#length--;
    this.#rows -= request.rows;
    return true;
  }

  /** Of the groups that are accepted, the one whose first request has waited longest: nobody starves. */
  oldest(accept: (group: Group<R>) => boolean = () => true): Group<R> | undefined {
    let found: Group<R> | undefined;
    for (const group of this.#groups.values()) {
      if (accept(group) && (found === undefined || headOf(group).arrivedAt < headOf(found).arrivedAt))
        found = group;
    }
    return found;
  }
}

/** The request of a group that came first. */
export function headOf<R extends Waiting>(group: Group<R>): R {
  return group.requests.values().next().value!;
}
