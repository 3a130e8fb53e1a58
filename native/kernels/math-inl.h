// exp, exp2, log, tanh, sigmoid, GELU and sin/cos for the vector layer. The f32 polynomials were fitted for
// this file by interpolation at Chebyshev nodes in 40 digits, then rounded; the errors stated are the largest
// ones measured over all targets (native/test/kernels_test.cc --ulp). f64 calls libm.

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

// x 2^n for a whole n from -127, which gives 0, to 128 or, in scale_down, 127: one factor made of n's bits. A
// target with an instruction for it has functions of its own.
template <class V>
DT_INLINE V scale_down(V x, V n) {
  return x * from_bits(shift_left<23>(bits(n + V::set1(12582912.0f + 127.0f))));
}
template <class V>
DT_INLINE V scale(V x, V n) {  // twice 2^127 where n is 128
  const V m = min(n, V::set1(127.0f));
  return scale_down(mul_add(x, n - m, x), m);
}

// e^(x + low) = 2^n (1 + w), for |low| < 0.001 and x in [-104, 89]: n is the integer nearest to x / ln 2.
struct Power {
  F w, n;
};
template <bool kHasLow>
DT_INLINE Power power(F x, F low) {
  const F round = F::set1(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const F n = mul_add(x, F::set1(1.44269502f), round) - round;
  F r = mul_add(n, F::set1(-kLn2Low), mul_add(n, F::set1(-kLn2High), x));
  if (kHasLow) r = r + low;
  // e^r = 1 + r + r^2 P(r) to 2^-26.5 on |r| <= ln 2 / 2
  const F p = polynomial(r, {0.5f, 0.166665763f, 0.0416665524f, 0.00836323295f, 0.00139262504f});
  return {mul_add(r * r, p, r), n};
}

// e^89 overflows; NaN passes. 1.06 ulps; a result that is not normal may be 0.
DT_INLINE F vexp(F x) {
  x = min(F::set1(89.0f), max(F::set1(F::kLeastPower), x));
  const Power y = power<false>(x, x);
  return scale(y.w + F::set1(1.0f), y.n);
}

// The same for x up to 88.
DT_INLINE F vexp_down(F x) {
  const Power y = power<false>(max(F::set1(F::kLeastPower), x), x);
  return scale_down(y.w + F::set1(1.0f), y.n);
}

// 2^x for x up to 127; 0 gives 1 exactly, and so little that 2^x is not normal may give 0. 1.00 ulps.
DT_INLINE F vexp2(F x) {
  x = max(F::set1(F::kLeastPower * 1.44269502f), x);  // NaN passes
  const F round = F::set1(12582912.0f);               // see power
  const F n = (x + round) - round;
  const F p = polynomial(x - n, {1.0f, 0.693147182f, 0.240226507f, 0.0555035695f, 0.00961808302f,
                                 0.00133908633f, 0.000154531634f});
  return scale_down(p, n);
}

// x = 2^e (1 + f) with 1 + f in [sqrt 1/2, sqrt 2); log x = e ln 2 + f - f^2/2 + f^3 P(f). 0.84 ulps.
// Unfused, the bits are the same on every target.
template <bool kFused>
DT_INLINE F log_of(F x) {
  const Mask denormal = less(x, F::set1(0x1p-126f));
  const F scaled = select(denormal, x * F::set1(0x1p23f), x);
  const I root_half = I::set1(0x3f3504f3);
  const I exponent = shift_right<23>(bits(scaled) - root_half);
  const F f = from_bits(bits(scaled) - shift_left<23>(exponent)) - F::set1(1.0f);
  const F e = to_float(exponent) + select(denormal, F::set1(-23.0f), F::set1(0.0f));
  const F square = f * f, half = F::set1(0.5f);
  constexpr float kP[] = {0.333333313f,  -0.24999997f, 0.200007156f,  -0.166678026f, 0.142490581f,
                          -0.124256872f, 0.116854198f, -0.114797339f, 0.0697161183f};
  const F low =
      kFused ? mul_add(f * square, polynomial(f, kP), mul_add(e, F::set1(kLn2Low), negate(half * square)))
             : f * square * polynomial_unfused(f, kP) + e * F::set1(kLn2Low) - half * square;
  const F high = e * F::set1(kLn2High);  // exact
  const F y = f + low + high;
  const F infinity = F::set1(__builtin_inff());
  const F above_zero = select(less(x, infinity), y, x);  // infinity and NaN stay
  const F at_zero = select(equal(x, F::set1(0.0f)), negate(infinity), above_zero);
  return select(less(x, F::set1(0.0f)), F::set1(__builtin_nanf("")), at_zero);
}
DT_INLINE F vlog(F x) { return log_of<true>(x); }
DT_INLINE F vlog_same(F x) { return log_of<false>(x); }  // the same bits on every target

// Near 0 an odd polynomial, elsewhere 1 - 2 e / (1 + e) with e = e^-2|x|. 1.41 ulps.
DT_INLINE F vtanh(F x) {
  const F a = abs(x), square = a * a, one = F::set1(1.0f);
  const F p =
      polynomial(square, {-0.333333284f, 0.133327693f, -0.0538509078f, 0.0209971797f, -0.00609671418f});
  const F near = mul_add(a * square, p, a);
  const F e = vexp_down(F::set1(-2.0f) * a);
  const F far = one - (e + e) / (one + e);
  return copysign(select(less(a, F::set1(0.625f)), near, far), x);
}

// 1 / (1 + e^-x), written on e^-|x| so that neither end overflows or loses its digits. 2.22 ulps.
template <class V>
DT_INLINE V vsigmoid(V x) {
  const V one = V::set1(1), e = vexp_down(negate(abs(x)));
  return select(less(x, V::set1(0)), e, one) / (one + e);
}

// The normal distribution at a in [0, kTailEnd]: Phi(-a) = ratio e^(-a^2/2), where ratio (a scaled Mills
// ratio) is smooth: P(a) / Q(a), to 2^-27.5 and with positive coefficients alone. a^2 would lose digits to
// rounding that e^ makes large, so what its rounding leaves goes into e^ as well.
struct NormalTail {
  F ratio;
  Power bell;
};
constexpr float kTailEnd = F::kLeastPower < -100 ? 15.0f : 13.25f;  // e^ gives 0 there
DT_INLINE NormalTail normal_tail(F a) {
  const F half = F::set1(-0.5f) * a, power_of_e = half * a;
  const F p = polynomial(a, {0.5f, 0.43580356f, 0.181393164f, 0.0400131862f, 0.00402447022f});
  const F q = polynomial(a, {1.0f, 1.66949204f, 1.19484409f, 0.464608370f, 0.100305521f, 0.0100877088f});
  return {p / q, power<true>(power_of_e, product_error(half, a, power_of_e))};
}

// x Phi(x), exact erf form: max(0, x) - |x| Phi(-|x|). 4.92 ulps, at the steep side
// near -8.6, and 7.51 where multiply-adds are not fused.
DT_INLINE F vgelu(F x) {
  const F a = min(F::set1(kTailEnd), abs(x));
  const NormalTail tail = normal_tail(a);
  const F slope = a * tail.ratio;
  return max(F::set1(0.0f), x) - scale_down(mul_add(slope, tail.bell.w, slope), tail.bell.n);
}

// Phi(x) + x phi(x). Absolute error 2.02 * 2^-24; the relative error grows at its root near -0.75.
DT_INLINE F vgelu_grad(F x) {
  const F a = min(F::set1(kTailEnd), abs(x)), one = F::set1(1.0f);
  const NormalTail tail = normal_tail(a);
  const F slope = mul_add(a, F::set1(-0.398942280f), tail.ratio);
  const F below = scale_down(mul_add(slope, tail.bell.w, slope), tail.bell.n);  // the value at -a
  return select(less(x, F::set1(0.0f)), below, one - below);
}

// sin and cos of 2 pi u for u in [0, 1): with q the nearest quarter turn, 4 u - q is exact. Unfused: the same
// bits on every target.
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
DT_INLINE D vexp_down(D x) { return vexp(x); }
DT_INLINE D vexp2(D x) { return {::exp2(x.v)}; }
DT_INLINE D vlog(D x) { return {::log(x.v)}; }
DT_INLINE D vlog_same(D x) { return vlog(x); }
DT_INLINE D vtanh(D x) { return {::tanh(x.v)}; }
DT_INLINE D vgelu(D x) {
  const double c = x.v < -40 ? -40 : x.v;  // so that -infinity gives 0
  return {0.5 * c * ::erfc(c * -0.70710678118654752)};
}
DT_INLINE D vgelu_grad(D x) {
  const double c = x.v < -40 ? -40 : x.v > 40 ? 40 : x.v;
  return {0.5 * ::erfc(c * -0.70710678118654752) + c * 0.39894228040143268 * ::exp(-0.5 * c * c)};
}
