// Adam with moments of eight bits: blocks of 256 values, each with its largest magnitude as f32 and codes
// into a map of numbers in [-1, 1] (the first moment) or [0, 1] (the second). Dettmers et al.,
// arXiv:2110.02861.
//
// The map is dynamic: seven decades, 10^-7..10^-6 to 10^-1..1, with 1, 2, 4 .. 64 equal cells each (twice as
// many where there is no sign), whose middles are its numbers; 0, and 1 at the top. It is sorted, so that
// codes are ordered like numbers; magnitudes count from 1, and zero has 0. Codes of a decade begin with a
// power of two, so that the exponent of a code is its decade, and within one the map is linear.

constexpr int kDecades = 7;
constexpr float kToInteger = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits

// Entries are found by index modulo 8.
struct DynamicMap {
  // Decoding, by the exponent field of the code's place: place * factor - offset. 0 and 1 share an entry.
  float factor[8], offset[8];
  // Encoding: a magnitude a is in the last decade whose `from` it reaches, decade 7 being the number 1; its
  // code is a * slope + start, at most `last`, rounded to nearest.
  float from[8], slope[8], start[8], last[8];
};

constexpr DynamicMap make_dynamic_map(bool is_signed) {
  DynamicMap map = {};
  const double shift = is_signed ? 0.5 : 1;  // from a code to its place
  double low = 1e-7, width = 0;
  int code = 1;
  for (int i = 0; i < kDecades; ++i) {
    const int cells = (is_signed ? 1 : 2) << i;
    // Half way between the middles of the cells on both sides of a decade's end is one cell of the lower
    // decade beyond it, since a cell is five times as wide as one of the decade below.
    if (i > 0) map.from[i] = (float)(low + width);
    width = 9 * low / cells;
    map.slope[i] = (float)(1 / width);
    map.start[i] = (float)(code - low / width - 0.5);
    if (i == 0) {  // its first cell reaches down to half its middle, where zero's begins
      const double least = (low + width / 2) / 2;
      map.slope[i] = (float)(cells == 1 ? 0.5 / least : 1 / (low + width - least));
      map.start[i] = (float)(0.5 - least * map.slope[i]);
    }
    map.last[i] = (float)(code + cells - 1) - 0.25f;  // off the middle between two integers
    const int field = (127 + i + (is_signed ? 0 : 1)) % 8;
    map.factor[field] = (float)width;
    map.offset[field] = (float)((code + shift - 0.5) * width - low);
    code += cells;
    low *= 10;
  }
  // 0 and 1 have exponents eight apart.
  const int field = (127 + kDecades + (is_signed ? 0 : 1)) % 8;
  map.factor[field] = 1.0f / (float)code;
  map.offset[field] = map.factor[field] * (float)shift;
  map.from[kDecades] = (float)(1 - width / 4);
  map.start[kDecades] = map.last[kDecades] = (float)code - 0.25f;
  return map;
}

template <bool kSigned>
constexpr DynamicMap kMap = make_dynamic_map(kSigned);

constexpr int32_t kSign = (int32_t)0x80000000;

// The numbers of kLanes codes.
template <bool kSigned>
DT_INLINE F decode(const uint8_t* codes) {
  const F code = to_float(load_u8(codes)), number = kSigned ? code - F::set1(127) : code;
  const F place = kSigned ? abs(number) + F::set1(0.5f) : number + F::set1(1);
  const I field = shift_right<23>(bits(place));
  const F value =
      mul_add(place, lookup8(kMap<kSigned>.factor, field), negate(lookup8(kMap<kSigned>.offset, field)));
  return kSigned ? from_bits(bits(value) ^ (bits(number) & I::set1(kSign))) : value;
}

