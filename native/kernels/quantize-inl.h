// int8 quantization. Only exactly rounded operations in a fixed order, so the same bits on every target.

constexpr float kRoundToEven =
    12582912.0f;  // 1.5 * 2^23: what is added and taken away again leaves an integer

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
  // |x / scale| <= 127 (1 + 2^-23), so no clamp is needed.
  for (size_t i = 0; i < n; ++i) q[i] = (int8_t)(int32_t)(x[i] / scale + kRoundToEven - kRoundToEven);
  return scale;
}

void dequantize(const int8_t* q, float scale, float* out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = (float)q[i] * scale;
}

void quantize_linear(const float* x, float scale, int32_t zero, bool is_unsigned, void* q, size_t n) {
  constexpr size_t kBlock = 4 * F::kLanes;
  const F low = F::set1((float)((is_unsigned ? 0 : -128) - zero));
  const F high = F::set1((float)((is_unsigned ? 255 : 127) - zero));
  const F round = F::set1(kRoundToEven), steps = F::set1(scale);
  uint8_t* out = (uint8_t*)q;
  int32_t block[kBlock];
  for (size_t i = 0; i < n; i += kBlock) {
    const size_t count = n - i < kBlock ? n - i : kBlock;
    for_each_vector<F>(count, [&](size_t v, auto at) {
      F y = at.load(x + i + v) / steps;
      y = select(is_nan(y), F::set1(0), y);
      store(block + v, bits(min(high, max(low, y)) + round) - bits(round));
    });
    for (size_t v = 0; v < count; ++v) out[i + v] = (uint8_t)(block[v] + zero);
  }
}
