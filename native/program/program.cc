#include "program.h"

#include <cassert>
#include <chrono>

#include "../kernels/parallel.h"
#include "../runtime/denormals.h"
#include "non_finite.h"

namespace drivetrain {
namespace {

constexpr int kTemporaries = 8;  // of scratch; kernels and ops use the lower ones

// Whether all elements lie within the slot.
[[maybe_unused]] bool lies_within(const TensorRef& t, const Instruction::Place& place, const Slot& slot) {
  int64_t first = 0, last = 0;
  for (int d = 0; d < t.rank; d++) {
    if (t.shape[d] == 0) return true;
    (t.strides[d] < 0 ? first : last) += (t.shape[d] - 1) * t.strides[d];
  }
  const int64_t bytes = static_cast<int64_t>(bytes_of(t.dtype));
  return place.offset + first * bytes >= 0 &&
         place.offset + (last + 1) * bytes <= static_cast<int64_t>(slot.bytes);
}

// Points the operands into the slots, and runs.
void run(Instruction& instruction, const Slot* slots, const Slot& scratch, Refusal& refusal) {
  auto& [fn, operands, places, dims, attrs] = instruction;
  for (size_t i = 0; i < places.size(); i++) {
    const Slot& slot = places[i].slot == kScratchSlot ? scratch : slots[places[i].slot];
    assert(lies_within(operands[i], places[i], slot));
    operands[i].data = slot.data + places[i].offset;
  }
  fn({operands.data(), operands.size(), attrs.data(), attrs.size(), &refusal});
}

}  // namespace

void Instruction::point_at_dims() {
  const int64_t* at = dims.data();
  for (TensorRef& t : operands) {
    t.shape = at;
    t.strides = at + t.rank;
    at += 2 * t.rank;
  }
}

void decode_instruction(const double*& words, Instruction& out) {
  const int opcode = static_cast<int>(*words++);
  assert(opcode >= 0 && opcode < static_cast<int>(Opcode::kCount));
  out.fn = kOpTable[opcode];
  const size_t operands = static_cast<size_t>(*words++), attrs = static_cast<size_t>(*words++);
  out.operands.resize(operands);
  out.places.resize(operands);
  out.dims.clear();
  for (size_t i = 0; i < operands; i++) {
    out.places[i].slot = static_cast<int>(*words++);
    out.places[i].offset = static_cast<int64_t>(*words++);
    assert(out.places[i].slot >= kScratchSlot && out.places[i].offset >= 0);
    TensorRef& t = out.operands[i];
    t.data = nullptr;
    t.dtype = static_cast<DType>(static_cast<int>(*words++));
    assert(t.dtype <= DType::kBF16);
    t.rank = static_cast<int>(*words++);
    assert(t.rank >= 0 && t.rank <= kMaxRank);
    for (int d = 0; d < 2 * t.rank; d++) {
      out.dims.push_back(static_cast<int64_t>(*words++));
      assert(d >= t.rank || out.dims.back() >= 0);
    }
  }
  out.point_at_dims();
  out.attrs.assign(words, words + attrs);
  words += attrs;
}

Status execute(Instruction& instruction, const Slot* slots, Refusal& refusal) {
  const FlushDenormals flush;
  run(instruction, slots, {}, refusal);
  return refusal.reason == Refusal::kIndex ? Status::kRefused : Status::kOk;
}

Program::Program(const double* words)
    : code_(static_cast<size_t>(words[0])),
      commit_start_(static_cast<size_t>(words[1])),
      scratch_bytes_(static_cast<size_t>(words[2])) {
  words += 3;
  for (Instruction& instruction : code_) {
    decode_instruction(words, instruction);
    for (const TensorRef& operand : instruction.operands) elements_ += operand.size();
  }
}

Code Program::take_code() {
  std::lock_guard guard(mutex_);
  if (idle_.empty()) return code_;
  Code code = std::move(idle_.back());
  idle_.pop_back();
  return code;
}

void Program::give_back(Code code) {
  std::lock_guard guard(mutex_);
  idle_.push_back(std::move(code));
}

void Program::watch(std::vector<uint8_t> roles) {
  std::lock_guard guard(mutex_);
  roles_ = std::move(roles);
  size_t first = 0;
  for (const Instruction& instruction : code_) {
    first_role_.push_back(first);
    first += instruction.operands.size();
  }
  assert(first == roles_.size());
}

// Worse values than were read were made here. A NaN that came from outside is told where it is first read.
void Program::look_at(size_t instruction, const std::vector<TensorRef>& operands) {
  std::lock_guard guard(mutex_);
  if (non_finite_) return;
  const uint8_t* const roles = roles_.data() + first_role_[instruction];
  Worst read = Worst::kFinite, written = Worst::kFinite;
  int outside = -1;
  for (size_t i = 0; i < operands.size(); i++) {
    const auto role = static_cast<Role>(roles[i]);
    if (role == Role::kIgnored) continue;
    const Worst worst = worst_of(operands[i]);
    if (role == Role::kReadFromOutside && worst == Worst::kNaN && outside < 0) outside = static_cast<int>(i);
    Worst& side = role == Role::kWritten ? written : read;
    side = std::max(side, worst);
  }
  if (outside >= 0)
    non_finite_ = NonFinite{instruction, outside};
  else if (written > read)
    non_finite_ = NonFinite{instruction, -1};
}

bool Program::take_non_finite(NonFinite& out) {
  std::lock_guard guard(mutex_);
  if (!non_finite_) return false;
  out = *non_finite_;
  non_finite_.reset();
  return true;
}

Status Program::execute(const Slot* slots, const std::atomic<bool>* cancelled, Refusal& refusal,
                        double* times) {
  const FlushDenormals flush;
  const Slot temporaries{static_cast<char*>(scratch(kTemporaries, scratch_bytes_)), scratch_bytes_};
  Code code = take_code();
  Status status = Status::kOk;
  for (size_t i = 0; i < code.size() && status == Status::kOk; i++) {
    if (i <= commit_start_ && cancelled && cancelled->load(std::memory_order_relaxed)) {
      status = Status::kCancelled;
      break;
    }
    if (times) {
      const auto begin = std::chrono::steady_clock::now();
      run(code[i], slots, temporaries, refusal);
      times[i] = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count();
    } else {
      run(code[i], slots, temporaries, refusal);
    }
    if (refusal.reason != Refusal::kNone && i < commit_start_) {
      refusal.instruction = i;
      status = Status::kRefused;
    } else if (!roles_.empty()) {
      look_at(i, code[i].operands);
    }
  }
  give_back(std::move(code));
  return status;
}

}  // namespace drivetrain
