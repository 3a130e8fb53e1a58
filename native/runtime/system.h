// What the runtime asks of the operating system. Each has a file of its own, system_<name>.cc; what Linux and
// macOS have in common is in system_posix.cc.
#pragma once
#include <cstddef>

namespace drivetrain {

// Processors that this process may really use: affinity and quotas of containers counted; at least 1.
int usable_processors();

// Whether the processor multiplies bytes by four (arm64's dot product); false on others than arm64.
bool has_dot_product();

// Whether the system gives processes x86's registers of tiles (AMX); false where nobody has written down how
// to ask.
bool has_tiles();

// Asks for them, which a process has to before it touches them: false where it is refused. Signal stacks of
// all its threads have to have room for them from then on.
bool request_tiles();

// Stacks of threads: the defaults of systems reach from 128 KiB (musl) to 8 MiB.
constexpr size_t kStackBytes = size_t{1} << 20;

// Starts a thread that nobody waits for; false where the system has none to give. std::thread would end the
// process then, in a build without exceptions.
bool start_thread(void (*body)(void*), void* argument);

size_t page_bytes();

// Gives whole pages back to the system; their content is undefined afterwards.
void discard_pages(void* pages, size_t bytes);

// Keeps the addon in memory: a worker that was the only one to load it would otherwise unload it under its
// threads.
void stay_loaded();

}  // namespace drivetrain
