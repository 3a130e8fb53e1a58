#include <pthread.h>
#include <unistd.h>

#include "system.h"

namespace drivetrain {
namespace {

struct Start {
  void (*body)(void*);
  void* argument;
};

void* enter(void* opaque) {
  const Start start = *static_cast<Start*>(opaque);
  delete static_cast<Start*>(opaque);
  start.body(start.argument);
  return nullptr;
}

}  // namespace

bool start_thread(void (*body)(void*), void* argument) {
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  auto* const start = new Start{body, argument};
  pthread_t thread;
  const bool started = pthread_create(&thread, &attributes, enter, start) == 0;
  pthread_attr_destroy(&attributes);
  if (!started) delete start;
  return started;
}

size_t page_bytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

}  // namespace drivetrain
