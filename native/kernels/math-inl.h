// exp, log, tanh, sigmoid, GELU and sin/cos for the vector layer. The f32 polynomials were fitted for this
// file by interpolation at Chebyshev nodes in 40 digits, then rounded; the errors stated are the largest ones
// measured over all targets (native/test/kernels_test.cc --ulp). f64 calls libm.

// c[0] + c[1] x + ... by Horner's rule.
template <class V, int N>
DT_INLINE V polynomial(V x, const float (&c)[N]) {
  V sum = V::set1(c[N - 1]);
  for (int i = N - 2; i >= 0; --i) sum = mul_add(sum, x, V::set1(c[i]));
  return sum;
}

// The same with two roundings a step: the same bits on every target.
template <class V, int N>
DT_INLINE V polynomial_unfused(V x, const float (&c)[N]) {
  V sum = V::set1(c[N - 1]);
  for (int i = N - 2; i >= 0; --i) sum = sum * x + V::set1(c[i]);
  return sum;
}

// ln 2 in two parts; the first has 12 significant bits, so that its product with an exponent is exact.
constexpr float kLn2High = 0.693115234f, kLn2Low = 3.19461833e-05f;

DT_INLINE F power_of_two(I n) { return from_bits(shift_left<23>(n + I::set1(127))); }

