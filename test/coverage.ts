// Where coverage is measured: a worker of vitest is ended before Node writes what it ran.
import { takeCoverage } from 'node:v8';
import { afterAll } from 'vitest';

afterAll(takeCoverage);
