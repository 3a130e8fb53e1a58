// x to the power of y.
#pragma once

#include <cmath>

#if defined(__MINGW32__)
// Windows' pow, by its place among the imports. MinGW's takes its logarithm by a function that the cross
// compiler brings, which has the digits of double alone: the result is four units in the last place off.
extern "C" double (*__imp_pow)(double, double);
#endif

namespace drivetrain {

inline float power(float x, float y) { return std::pow(x, y); }

inline double power(double x, double y) {
#if defined(__MINGW32__)
  return __imp_pow(x, y);
#else
  return std::pow(x, y);
#endif
}

}  // namespace drivetrain
