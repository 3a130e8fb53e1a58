// A program: instructions whose operands are places in slots. Slots are bound to memory at each run.
#pragma once
#include <atomic>
#include <mutex>
#include <optional>
#include <vector>

#include "../ops/table.h"

namespace drivetrain {

// Memory that a run is given.
struct Slot {
  char* data;
  size_t bytes;
};

constexpr int kScratchSlot = -1;

// What an operand is to somebody who looks for non-finite values.
enum class Role : uint8_t { kIgnored = 0, kRead = 1, kReadFromOutside = 2, kWritten = 3 };

// Where a non-finite value was found: made by an instruction, or read by it from outside through one of its
// operands.
struct NonFinite {
  size_t instruction;
  int operand;  // -1: made
};

struct Instruction {
  struct Place {
    int slot;        // kScratchSlot: scratch of the thread that executes the program
    int64_t offset;  // bytes
  };

  Instruction() = default;
  Instruction(Instruction&&) = default;
  Instruction& operator=(Instruction&&) = default;
  Instruction(const Instruction& other)
      : fn(other.fn), operands(other.operands), places(other.places), dims(other.dims), attrs(other.attrs) {
    point_at_dims();
  }
  void point_at_dims();

  OpFn fn = nullptr;
  std::vector<TensorRef> operands;  // data is null until the run binds it
  std::vector<Place> places;        // one for each operand
  std::vector<int64_t> dims;        // the shape and the strides of each
  std::vector<double> attrs;
};

using Code = std::vector<Instruction>;

// The outcomes of native calls that lib/native/binding.ts names.
enum class Status : int { kOk = 0, kBusy = 1, kCancelled = 2, kRefused = 3, kPending = 4 };

class Program {
 public:
  // Layout, in doubles: instructions, commit start, bytes of scratch, then the instructions.
  explicit Program(const double* words);

  // Runs on the calling thread and on the pool; `slots` are the memory of each slot. Of a run that is not kOk
  // nothing lasting was written: `cancelled` was set before the commit section began, or an op refused
  // values, as `refusal` tells. The nanoseconds of each instruction go to `times`, where given.
  Status execute(const Slot* slots, const std::atomic<bool>* cancelled, Refusal& refusal,
                 double* times = nullptr);

  // Looks for non-finite values from the next run on, for debugging. `roles` has one number for each operand
  // of each instruction, in order: a Role.
  void watch(std::vector<uint8_t> roles);
  // The first instruction since the last call that made such a value, or that read a NaN from outside.
  bool take_non_finite(NonFinite& out);

  // All elements of all operands: a measure of the work.
  size_t elements() const { return elements_; }

 private:
  Code take_code();
  void look_at(size_t instruction, const std::vector<TensorRef>& operands);
  void give_back(Code code);

  Code code_;
  // Instructions from here on write lasting state: once the first of them starts, all of them run.
  size_t commit_start_;
  size_t scratch_bytes_;
  size_t elements_ = 0;

  // A run binds the operands of a copy of its own; copies are kept for later runs.
  std::mutex mutex_;
  std::vector<Code> idle_;

  std::vector<uint8_t> roles_;      // empty: nobody looks
  std::vector<size_t> first_role_;  // of each instruction
  std::optional<NonFinite> non_finite_;
};

// Reads one instruction and moves past it. Layout, in doubles:
//   opcode, operands, attrs, then for each operand slot, byte offset, dtype, rank, shape…, strides…, then the
//   attrs.
void decode_instruction(const double*& words, Instruction& out);

// Binds one instruction's operands and runs it. Refused are indices alone: what becomes of gradients stands
// in the control that they were looked at for.
Status execute(Instruction& instruction, const Slot* slots, Refusal& refusal);

}  // namespace drivetrain
