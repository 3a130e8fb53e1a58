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

// The numbers of a block's codes: the map, multiplied by the block's scale once.
template <bool kSigned>
struct Decoder {
  float factor[8], minus_offset[8];

  explicit DT_INLINE Decoder(float scale) {
    for (int i = 0; i < 8; ++i) {
      factor[i] = kMap<kSigned>.factor[i] * scale;
      minus_offset[i] = -kMap<kSigned>.offset[i] * scale;
    }
  }
  DT_INLINE F operator()(const uint8_t* codes) const {
    const F code = to_float(load_u8(codes)), number = kSigned ? code - F::set1(127) : code;
    const F place = kSigned ? abs(number) + F::set1(0.5f) : number + F::set1(1);
    const I field = shift_right<23>(bits(place));
    const F value = mul_add(place, lookup8(factor, field), lookup8(minus_offset, field));
    return kSigned ? from_bits(bits(value) ^ (bits(number) & I::set1(kSign))) : value;
  }
};

// The codes of the numbers nearest to x * inverse, which is in [-1, 1]; negative ones as -1 and down.
template <bool kSigned>
DT_INLINE I encode(F x, F inverse) {
  const DynamicMap& map = kMap<kSigned>;
  const F a = (kSigned ? abs(x) : x) * inverse, magic = F::set1(kToInteger);
  // The bits of a float are its logarithm, up to 0.09 too little to the base of 2. 0.7 decades further, and
  // rounded down, the decade is this one or the one below.
  const F logarithm = mul_add(to_float(bits(a)), F::set1(0.30103f / 8388608), F::set1(7.2f - 127 * 0.30103f));
  const F guess = max(F::set1(0), logarithm) + magic;
  const I decade = minus_one_where(less(a, lookup8(map.from, bits(guess))), bits(guess));
  const F place = mul_add(a, lookup8(map.slope, decade), lookup8(map.start, decade));
  const I magnitude = nearest(min(place, lookup8(map.last, decade)));
  return kSigned ? negate_where(magnitude, x) : magnitude;
}

// The largest of the magnitudes whose bits are in the lanes, NaN on top. A scale under the normal range is 0,
// and so is all that it scales. What is not finite makes the scale so, and with it the block.
DT_INLINE float scale_of(I top) {
  int32_t lanes[F::kLanes];
  store(lanes, top);
  int32_t most = 0;
  for (const int32_t lane : lanes) most = lane > most ? lane : most;
  float scale;
  memcpy(&scale, &most, sizeof scale);
  return scale < 0x1p-125f ? 0 : scale;
}

template <bool kSigned>
DT_INLINE void encode_block(const float* x, float scale, uint8_t* codes) {
  const F inverse = F::set1(scale > 0 ? 1 / scale : 0);
  for (size_t i = 0; i < kEightBitBlock; i += 4 * F::kLanes) {
    const float* const at = x + i;
    store_u8<kSigned ? 127 : 0>(
        codes + i, {encode<kSigned>(F::load(at), inverse), encode<kSigned>(F::load(at + F::kLanes), inverse),
                    encode<kSigned>(F::load(at + 2 * F::kLanes), inverse),
                    encode<kSigned>(F::load(at + 3 * F::kLanes), inverse)});
  }
}

// One block. Its moments are in the cache as f32 between the pass that updates them and the one that encodes
// them, which has to know their largest.
template <class Method>
DT_INLINE void step_block(const Method& method, float* param, const float* grad, uint8_t* m_codes,
                          uint8_t* v_codes, float* m_scale, float* v_scale) {
  float m[kEightBitBlock], v[kEightBitBlock];
  const Decoder<true> decode_m(*m_scale);
  const Decoder<false> decode_v(*v_scale);
  const I magnitude = I::set1(~kSign);
  I top_m = I::set1(0), top_v = I::set1(0);
  for (size_t i = 0; i < kEightBitBlock; i += F::kLanes) {
    __builtin_prefetch(param + i + 2 * kPrefetch, 1);
    __builtin_prefetch(grad + i + 2 * kPrefetch, 0);
    F p = F::load(param + i), moments[] = {decode_m(m_codes + i), decode_v(v_codes + i)};
    method(p, F::load(grad + i), moments);
    store(param + i, p);
    store(m + i, moments[0]);
    store(v + i, moments[1]);
    top_m = max(top_m, bits(moments[0]) & magnitude);
    top_v = max(top_v, bits(moments[1]) & magnitude);
  }
  *m_scale = scale_of(top_m);
  *v_scale = scale_of(top_v);
  encode_block<true>(m, *m_scale, m_codes);
  encode_block<false>(v, *v_scale, v_codes);
}

void adam_eight_bit(const AdamArgs& a, float* param, const float* grad, const EightBitState& s, size_t n) {
  const Adam<F, Second::kPlain> method(a);
  const size_t blocks = n / kEightBitBlock, left = n % kEightBitBlock;
  for (size_t b = 0; b < blocks; ++b) {
    const size_t at = b * kEightBitBlock;
    for (size_t ahead = kEightBitBlock; ahead < 2 * kEightBitBlock; ahead += 64) {
      __builtin_prefetch(s.m + at + ahead, 1);
      __builtin_prefetch(s.v + at + ahead, 1);
    }
    step_block(method, param + at, grad + at, s.m + at, s.v + at, s.m_scale + b, s.v_scale + b);
  }
  if (left == 0) return;
  // The last one is made a whole one, of zeros.
  const size_t at = blocks * kEightBitBlock;
  float p[kEightBitBlock] = {}, g[kEightBitBlock] = {};
  uint8_t m[kEightBitBlock], v[kEightBitBlock] = {};
  memset(m, 127, sizeof m);
  memcpy(p, param + at, left * sizeof(float));
  memcpy(g, grad + at, left * sizeof(float));
  memcpy(m, s.m + at, left);
  memcpy(v, s.v + at, left);
  step_block(method, p, g, m, v, s.m_scale + blocks, s.v_scale + blocks);
  memcpy(param + at, p, left * sizeof(float));
  memcpy(s.m + at, m, left);
  memcpy(s.v + at, v, left);
}
