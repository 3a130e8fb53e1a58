#include "program.h"

#include <cassert>

#include "../runtime/denormals.h"

namespace drivetrain {
namespace {

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

// Points the instruction's operands, or a copy of them, into the slots.
void bind(const Instruction& instruction, const Slot* slots, TensorRef* operands) {
  for (size_t i = 0; i < instruction.places.size(); i++) {
    const Instruction::Place& place = instruction.places[i];
    assert(lies_within(operands[i], place, slots[place.slot]));
    operands[i].data = slots[place.slot].data + place.offset;
  }
}

void run(const Instruction& instruction, const TensorRef* operands) {
  instruction.fn({operands, instruction.operands.size(), instruction.attrs.data(), instruction.attrs.size()});
}

}  // namespace

void decode_instruction(const double*& words, Instruction& out) {
  const int opcode = static_cast<int>(*words++);
  assert(opcode >= 0 && opcode < static_cast<int>(Opcode::kCount));
  out.fn = kOpTable[opcode];
  const size_t operands = static_cast<size_t>(*words++), attrs = static_cast<size_t>(*words++);
  out.operands.resize(operands);
  out.places.resize(operands);
  for (size_t i = 0; i < operands; i++) {
    out.places[i].slot = static_cast<int>(*words++);
    out.places[i].offset = static_cast<int64_t>(*words++);
    assert(out.places[i].slot >= 0 && out.places[i].offset >= 0);
    TensorRef& t = out.operands[i];
    t.data = nullptr;
    t.dtype = static_cast<DType>(static_cast<int>(*words++));
    assert(t.dtype <= DType::kBF16);
    t.rank = static_cast<int>(*words++);
    assert(t.rank >= 0 && t.rank <= kMaxRank);
    for (int d = 0; d < t.rank; d++) {
      t.shape[d] = static_cast<int64_t>(*words++);
      assert(t.shape[d] >= 0);
    }
    for (int d = 0; d < t.rank; d++) t.strides[d] = static_cast<int64_t>(*words++);
  }
  out.attrs.assign(words, words + attrs);
  words += attrs;
}

Program decode_program(const double* words) {
  Program program;
  program.code.resize(static_cast<size_t>(*words++));
  program.commit_start = static_cast<size_t>(*words++);
  for (Instruction& instruction : program.code) decode_instruction(words, instruction);
  return program;
}

void execute(Instruction& instruction, const Slot* slots) {
  const FlushDenormals flush;
  bind(instruction, slots, instruction.operands.data());
  run(instruction, instruction.operands.data());
}

bool execute(const Program& program, const Slot* slots, const std::atomic<bool>* cancelled) {
  const FlushDenormals flush;
  thread_local std::vector<TensorRef> operands;
  for (size_t i = 0; i < program.code.size(); i++) {
    if (i <= program.commit_start && cancelled && cancelled->load(std::memory_order_relaxed)) return false;
    const Instruction& instruction = program.code[i];
    operands = instruction.operands;
    bind(instruction, slots, operands.data());
    run(instruction, operands.data());
  }
  return true;
}

}  // namespace drivetrain
