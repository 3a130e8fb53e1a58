import { TestRunner } from 'vitest';

/** How long a process of this test may take, in milliseconds: a little less than the test, which then shows what it said. */
export const processLimit = (): number => TestRunner.getCurrentTest()!.timeout - 5000;