// e^(x + low), |low| < 0.1: with n the integer nearest to (x + low) / ln 2 and r what is left, 2^n e^r. 2^n
// is applied in two factors so that results which overflow or are denormal come out right.
template <bool kHasLow>
DT_INLINE F exp_sum(F x, F low) {
  x = min(F::set1(89.0f), max(F::set1(-104.0f), x));  // e^89 overflows, e^-104 rounds to 0; NaN passes
  const F round = F::set1(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const F shifted = mul_add(kHasLow ? x + low : x, F::set1(1.44269502f), round);
  const F n = shifted - round;
  const I exponent = bits(shifted) - bits(round);
  F r = mul_add(n, F::set1(-kLn2Low), mul_add(n, F::set1(-kLn2High), x));
  if (kHasLow) r = r + low;
  // e^r = 1 + r + r^2 P(r) to 2^-26.5 on |r| <= ln 2 / 2
  const F p = polynomial(r, {0.5f, 0.166665763f, 0.0416665524f, 0.00836323295f, 0.00139262504f});
  const F y = mul_add(r * r, p, r) + F::set1(1.0f);
  const I half = shift_right<1>(exponent);
  return y * power_of_two(half) * power_of_two(exponent - half);
}

DT_INLINE F vexp(F x) { return exp_sum<false>(x, x); }  // 1.06 ulps

// x = 2^e (1 + f) with 1 + f in [sqrt 1/2, sqrt 2); log x = e ln 2 + f - f^2/2 + f^3 P(f). Unfused
// throughout, so that normal() gives the same bits on every target. 0.81 ulps.
DT_INLINE F vlog(F x) {
  const Mask denormal = less(x, F::set1(0x1p-126f));
  const F scaled = select(denormal, x * F::set1(0x1p23f), x);
  const I root_half = I::set1(0x3f3504f3);
  const I exponent = shift_right<23>(bits(scaled) - root_half);
  const F f = from_bits(bits(scaled) - shift_left<23>(exponent)) - F::set1(1.0f);
  const F e = to_float(exponent) + select(denormal, F::set1(-23.0f), F::set1(0.0f));
  const F square = f * f;
  const F p = polynomial_unfused(f, {0.333333313f, -0.24999997f, 0.200007156f, -0.166678026f, 0.142490581f,
                                     -0.124256872f, 0.116854198f, -0.114797339f, 0.0697161183f});
  const F low = f * square * p + e * F::set1(kLn2Low) - F::set1(0.5f) * square;
  const F y = f + low + e * F::set1(kLn2High);
  const F infinity = F::set1(__builtin_inff());
  const F above_zero = select(less(x, infinity), y, x);  // infinity and NaN stay
  const F at_zero = select(equal(x, F::set1(0.0f)), negate(infinity), above_zero);
  return select(less(x, F::set1(0.0f)), F::set1(__builtin_nanf("")), at_zero);
}

// Near 0 an odd polynomial, elsewhere 1 - 2 / (e^2|x| + 1). 1.29 ulps.
DT_INLINE F vtanh(F x) {
  const F a = abs(x), square = a * a, one = F::set1(1.0f), two = F::set1(2.0f);
  const F p =
      polynomial(square, {-0.333333284f, 0.133327693f, -0.0538509078f, 0.0209971797f, -0.00609671418f});
  const F near = mul_add(a * square, p, a);
  const F far = one - two / (vexp(two * a) + one);
  return copysign(select(less(a, F::set1(0.625f)), near, far), x);
}

// 1 / (1 + e^-x), written on e^-|x| so that neither end overflows or loses its digits. 2.22 ulps.
template <class V>
DT_INLINE V vsigmoid(V x) {
  const V one = V::set1(1), e = vexp(negate(abs(x)));
  return select(less(x, V::set1(0)), e, one) / (one + e);
}

// The normal distribution at a in [0, 15]: bell = e^(-a^2/2), and Phi(-a) = bell * ratio, where ratio (a
// scaled Mills ratio) is smooth: P(s) / (a + 4) with s = (3 - a) / (a + 4), to 2^-25. a^2 would lose digits
// to rounding that e^ makes large, so its square is taken exactly in two parts.
struct NormalTail {
  F bell, ratio;
};
DT_INLINE NormalTail normal_tail(F a) {
  const F high = from_bits(bits(a) & I::set1((int32_t)0xfffff000)), low = a - high;
  const F inverse = F::set1(1.0f) / (a + F::set1(4.0f));
  const F p = polynomial((F::set1(3.0f) - a) * inverse,
                         {0.85059762f, 0.835023582f, 0.619973779f, 0.331903636f, 0.110119775f, 0.00755173154f,
                          -0.0110275382f, -0.00320512312f, 0.00101984758f, 0.00041761226f});
  return {exp_sum<true>(F::set1(-0.5f) * high * high, F::set1(-0.5f) * (a + high) * low), inverse * p};
}

// x Phi(x), exact erf form: x (1/2 + x P(x^2)) for |x| < 1, else max(0, x) - |x| Phi(-|x|). 4.57 ulps, at the
// steep side near -1.3; 2 above 0.
DT_INLINE F vgelu(F x) {
  const F a = min(F::set1(15.0f), abs(x));
  const NormalTail tail = normal_tail(a);
  const F p = polynomial(x * x, {0.398942292f, -0.0664903596f, 0.00997332856f, -0.00118634396f,
                                 0.000113502298f, -7.66053836e-06f});
  const F near = x * mul_add(x, p, F::set1(0.5f));
  return select(less(a, F::set1(1.0f)), near, max(F::set1(0.0f), x) - a * tail.ratio * tail.bell);
}

// Phi(x) + x phi(x). Absolute error under 3 * 2^-24; the relative error grows at its root near -0.75.
DT_INLINE F vgelu_grad(F x) {
  const F limit = F::set1(15.0f), c = min(limit, max(negate(limit), x));
  const NormalTail tail = normal_tail(abs(c));
  const F below = tail.ratio * tail.bell;
  const F phi = select(less(c, F::set1(0.0f)), below, F::set1(1.0f) - below);
  return mul_add(c * F::set1(0.398942280f), tail.bell, phi);
}

// sin and cos of 2 pi u for u in [0, 1): with q the nearest quarter turn, 4 u - q is exact. Unfused (see
// vlog).
DT_INLINE void sincos_turn(F u, F* sin, F* cos) {
  const F round = F::set1(12582912.0f), shifted = F::set1(4.0f) * u + round;
  const F r = F::set1(4.0f) * u - (shifted - round), square = r * r;
  const I quarter = bits(shifted);  // its low bits
  const F s = r * polynomial_unfused(square, {1.57079637f, -0.64596349f, 0.0796802193f, -0.00460214913f});
  const F c = F::set1(1.0f) + square * polynomial_unfused(square, {-1.23370051f, 0.253669411f, -0.0208615288f,
                                                                   0.000906739908f});
  const Mask odd = nonzero(quarter & I::set1(1));
  const Mask sin_negative = nonzero(quarter & I::set1(2));
  const Mask cos_negative = nonzero((quarter + I::set1(1)) & I::set1(2));
  const F ys = select(odd, c, s), yc = select(odd, s, c);
  *sin = select(sin_negative, negate(ys), ys);
  *cos = select(cos_negative, negate(yc), yc);
}

DT_INLINE D vexp(D x) { return {::exp(x.v)}; }
DT_INLINE D vlog(D x) { return {::log(x.v)}; }
DT_INLINE D vtanh(D x) { return {::tanh(x.v)}; }
DT_INLINE D vgelu(D x) {
  const double c = x.v < -40 ? -40 : x.v;  // so that -infinity gives 0
  return {0.5 * c * ::erfc(c * -0.70710678118654752)};
}
DT_INLINE D vgelu_grad(D x) {
  const double c = x.v < -40 ? -40 : x.v > 40 ? 40 : x.v;
  return {0.5 * ::erfc(c * -0.70710678118654752) + c * 0.39894228040143268 * ::exp(-0.5 * c * c)};
}
