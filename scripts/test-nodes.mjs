// The tests, but for the repeats per instruction set, on the newer Nodes that are supported: those with long-term
// support, and the current release.
import { currentMajor, nodeBinary } from './nodes.mjs';
import { main } from './shared.mjs';
import { report, vitest } from './suites.mjs';

await main(() => {
  const majors = [22, 24, currentMajor()];
  report(majors.map((major) => vitest(['--project', 'default'], { node: nodeBinary('linux-x64', major) })));
});
