// Plain versions of the optimizer steps, one element at a time, for tests. R is any type with arithmetic,
// comparison, sqrt and abs; `R(double)` makes one of a coefficient.
#pragma once
#include <cmath>
#include "optimizers.h"

namespace drivetrain::reference {

template <class R>
void sgd(const SgdArgs& a, R& p, R g, R* state) {
  g = g * R(a.scale) + R(a.decay) * p;
  if (a.momentum != 0) {
    R& buffer = state[0];
    buffer = a.first ? g : R(a.momentum) * buffer + R(1 - a.dampening) * g;
    g = a.nesterov ? g + R(a.momentum) * buffer : buffer;
  }
  p = p - R(a.lr) * g;
}

template <class R>
void adam(const AdamArgs& a, R& p, R g, R* state) {
  using std::sqrt;
  R &m = state[0], &v = state[1], &largest = state[2];
  g = g * R(a.scale) + R(a.decay) * p;
  m = R(a.beta1) * m + R(1 - a.beta1) * g;
  v = R(a.beta2) * v + R(1 - a.beta2) * g * g;
  if (a.amsgrad && largest < v) largest = v;
  const R denominator = a.adaptive ? sqrt(a.amsgrad ? largest : v) * R(a.root) + R(a.eps) : R(1);
  p = p * R(a.keep) - (R(a.step_m) * m + R(a.step_g) * g) / denominator;
}

template <class R>
void adabelief(const AdamArgs& a, R& p, R g, R* state) {
  using std::sqrt;
  R &m = state[0], &s = state[1];
  g = g * R(a.scale) + R(a.decay) * p;
  m = R(a.beta1) * m + R(1 - a.beta1) * g;
  s = R(a.beta2) * s + R(1 - a.beta2) * (g - m) * (g - m) + R(a.eps);
  p = p * R(a.keep) - R(a.step_m) * m / (sqrt(s) * R(a.root) + R(a.eps));
}

template <class R>
void adamax(const AdamaxArgs& a, R& p, R g, R* state) {
  using std::abs;
  R &m = state[0], &u = state[1];
  g = g * R(a.scale) + R(a.decay) * p;
  m = R(a.beta1) * m + R(1 - a.beta1) * g;
  u = R(a.beta2) * u;
  const R now = abs(g) + R(a.eps);
  if (u < now) u = now;
  p = p - R(a.step) * m / u;
}

template <class R>
void adagrad(const AdagradArgs& a, R& p, R g, R* state) {
  using std::sqrt;
  g = g * R(a.scale) + R(a.decay) * p;
  state[0] = state[0] + g * g;
  p = p - R(a.step) * g / (sqrt(state[0]) + R(a.eps));
}

template <class R>
void adadelta(const AdadeltaArgs& a, R& p, R g, R* state) {
  using std::sqrt;
  R &square = state[0], &delta = state[1];
  g = g * R(a.scale) + R(a.decay) * p;
  square = R(a.rho) * square + R(1 - a.rho) * g * g;
  const R d = sqrt(delta + R(a.eps)) / sqrt(square + R(a.eps)) * g;
  delta = R(a.rho) * delta + R(1 - a.rho) * d * d;
  p = p - R(a.lr) * d;
}

template <class R>
void rmsprop(const RmspropArgs& a, R& p, R g, R* state) {
  using std::sqrt;
  const bool has_momentum = a.momentum != 0;
  g = g * R(a.scale) + R(a.decay) * p;
  state[0] = R(a.alpha) * state[0] + R(1 - a.alpha) * g * g;
  R v = state[0];
  if (a.centered) {
    R& average = state[1 + has_momentum];
    average = R(a.alpha) * average + R(1 - a.alpha) * g;
    v = v - average * average;
  }
  R d = g / (sqrt(v) + R(a.eps));
  if (has_momentum) d = state[1] = R(a.momentum) * state[1] + d;
  p = p - R(a.lr) * d;
}

template <class R>
void lion(const LionArgs& a, R& p, R g, R* state) {
  g = g * R(a.scale);
  const R c = R(a.beta1) * state[0] + R(1 - a.beta1) * g;
  p = p * R(a.keep) - R(a.lr) * (c < R(0) ? R(-1) : R(0) < c ? R(1) : R(0));
  state[0] = R(a.beta2) * state[0] + R(1 - a.beta2) * g;
}

template <class R>
R lamb_update(const LambArgs& a, R p, R g, R* state) {
  using std::sqrt;
  R &m = state[0], &v = state[1];
  g = g * R(a.scale);
  m = R(a.beta1) * m + R(1 - a.beta1) * g;
  v = R(a.beta2) * v + R(1 - a.beta2) * g * g;
  return R(a.step_m) * m / (sqrt(v) * R(a.root) + R(a.eps)) + R(a.decay) * p;
}

template <class R>
void lars(const LarsArgs& a, R& p, R g, R* state) {
  g = g * R(a.scale) + R(a.decay) * p;
  state[0] = R(a.momentum) * state[0] + R(a.rate) * g;
  p = p - state[0];
}

template <class R>
void adafactor_moment(const AdafactorArgs& a, R g, R& v) {
  g = g * R(a.scale);
  v = R(a.beta2) * v + R(1 - a.beta2) * (g * g + R(a.eps));
}

// column: the moment itself where it is not factored.
template <class R>
R adafactor_update(bool factored, R row, R g, R column) {
  using std::sqrt;
  return factored ? g * row * column : g * row / sqrt(column);
}

template <class R>
void adafactor_apply(const AdafactorArgs& a, R update, R& p, R* m) {
  if (m) {
    *m = R(a.beta1) * *m + R((1 - a.beta1) * a.step) * update;
    p = p * R(a.keep) - *m;
  } else {
    p = p * R(a.keep) - R(a.step) * update;
  }
}

// The direction, from the buffer that it advances.
template <class R>
R muon_direction(const MuonArgs& a, R g, R& buffer) {
  g = g * R(a.scale);
  buffer = R(a.momentum) * buffer + g;
  return a.nesterov ? g + R(a.momentum) * buffer : buffer;
}

}  // namespace drivetrain::reference
