// Stands in for a Node on musl: loads the addon, lets it set itself up, and prints how many exports it made.
// Node-API's functions answer "ok" and do nothing; the addon's threads and its C++ library are real.
#include <dlfcn.h>

#include <stdio.h>

#define HOST extern "C" __attribute__((visibility("default")))

static int exported = 0;

HOST int napi_set_named_property(void*, void*, const char*, void*) { return exported++, 0; }

#define DRIVETRAIN_NODE_API(name) \
  HOST __attribute__((weak)) int name() { return 0; }
#include "node_api_functions.h"

int main(int, char** argv) {
  void* const addon = dlopen(argv[1], RTLD_NOW);
  if (addon == nullptr) return fprintf(stderr, "%s\n", dlerror()), 1;
  using Register = void* (*)(void*, void*);
  const auto set_up = reinterpret_cast<Register>(dlsym(addon, "napi_register_module_v1"));
  if (set_up == nullptr) return fprintf(stderr, "%s\n", dlerror()), 1;
  int exports = 0;
  set_up(nullptr, &exports);
  printf("%d exports\n", exported);
  fflush(stdout);
  return exported == 0;
}
