// Elementwise kernels: each value of out depends on its own inputs alone, and the tail runs the same vector
// code on a padded vector, so cutting a range into chunks changes no bit.

// Runs body(i, at) over a range of n values, a vector at a time; at.load, at.wide (in double) and at.put are
// those of a whole vector or, at the end of the range, of the values left.
template <class V>
struct Whole {
  DT_INLINE V load(const typename V::T* p, typename V::T = 0) const { return V::load(p); }
  DT_INLINE V any(const typename V::T* p) const { return V::load(p); }
  DT_INLINE size_t count() const { return V::kLanes; }
  DT_INLINE auto wide(const typename V::T* p) const { return load_wide(p); }
  DT_INLINE void put(typename V::T* p, V x) const { store(p, x); }
};
template <class V>
struct Part {
  size_t n;
  DT_INLINE V load(const typename V::T* p, typename V::T fill = 0) const { return V::load_n(p, n, fill); }
  DT_INLINE V any(const typename V::T* p) const { return V::load_n(p, n); }
  DT_INLINE size_t count() const { return n; }
  DT_INLINE auto wide(const typename V::T* p) const { return widen(load(p)); }
  DT_INLINE void put(typename V::T* p, V x) const { store_n(p, x, n); }
};
template <class V, class Body>
DT_INLINE void for_each_vector(size_t n, Body body) {
  size_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) body(i, Whole<V>{});
  if (i < n) body(i, Part<V>{n - i});
}

struct Neg {
  template <class V>
  DT_INLINE V operator()(V x) const {
    return negate(x);
  }
};
struct Abs {
  template <class V>
  DT_INLINE V operator()(V x) const {
    return abs(x);
  }
};
struct Sign {  // zeros and NaN stay
  template <class V>
  DT_INLINE V operator()(V x) const {
    const V zero = V::set1(0);
    return select(less(x, zero), V::set1(-1), select(less(zero, x), V::set1(1), x));
  }
};
struct Exp {
  template <class V>
  DT_INLINE V operator()(V x) const {
    return vexp(x);
  }
};
struct Log {
  template <class V>
  DT_INLINE V operator()(V x) const {
    return vlog(x);
  }
};
struct Sqrt {
  template <class V>
  DT_INLINE V operator()(V x) const {
    return sqrt(x);
  }
};
struct Tanh {
  template <class V>
  DT_INLINE V operator()(V x) const {
    return vtanh(x);
  }
};
struct Sigmoid {
  template <class V>
  DT_INLINE V operator()(V x) const {
    return vsigmoid(x);
  }
};
struct Relu {  // max(0, NaN) is NaN
  template <class V>
  DT_INLINE V operator()(V x) const {
    return max(V::set1(0), x);
  }
};
struct Gelu {
  template <class V>
  DT_INLINE V operator()(V x) const {
    return vgelu(x);
  }
};

struct Add {
  template <class V>
  DT_INLINE V operator()(V a, V b) const {
    return a + b;
  }
};
struct Sub {
  template <class V>
  DT_INLINE V operator()(V a, V b) const {
    return a - b;
  }
};
struct Mul {
  template <class V>
  DT_INLINE V operator()(V a, V b) const {
    return a * b;
  }
};
struct Div {
  template <class V>
  DT_INLINE V operator()(V a, V b) const {
    return a / b;
  }
};
// max and min give b where either is NaN; that leaves the case of a NaN a.
struct Maximum {
  template <class V>
  DT_INLINE V operator()(V a, V b) const {
    return select(is_nan(a), a, max(a, b));
  }
};
struct Minimum {
  template <class V>
  DT_INLINE V operator()(V a, V b) const {
    return select(is_nan(a), a, min(a, b));
  }
};
struct ReluGrad {  // dy passes where x is NaN, so that it stays visible
  template <class V>
  DT_INLINE V operator()(V x, V dy) const {
    return select(at_most(x, V::set1(0)), V::set1(0), dy);
  }
};
struct GeluGrad {
  template <class V>
  DT_INLINE V operator()(V x, V dy) const {
    return dy * vgelu_grad(x);
  }
};

template <class V, class Op>
void unary(const typename V::T* x, typename V::T* out, size_t n) {
  for_each_vector<V>(n, [=](size_t i, auto at) { at.put(out + i, Op()(at.load(x + i))); });
}

template <class V, class Op>
DT_INLINE void binary_loop(const typename V::T* a, const typename V::T* b, typename V::T* out, size_t n) {
  for_each_vector<V>(n, [=](size_t i, auto at) { at.put(out + i, Op()(at.load(a + i), at.load(b + i))); });
}

// An operand that walks or repeats: loops run over blocks, and a repeated value is spread over one block
// first, so that one inner loop serves every combination of steps.
constexpr size_t kBlock = 256;
template <class T>
struct Operand {
  const T* p;
  size_t step;
  T repeated[kBlock];

  Operand(const T* first, size_t walk, size_t n) : p(first), step(walk) {
    for (size_t i = 0; !walk && i < kBlock && i < n; ++i) repeated[i] = *first;
  }
  const T* at(size_t i) const { return step ? p + i : repeated; }
};

template <class V, class Op>
void binary(const typename V::T* a, size_t a_step, const typename V::T* b, size_t b_step, typename V::T* out,
            size_t n) {
  if (a_step && b_step) return binary_loop<V, Op>(a, b, out, n);
  const Operand<typename V::T> as(a, a_step, n), bs(b, b_step, n);
  for (size_t i = 0; i < n; i += kBlock)
    binary_loop<V, Op>(as.at(i), bs.at(i), out + i, n - i < kBlock ? n - i : kBlock);
}

// The compilers vectorise these plain loops, and there is no rounding in them.
template <class T, bool kIsEqual>
void compare(const T* a, size_t a_step, const T* b, size_t b_step, uint8_t* out, size_t n) {
  const Operand<T> as(a, a_step, n), bs(b, b_step, n);
  for (size_t i = 0; i < n; i += kBlock) {
    const T *x = as.at(i), *y = bs.at(i);
    const size_t count = n - i < kBlock ? n - i : kBlock;
    for (size_t j = 0; j < count; ++j) out[i + j] = kIsEqual ? x[j] == y[j] : x[j] > y[j];
  }
}

template <class T>
void where(const uint8_t* c, size_t c_step, const T* a, size_t a_step, const T* b, size_t b_step, T* out,
           size_t n) {
  const Operand<uint8_t> cs(c, c_step, n);
  const Operand<T> as(a, a_step, n), bs(b, b_step, n);
  for (size_t i = 0; i < n; i += kBlock) {
    const uint8_t* choose = cs.at(i);
    const T *x = as.at(i), *y = bs.at(i);
    const size_t count = n - i < kBlock ? n - i : kBlock;
    for (size_t j = 0; j < count; ++j) {
      const T yes = x[j], no = y[j];
      out[i + j] = choose[j] ? yes : no;
    }
  }
}

template <class T>
void fill(T value, T* out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = value;
}
