// A program: instructions whose operands are places in slots. Slots are bound to memory at each run.
#pragma once
#include <atomic>
#include <vector>

#include "../ops/table.h"

namespace drivetrain {

// Memory that a run is given.
struct Slot {
  char* data;
  size_t bytes;
};

struct Instruction {
  struct Place {
    int slot;
    int64_t offset;  // bytes
  };
  OpFn fn;
  std::vector<TensorRef> operands;  // data is null until the run binds it
  std::vector<Place> places;        // one for each operand
  std::vector<double> attrs;
};

struct Program {
  std::vector<Instruction> code;
  // Instructions from here on write lasting state: once the first of them starts, all of them run.
  size_t commit_start = 0;
};

// Reads one instruction and moves past it. Layout, in doubles:
//   opcode, operands, attrs, then for each operand slot, byte offset, dtype, rank, shape…, strides…, then the
//   attrs.
void decode_instruction(const double*& words, Instruction& out);

// Layout: instructions, commit start, then the instructions.
Program decode_program(const double* words);

// Runs on the calling thread and on the pool; `slots` are the memory of each slot. False where `cancelled`
// was set before the commit section began: nothing lasting was written then.
bool execute(const Program& program, const Slot* slots, const std::atomic<bool>* cancelled);

// Binds one instruction's operands and runs it.
void execute(Instruction& instruction, const Slot* slots);

}  // namespace drivetrain
