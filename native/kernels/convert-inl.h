// f16 and bf16, rounded to nearest even. The bf16 loops are integer arithmetic that the compilers vectorise.

void f32_to_bf16(const float* x, uint16_t* out, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    uint32_t u;
    memcpy(&u, x + i, sizeof u);
    const uint32_t rounded = u + 0x7fff + (u >> 16 & 1);
    out[i] = (uint16_t)(((u & 0x7fffffff) > 0x7f800000 ? u | 0x400000 : rounded) >> 16);  // NaN is made quiet
  }
}

void bf16_to_f32(const uint16_t* x, float* out, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    const uint32_t u = (uint32_t)x[i] << 16;
    memcpy(out + i, &u, sizeof u);
  }
}

// Converts From to To, a vector at a time with a padded tail.
template <class From, class To, void (*kConvert)(const From*, To*)>
DT_INLINE void convert(const From* x, To* out, size_t n) {
  size_t i = 0;
  for (; i + F::kLanes <= n; i += F::kLanes) kConvert(x + i, out + i);
  if (i < n) {
    From in[F::kLanes] = {};
    To converted[F::kLanes];
    memcpy(in, x + i, (n - i) * sizeof(From));
    kConvert(in, converted);
    memcpy(out + i, converted, (n - i) * sizeof(To));
  }
}
void f32_to_f16(const float* x, uint16_t* out, size_t n) {
  convert<float, uint16_t, convert_f32_to_f16>(x, out, n);
}
void f16_to_f32(const uint16_t* x, float* out, size_t n) {
  convert<uint16_t, float, convert_f16_to_f32>(x, out, n);
}
