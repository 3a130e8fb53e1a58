// Random numbers by counter. A generator's state is i64 [2]: seed and offset, the offset in counter blocks.
// attrs[0] is the op's own distance from the offset, so that the ops of one program draw from separate
// ranges.
#include "kernels_of.h"
#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {
namespace {

constexpr size_t kChunk = 16384;  // a multiple of 4: elements of one counter block stay together

struct Stream {
  uint64_t seed, offset;
  Stream(const TensorRef& state, double distance)
      : seed(static_cast<uint64_t>(state.as<int64_t>()[0])),
        offset(static_cast<uint64_t>(state.as<int64_t>()[1]) + static_cast<uint64_t>(distance)) {}
};

// operands: state, out
template <class T>
void fill_random(const OpCall& call, void (*kernel)(uint64_t, uint64_t, size_t, T*, size_t)) {
  const Stream stream(call[0], call.attrs[0]);
  parallel_chunks(call[1].size(), kChunk, [&](size_t first, size_t end) {
    kernel(stream.seed, stream.offset, first, call[1].as<T>() + first, end - first);
  });
}

template <class T>
void uniform_of(const OpCall& call) {
  fill_random<T>(call, kernels_of<T>().uniform);
}

template <class T>
void normal_of(const OpCall& call) {
  fill_random<T>(call, kernels_of<T>().normal);
}

// operands: x, rate (f64 scalar), state, out
template <class T>
void dropout_of(const OpCall& call) {
  const Stream stream(call[2], call.attrs[0]);
  const T rate = static_cast<T>(*call[1].as<double>());
  parallel_chunks(call[0].size(), kChunk, [&](size_t first, size_t end) {
    kernels_of<T>().dropout(stream.seed, stream.offset, first, rate, call[0].as<T>() + first,
                            call[3].as<T>() + first, end - first);
  });
}

}  // namespace

void op_uniform(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[1].dtype, uniform_of, call); }
void op_normal(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[1].dtype, normal_of, call); }
void op_dropout(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, dropout_of, call); }

// operands: state; attrs: [counter blocks]
void op_advance(const OpCall& call) { call[0].as<int64_t>()[1] += static_cast<int64_t>(call.attrs[0]); }

}  // namespace drivetrain
