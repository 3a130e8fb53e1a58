#include <cblas.h>
#include "values.h"

// The names by which Debian's library has them; its cblas.h declares the first two in some versions only.
extern "C" {
char* openblas_get_config(void);
char* openblas_get_corename(void);
void openblas_set_num_threads(int threads);
}

namespace drivetrain::bench {
namespace {

napi_value set_threads(napi_env env, napi_callback_info info) {
  openblas_set_num_threads(static_cast<int>(to_double(env, Arguments<1>(env, info)[0])));
  return nullptr;
}

// gemm(m, n, k, count, a, b, c): c = a · b for `count` row-major products that lie one after another.
napi_value gemm(napi_env env, napi_callback_info info) {
  const Arguments<7> args(env, info);
  const size_t m = to_size(env, args[0]), n = to_size(env, args[1]), k = to_size(env, args[2]);
  const size_t count = to_size(env, args[3]);
  const auto* a = static_cast<const float*>(data_of(env, args[4]));
  const auto* b = static_cast<const float*>(data_of(env, args[5]));
  auto* c = static_cast<float*>(data_of(env, args[6]));
  for (size_t i = 0; i < count; ++i) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, 1, a + i * m * k, k, b + i * k * n, n, 0,
                c + i * m * n, n);
  }
  return nullptr;
}

}  // namespace
}  // namespace drivetrain::bench

NAPI_MODULE_INIT() {
  using namespace drivetrain::bench;
  set_string(env, exports, "config", openblas_get_config());
  set_string(env, exports, "core", openblas_get_corename());
  return export_all(env, exports, {{"setThreads", set_threads}, {"gemm", gemm}});
}
