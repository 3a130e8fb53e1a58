// Symmetric int8 quantization. Plain loops that the compilers vectorise; only exactly rounded operations in a
// fixed order, so the same bits on every target.

float quantize_row(const float* x, int8_t* q, size_t n) {
  // Without the sign, the bits of floats are ordered like the floats, and NaN above infinity above the rest.
  uint32_t top = 0;
  for (size_t i = 0; i < n; ++i) {
    uint32_t u;
    memcpy(&u, x + i, sizeof u);
    u &= 0x7fffffff;
    top = u > top ? u : top;
  }
  float largest;
  memcpy(&largest, &top, sizeof top);
  const float scale = top >= 0x7f800000 ? __builtin_nanf("") : largest / 127;
  // A denormal scale has too few digits to divide by and may be flushed to 0: such a row counts as zeros,
  // from twice the smallest normal number down, since processors differ in when they flush.
  if (!(scale >= 0x1p-125f)) {
    for (size_t i = 0; i < n; ++i) q[i] = 0;
    return scale != scale ? scale : 1;
  }
  // |x / scale| <= 127 (1 + 2^-23), so no clamp is needed; adding 1.5 * 2^23 rounds to nearest even.
  const float round = 12582912.0f;
  for (size_t i = 0; i < n; ++i) q[i] = (int8_t)(int32_t)(x[i] / scale + round - round);
  return scale;
}

void dequantize(const int8_t* q, float scale, float* out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = (float)q[i] * scale;
}
