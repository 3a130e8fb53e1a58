// Packs the library and uses the package as a stranger would.
import { main } from './shared.mjs';
import { report, vitest } from './suites.mjs';

await main(() => report([vitest(['--project', 'package'])]));
