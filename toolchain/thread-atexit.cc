// The destructors of thread-local objects. libc++'s own version calls a function that glibc has only
// since 2.18; an addon linked with it would not load on 2.17. This one asks whether the function is there.
// Where it is not, the objects of a thread that ends are not freed: ours hold scratch memory.
extern "C" {
__attribute__((weak)) int __cxa_thread_atexit_impl(void (*)(void*), void*, void*);

__attribute__((visibility("hidden"))) int __cxa_thread_atexit(void (*destroy)(void*), void* object,
                                                              void* library) {
  return __cxa_thread_atexit_impl ? __cxa_thread_atexit_impl(destroy, object, library) : 0;
}
}
