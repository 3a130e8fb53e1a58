// The tests, but for the repeats per instruction set, on the newer Nodes that are supported.
import { nodeBinary } from './nodes.mjs';
import { main } from './shared.mjs';
import { report, vitest } from './suites.mjs';

const MAJORS = [22, 24];

await main(() => {
  report(MAJORS.map((major) => vitest(['--project', 'default'], { node: nodeBinary('linux-x64', major) })));
});
