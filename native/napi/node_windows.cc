// On Windows a library's functions are bound to a file's name, and Node's may be any: node.exe, a copy by
// another name, Electron. Here Node-API's functions are looked up when the addon loads, in the program that
// loads it. Compiled code calls an imported function `f` through the pointer __imp_f: these are the pointers.
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

// Node-API's functions, each as DRIVETRAIN_NODE_API(name); CMake makes it from the list of node-api-headers.
#define DRIVETRAIN_NODE_API(name) extern "C" FARPROC __imp_##name = nullptr;
#include "node_api_functions.h"
#undef DRIVETRAIN_NODE_API

namespace {

// Where Node is a library of the program it goes by one of these names.
FARPROC find(const char* name) {
  const HMODULE modules[] = {GetModuleHandleW(nullptr), GetModuleHandleW(L"node.dll"),
                             GetModuleHandleW(L"libnode.dll")};
  for (const HMODULE module : modules) {
    if (module == nullptr) continue;
    if (const FARPROC found = GetProcAddress(module, name)) return found;
  }
  return nullptr;
}

// Before anything of the addon is called.
[[maybe_unused]] const bool bound = [] {
#define DRIVETRAIN_NODE_API(name) __imp_##name = find(#name);
#include "node_api_functions.h"
#undef DRIVETRAIN_NODE_API
  return true;
}();

}  // namespace
