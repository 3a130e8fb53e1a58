// Fused optimizer steps: one pass over memory, PyTorch's order of operations. Hyperparameters come in double
// and are rounded to T once.

template <class V>
void sgd(const SgdArgs& args, typename V::T* param, const typename V::T* grad, typename V::T* momentum,
         size_t n) {
  using T = typename V::T;
  const V scale = V::set1((T)(args.maximize ? -args.grad_scale : args.grad_scale));
  const V decay = V::set1((T)args.weight_decay), minus_lr = V::set1((T)-args.lr);
  const V rho = V::set1((T)args.momentum), blend = V::set1((T)(1 - args.dampening));
  const bool first = args.first_step, nesterov = args.nesterov;
  for_each_vector<V>(n, [=](size_t i, auto at) {
    const V p = at.load(param + i);
    V g = mul_add(decay, p, at.load(grad + i) * scale);
    if (momentum) {
      const V buffer = first ? g : mul_add(rho, at.load(momentum + i), blend * g);
      at.put(momentum + i, buffer);
      g = nesterov ? mul_add(rho, buffer, g) : buffer;
    }
    at.put(param + i, mul_add(minus_lr, g, p));
  });
}

// Loshchilov and Hutter 2019, algorithm 2, with p (1 - lr wd) first and eps outside the root:
//   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  p -= lr / bias1 * m / (sqrt(v) / sqrt(bias2) + eps)
// 1 / sqrt(bias2) is folded into the multiply-add: one root and one division a vector, which is what binds in
// cache.
template <class V>
void adamw(const AdamWArgs& args, typename V::T* param, const typename V::T* grad, typename V::T* m,
           typename V::T* v, size_t n) {
  using T = typename V::T;
  const V scale = V::set1((T)(args.maximize ? -args.grad_scale : args.grad_scale));
  const V beta1 = V::set1((T)args.beta1), blend1 = V::set1((T)(1 - args.beta1));
  const V beta2 = V::set1((T)args.beta2), blend2 = V::set1((T)(1 - args.beta2));
  const V keep = V::set1((T)(1 - args.lr * args.weight_decay)), step = V::set1((T)(-args.lr / args.bias1));
  const V root_scale = V::set1((T)(1 / ::sqrt(args.bias2))), eps = V::set1((T)args.eps);
  for_each_vector<V>(n, [=](size_t i, auto at) {
    const V g = at.load(grad + i) * scale;
    const V new_m = mul_add(beta1, at.load(m + i), blend1 * g);
    const V new_v = mul_add(beta2, at.load(v + i), blend2 * g * g);
    at.put(m + i, new_m);
    at.put(v + i, new_v);
    const V update = new_m / mul_add(sqrt(new_v), root_scale, eps);
    at.put(param + i, mul_add(step, update, at.load(param + i) * keep));
  });
}
