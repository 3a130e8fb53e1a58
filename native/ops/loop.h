// The iteration space of elementwise ops.
#pragma once
#include "tensor_ref.h"

namespace drivetrain {

constexpr int kMaxOperands = 4;

// The operands' common iteration space with mergeable dimensions merged.
struct Loop {
  int operands;
  int rank = 0;
  size_t shape[kMaxRank];
  int64_t strides[kMaxOperands][kMaxRank];
  char* data[kMaxOperands];
  size_t bytes[kMaxOperands];

  explicit Loop(const OpCall& call) : operands(static_cast<int>(call.count)) {
    const TensorRef& first = call[0];
    for (int o = 0; o < operands; o++) {
      data[o] = call[o].as<char>();
      bytes[o] = bytes_of(call[o].dtype);
    }
    for (int i = 0; i < first.rank; i++) {
      if (first.shape[i] == 1) continue;
      if (rank > 0 && mergeable(call, i)) {
        shape[rank - 1] *= static_cast<size_t>(first.shape[i]);
      } else {
        shape[rank++] = static_cast<size_t>(first.shape[i]);
      }
      for (int o = 0; o < operands; o++) strides[o][rank - 1] = call[o].strides[i];
    }
    if (rank == 0) {
      shape[0] = 1;
      for (int o = 0; o < operands; o++) strides[o][0] = 1;
      rank = 1;
    }
  }

  size_t inner() const { return shape[rank - 1]; }
  size_t outer() const {
    size_t n = 1;
    for (int i = 0; i + 1 < rank; i++) n *= shape[i];
    return n;
  }

  // Whether dimension i continues the last merged one in every operand.
  bool mergeable(const OpCall& call, int i) const {
    for (int o = 0; o < operands; o++) {
      if (strides[o][rank - 1] != call[o].strides[i] * call[o].shape[i]) return false;
    }
    return true;
  }

  char* at(int operand, size_t row, size_t column) const {
    int64_t offset = static_cast<int64_t>(column) * strides[operand][rank - 1];
    for (int i = rank - 2; i >= 0; i--) {
      offset += static_cast<int64_t>(row % shape[i]) * strides[operand][i];
      row /= shape[i];
    }
    return data[operand] + offset * static_cast<int64_t>(bytes[operand]);
  }
};

}  // namespace drivetrain
