// Fork-join parallelism and per-thread scratch, as kernels see them: plain functions, no std types.
#pragma once
#include <cstddef>

namespace drivetrain {

using ChunkFn = void (*)(void* context, size_t chunk);

// Calls fn(context, i) for every i in [0, chunks), on this thread and on idle threads of the process-wide
// pool, and returns when all are done. Which thread takes a chunk is not fixed, so a chunk's result must not
// depend on it: cut work by shape, never by the number of threads. May be nested; a nested call runs the same
// way.
void parallel_for(size_t chunks, ChunkFn fn, void* context);

// How many threads may work at once. It may decide how finely work is cut, where that changes no result.
int threads();

// The same for chunks of some microseconds: the first one is timed, and where the others would take this
// thread less time than it takes to wake another one and to move their data there, they stay here.
void parallel_for_short(size_t chunks, ChunkFn fn, void* context);

// This thread's 64-byte-aligned scratch. Each slot is one block that grows as needed; its content is
// undefined after the next call with the same slot on the same thread. Kernels use slots 0 to 3, ops 4 to 7,
// programs 8.
void* scratch(int slot, size_t bytes);

}  // namespace drivetrain
