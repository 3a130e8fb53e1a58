// What an op's implementation sees of its operands.
#pragma once
#include <cstddef>
#include <cstdint>

namespace drivetrain {

constexpr int kMaxRank = 8;

// The numbers of lib/tensor/dtype.ts.
enum class DType : uint8_t { kF32, kF64, kI64, kI32, kI8, kU8, kBool, kF16, kBF16 };

inline size_t bytes_of(DType dtype) {
  constexpr size_t kBytes[] = {4, 8, 8, 4, 1, 1, 1, 2, 2};
  return kBytes[static_cast<int>(dtype)];
}

// A view of a tensor; strides count elements and are 0 along broadcast dimensions. Both lie elsewhere, so
// that the thousands of views of an optimizer's step are small.
struct TensorRef {
  void* data;
  const int64_t* shape;
  const int64_t* strides;
  DType dtype;
  int rank;

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  size_t size() const {
    size_t n = 1;
    for (int i = 0; i < rank; i++) n *= static_cast<size_t>(shape[i]);
    return n;
  }
  // The last dimension; 1 for a scalar.
  size_t cols() const { return rank ? static_cast<size_t>(shape[rank - 1]) : 1; }
  // The product of all dimensions but the last.
  size_t rows() const {
    size_t n = 1;
    for (int i = 0; i + 1 < rank; i++) n *= static_cast<size_t>(shape[i]);
    return n;
  }
};

// Why an op refuses its values, so that its call ends before anything is written.
struct Refusal {
  enum Reason { kNone, kGradients, kIndex };
  Reason reason = kNone;
  // The first index that is out of its range, and its place among the indices.
  size_t place = 0;
  int64_t index = 0;
  size_t instruction = 0;  // of the program
};

// An op: operands in the order of lib/ops (inputs, then outputs) and its numbers. Shapes and dtypes were
// checked in TypeScript.
struct OpCall {
  const TensorRef* operands;
  size_t count;
  const double* attrs;
  size_t attr_count;
  Refusal* refusal = nullptr;  // where an op that may refuse its values says so

  const TensorRef& operator[](size_t i) const { return operands[i]; }
};

using OpFn = void (*)(const OpCall&);

}  // namespace drivetrain
