#include <dlfcn.h>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <oneapi/dnnl/dnnl.hpp>
#include "values.h"

namespace drivetrain::bench {
namespace {

using dnnl::memory;

dnnl::engine& engine() {
  static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

dnnl::stream& stream() {
  static dnnl::stream one(engine());
  return one;
}

// oneDNN of Debian computes with OpenMP's threads and has no function of its own that sets their number.
napi_value set_threads(napi_env env, napi_callback_info info) {
  const auto set = reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  if (set != nullptr) set(static_cast<int>(to_double(env, Arguments<1>(env, info)[0])));
  return from_bool(env, set != nullptr);
}

// gemm(m, n, k, count, a, b, c): c = a · b for `count` row-major products that lie one after another.
napi_value gemm(napi_env env, napi_callback_info info) {
  const Arguments<7> args(env, info);
  const size_t m = to_size(env, args[0]), n = to_size(env, args[1]), k = to_size(env, args[2]);
  const size_t count = to_size(env, args[3]);
  const auto* a = static_cast<const float*>(data_of(env, args[4]));
  const auto* b = static_cast<const float*>(data_of(env, args[5]));
  auto* c = static_cast<float*>(data_of(env, args[6]));
  for (size_t i = 0; i < count; ++i)
    dnnl_sgemm('N', 'N', m, n, k, 1, a + i * m * k, k, b + i * k * n, n, 0, c + i * m * n, n);
  return nullptr;
}

struct Product {
  dnnl::matmul primitive;
  std::unordered_map<int, memory> arguments;
};

dnnl::matmul::primitive_desc describe(const memory::desc& a, const memory::desc& b, const memory::desc& c) {
#if DNNL_VERSION_MAJOR >= 3
  return dnnl::matmul::primitive_desc(engine(), a, b, c);
#else
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), engine());
#endif
}

void finalize(napi_env, void* data, void*) { delete static_cast<Product*>(data); }

napi_value throw_error(napi_env env, const std::exception& error) {
  napi_throw_error(env, nullptr, error.what());
  return nullptr;
}

napi_value wrap(napi_env env, std::unique_ptr<Product> product) {
  napi_value external = nullptr;
  napi_create_external(env, product.release(), finalize, nullptr, &external);
  return external;
}

// batched(batch, m, n, k, a, b, c): a product of batches as one primitive; `execute` runs it. The arrays must
// outlive it.
napi_value batched(napi_env env, napi_callback_info info) try {
  const Arguments<7> args(env, info);
  const auto dim = [&](int i) { return static_cast<memory::dim>(to_double(env, args[i])); };
  const auto tensor = [&](memory::dim rows, memory::dim columns) {
    return memory::desc({dim(0), rows, columns}, memory::data_type::f32, memory::format_tag::abc);
  };
  const auto a = tensor(dim(1), dim(3)), b = tensor(dim(3), dim(2)), c = tensor(dim(1), dim(2));
  auto product = std::make_unique<Product>();
  product->primitive = dnnl::matmul(describe(a, b, c));
  product->arguments = {{DNNL_ARG_SRC, memory(a, engine(), data_of(env, args[4]))},
                        {DNNL_ARG_WEIGHTS, memory(b, engine(), data_of(env, args[5]))},
                        {DNNL_ARG_DST, memory(c, engine(), data_of(env, args[6]))}};
  return wrap(env, std::move(product));
} catch (const std::exception& error) {
  return throw_error(env, error);
}

// int8(m, n, k, a, b, c): a product of u8 and s8 to s32, with b laid out ahead as oneDNN likes it best;
// `execute` runs it. a and c must outlive it.
napi_value int8(napi_env env, napi_callback_info info) try {
  const Arguments<6> args(env, info);
  const auto dim = [&](int i) { return static_cast<memory::dim>(to_double(env, args[i])); };
  using tag = memory::format_tag;
  const memory::dim m = dim(0), n = dim(1), k = dim(2);
  const memory::desc a({m, k}, memory::data_type::u8, tag::ab), c({m, n}, memory::data_type::s32, tag::ab);
  const memory::desc plain({k, n}, memory::data_type::s8, tag::ab);
  const memory::desc any({k, n}, memory::data_type::s8, tag::any);
  const auto primitive = describe(a, any, c);
  memory weights(primitive.weights_desc(), engine());
  memory given(plain, engine(), data_of(env, args[4]));
  dnnl::reorder(given, weights).execute(stream(), given, weights);
  stream().wait();
  auto product = std::make_unique<Product>();
  product->primitive = dnnl::matmul(primitive);
  product->arguments = {{DNNL_ARG_SRC, memory(a, engine(), data_of(env, args[3]))},
                        {DNNL_ARG_WEIGHTS, weights},
                        {DNNL_ARG_DST, memory(c, engine(), data_of(env, args[5]))}};
  return wrap(env, std::move(product));
} catch (const std::exception& error) {
  return throw_error(env, error);
}

napi_value execute(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_value_external(env, Arguments<1>(env, info)[0], &data);
  auto& product = *static_cast<Product*>(data);
  product.primitive.execute(stream(), product.arguments);
  stream().wait();
  return nullptr;
}

}  // namespace
}  // namespace drivetrain::bench

NAPI_MODULE_INIT() {
  using namespace drivetrain::bench;
  const dnnl_version_t* version = dnnl_version();
  const std::string text = std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
                           std::to_string(version->patch);
  set_string(env, exports, "version", text.c_str());
  return export_all(env, exports,
                    {{"setThreads", set_threads},
                     {"gemm", gemm},
                     {"batched", batched},
                     {"int8", int8},
                     {"execute", execute}});
}
