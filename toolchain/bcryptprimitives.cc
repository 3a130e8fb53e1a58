// The one function of Windows' bcryptprimitives.dll, which wine before version 9 lacks and programs in Rust ask for.
extern "C" {
__declspec(dllimport) unsigned char SystemFunction036(void* bytes, unsigned long size);

__declspec(dllexport) int ProcessPrng(unsigned char* bytes, unsigned long long size) {
  return SystemFunction036(bytes, static_cast<unsigned long>(size));
}
}
