// Limits of the machine for int8 products, measured.
#pragma once
#include <cstddef>

namespace drivetrain::test {

// Gop/s of one thread that multiplies and adds in registers, with the instructions of a table's int8 product;
// 0 where that has none of its own.
double peak_s8(const char* isa);

// Reads memory from end to end, the two halves on two threads if there are so many.
void read_stream(const void* at, double bytes);

}  // namespace drivetrain::test
