#include "program.h"

#include "../runtime/denormals.h"

namespace drivetrain {

void decode_instruction(const double*& words, Instruction& out) {
  out.fn = kOpTable[static_cast<int>(*words++)];
  const size_t operands = static_cast<size_t>(*words++), attrs = static_cast<size_t>(*words++);
  out.operands.resize(operands);
  out.places.resize(operands);
  for (size_t i = 0; i < operands; i++) {
    out.places[i].slot = static_cast<int>(*words++);
    out.places[i].offset = static_cast<int64_t>(*words++);
    TensorRef& t = out.operands[i];
    t.data = nullptr;
    t.dtype = static_cast<DType>(static_cast<int>(*words++));
    t.rank = static_cast<int>(*words++);
    for (int d = 0; d < t.rank; d++) t.shape[d] = static_cast<int64_t>(*words++);
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

void execute(const Instruction& instruction, char* const* slots) {
  const FlushDenormals flush;
  thread_local std::vector<TensorRef> bound;
  bound = instruction.operands;
  for (size_t i = 0; i < bound.size(); i++) {
    const Instruction::Place& place = instruction.places[i];
    bound[i].data = slots[place.slot] + place.offset;
  }
  instruction.fn({bound.data(), bound.size(), instruction.attrs.data(), instruction.attrs.size()});
}

bool execute(const Program& program, char* const* slots, const std::atomic<bool>* cancelled) {
  for (size_t i = 0; i < program.code.size(); i++) {
    if (i <= program.commit_start && cancelled && cancelled->load(std::memory_order_relaxed)) return false;
    execute(program.code[i], slots);
  }
  return true;
}

}  // namespace drivetrain