// Writes the codes of the numbers nearest to x * inverse, which is in [-1, 1].
template <bool kSigned>
DT_INLINE void encode(F x, F inverse, uint8_t* codes) {
  const DynamicMap& map = kMap<kSigned>;
  const F a = abs(x) * inverse, magic = F::set1(kToInteger);
  // The bits of a float are its logarithm, up to 0.09 too little to the base of 2. 0.7 decades further, and
  // rounded down, the decade is this one or the one below.
  const F logarithm = mul_add(to_float(bits(a)), F::set1(0.30103f / 8388608), F::set1(7.2f - 127 * 0.30103f));
  const F guess = min(F::set1(7), max(F::set1(0), logarithm)) + magic;
  const I decade = minus_one_where(less(a, lookup8(map.from, bits(guess))), bits(guess));
  const F place = mul_add(a, lookup8(map.slope, decade), lookup8(map.start, decade));
  const F magnitude = min(place, lookup8(map.last, decade)) + magic;
  if (!kSigned) return store_u8(codes, bits(magnitude));
  const F number = from_bits(bits(magnitude - magic) ^ (bits(x) & I::set1(kSign)));
  store_u8(codes, bits(max(magic, number + F::set1(kToInteger + 127))));  // there is no -1
}

// A scale under the normal range is 0, and so is all that it scales. What is not finite makes the scale so,
// and with it the block.
DT_INLINE float scale_of_block(const float* x) {
  uint32_t top = 0;  // ordered like the magnitudes, NaN on top
  for (size_t i = 0; i < kEightBitBlock; ++i) {
    uint32_t u;
    memcpy(&u, x + i, sizeof u);
    u &= 0x7fffffff;
    top = u > top ? u : top;
  }
  float scale;
  memcpy(&scale, &top, sizeof scale);
  return scale < 0x1p-125f ? 0 : scale;
}

template <bool kSigned>
DT_INLINE void decode_block(const uint8_t* codes, float scale, float* out) {
  const F scales = F::set1(scale);
  for (size_t i = 0; i < kEightBitBlock; i += F::kLanes) store(out + i, decode<kSigned>(codes + i) * scales);
}

template <bool kSigned>
DT_INLINE float encode_block(const float* x, uint8_t* codes) {
  const float scale = scale_of_block(x);
  const F inverse = F::set1(scale > 0 ? 1 / scale : 0);
  for (size_t i = 0; i < kEightBitBlock; i += F::kLanes) encode<kSigned>(F::load(x + i), inverse, codes + i);
  return scale;
}

void step_block(const AdamArgs& a, float* param, const float* grad, uint8_t* m_codes, uint8_t* v_codes,
                float* m_scale, float* v_scale, size_t n) {
  float m[kEightBitBlock], v[kEightBitBlock];
  decode_block<true>(m_codes, *m_scale, m);
  decode_block<false>(v_codes, *v_scale, v);
  float* const moments[] = {m, v};
  optimize<F>(Adam<F, Second::kPlain>(a), param, grad, moments, n);
  *m_scale = encode_block<true>(m, m_codes);
  *v_scale = encode_block<false>(v, v_codes);
}

void adam_eight_bit(const AdamArgs& a, float* param, const float* grad, const EightBitState& s, size_t n) {
  const size_t blocks = n / kEightBitBlock, left = n % kEightBitBlock;
  for (size_t b = 0; b < blocks; ++b) {
    const size_t at = b * kEightBitBlock;
    step_block(a, param + at, grad + at, s.m + at, s.v + at, s.m_scale + b, s.v_scale + b, kEightBitBlock);
  }
  if (left == 0) return;
  const size_t at = blocks * kEightBitBlock;
  uint8_t m[kEightBitBlock], v[kEightBitBlock];
  memset(m, 127, sizeof m);
  memset(v, 0, sizeof v);
  memcpy(m, s.m + at, left);
  memcpy(v, s.v + at, left);
  step_block(a, param + at, grad + at, m, v, s.m_scale + blocks, s.v_scale + blocks, left);
  memcpy(s.m + at, m, left);
  memcpy(s.v + at, v, left);
}
