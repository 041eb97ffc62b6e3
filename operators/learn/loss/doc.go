// Package loss holds the loss functions of the linear learners as pure maths:
// value, derivative with respect to the score, and the link from a score to
// what a learner publishes.
//
// A learner evaluates a loss once per row, so everything here is float64
// whatever the width of the weight table, and [Func] is a small value with a
// switch inside: no interface call, no allocation.
//
// Classification losses take the label as y = -1 or y = +1, regression losses
// as any finite number. With p the score and z = y·p:
//
//	log       value ln(1+e^-z)                       derivative -y/(1+e^z)
//	hinge     value max(0, 1-z)                      derivative -y when z < 1, else 0
//	squared   value (p-y)²                           derivative 2(p-y)
//	absolute  value |p-y|                            derivative sign(p-y)
//	huber     value r²/2 when |r| ≤ δ, else          derivative r held to [-δ, δ],
//	          δ(|r|-δ/2), r = p-y                    r = p-y
//	quantile  value τ(y-p) when y ≥ p, else          derivative -τ when p < y,
//	          (1-τ)(p-y)                             1-τ when p > y
//	poisson   value e^p - y + y(ln y - p)            derivative e^p - y
//
// The score of the Poisson loss is the logarithm of the mean; its value is half the
// deviance (McCullagh, Nelder 1989), which is least, 0, at p = ln y.
// Where a derivative jumps (absolute and quantile at p = y, hinge at z = 1) it
// is 0. For finite p and y every result is finite: what would overflow is held
// at ±[math.MaxFloat64].
//
// Results are the same bits on every processor: a model rebuilt from its input
// on another one has to come out the same.
package loss
