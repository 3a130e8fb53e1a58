/** Node's own, without the rest of node:util: an import of that loads streams and worker_threads on Node 22 and later. */
export const { inspect } = process.getBuiltinModule('node:util');
