// Opcode → implementation. The numbers come from lib/ops/opcodes.ts.
#pragma once
#include "opcodes.h"
#include "tensor_ref.h"

namespace drivetrain {

enum class Opcode : int {
#define DRIVETRAIN_ENTRY(name) k_##name,
  DRIVETRAIN_OPCODES(DRIVETRAIN_ENTRY)
#undef DRIVETRAIN_ENTRY
      kCount
};

#define DRIVETRAIN_ENTRY(name) void op_##name(const OpCall& call);
DRIVETRAIN_OPCODES(DRIVETRAIN_ENTRY)
#undef DRIVETRAIN_ENTRY

inline constexpr OpFn kOpTable[] = {
#define DRIVETRAIN_ENTRY(name) op_##name,
    DRIVETRAIN_OPCODES(DRIVETRAIN_ENTRY)
#undef DRIVETRAIN_ENTRY
};

}  // namespace drivetrain
