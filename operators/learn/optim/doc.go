// Package optim holds the step rules of the linear learners as pure maths: how
// a row's gradient moves the weights of the features that are in the row.
//
// # The table
//
// Weights and what a rule remembers about each of them lie side by side in one
// slice, so that a feature costs one cache line: with S = [Rule.Slots] the
// slots of index i are tab[i*S], …, tab[i*S+S-1]. Slot 0 is the weight that
// predicts, so any reader can score a row with [Dot] without knowing the rule;
// four exceptions are below. A fresh table is all zeros.
//
//	rule        S  slots
//	sgd         1  w
//	sgd, L1>0   2  w, q (sum of L1 penalties received)
//	momentum    2  w, s (velocity)
//	nesterov    2  w, s (velocity)
//	adagrad     2  w, G (sum of squared gradients)
//	rmsprop     2  w, G (decayed mean of squared gradients)
//	adam        4  w, m, v (decayed means of gradient and square), c (its steps)
//	adadelta    3  w, G, decayed mean of squared steps
//	adamax      4  w, m, u (decayed maximum of |g|), c
//	nadam       4  as adam
//	amsgrad     5  as adam, and the greatest v
//	adabound    4  as adam
//	ftrl        3  w, z, n (sum of squared gradients)
//	normalized  4  w, G (sum of squared gradients), N (greatest |value|), rate of
//	               its last step
//	coin        6  w, L (greatest |value|), M (greatest |ℓ'|), θ (Σ-g), A (Σ|g|),
//	               R (Σ-g·w)
//	pistol      4  w, M (greatest |value|), θ (Σ-g), A (Σ|g|)
//	freegrad    5  w, G (Σg), V (Σg²), h₁ (first |g|), h (greatest |g|)
//	mixture     8  w, w₁, w₂, w₃ (sgd), w₄, G₄, w₅, G₅ (adagrad)
//
// With the penalties of invariant steps a last slot holds the weight as it would
// be without. There, and under coin, pistol and mixture, slot 0 is the weight as of the
// coordinate's last step, and [Rule.Weigh] scores.
//
// A row is a list of indices with as many values. Only its own indices are read
// and written. An index may occur twice (two features hashed together): its
// occurrences are stepped one after the other.
//
// # The rules
//
// With ℓ' the derivative of the loss with respect to the score, x the value, η
// the rate of this step ([Schedule]), the gradient of a coordinate is
// g = ℓ'·x + L2·w, so L2 acts on the coordinates of the row only. Then
//
//	sgd       w -= ηg; then with L1 the cumulative penalty of Tsuruoka, Tsujii
//	          and Ananiadou (ACL 2009): u += L1·η once a row; a positive w
//	          becomes max(0, w-(u+q)), a negative one min(0, w+(u-q)); q takes
//	          up the change
//	momentum  s = ρs + ηg; w -= s (Polyak 1964)
//	nesterov  the same, g taken at w - ρs (Nesterov 1983): see [Rule.Score]
//	adagrad   G += g²; w -= ηg/√(G+ε) (Duchi, Hazan, Singer 2011, diagonal)
//	rmsprop   G = ρG + (1-ρ)g²; w -= ηg/√(G+ε) (Tieleman, Hinton 2012)
//	adam      m = β₁m + (1-β₁)g; v = β₂v + (1-β₂)g²; w -= ηm̂/(√v̂+ε) with
//	          m̂ = m/(1-β₁ᶜ), v̂ = v/(1-β₂ᶜ) (Kingma, Ba 2015, algorithm 1); c
//	          counts the steps of the coordinate, because the count of all rows
//	          would leave a rare coordinate uncorrected
//	adadelta  G = ρG + (1-ρ)g²; d = g·√(D+ε)/√(G+ε); D = ρD + (1-ρ)d²;
//	          w -= ηd (Zeiler 2012)
//	adamax    u = max(β₂u, |g|); w -= ηm̂/(u+ε) (Kingma, Ba 2015)
//	nadam     w -= η(β₁m̂ + (1-β₁)g/(1-β₁ᶜ))/(√v̂+ε) (Dozat 2016)
//	amsgrad   v̄ = max(v̄, v); w -= η√(1-β₂ᶜ)/(1-β₁ᶜ)·m/(√v̄+ε) (Reddi, Kale,
//	          Kumar 2018, corrected as adam)
//	adabound  adam with η√(1-β₂ᶜ)/(1-β₁ᶜ)/(√v+ε) held between final·(1-1/(γc+1))
//	          and final·(1+1/(γc)) (Luo, Xiong, Liu, Sun 2019)
//	ftrl      n += g², z += g - σw, σ = (√n_new - √n_old)/α; w = 0 if |z| ≤ λ₁,
//	          else -(z - sign(z)λ₁)/((β+√n)/α + λ₂) (McMahan et al. 2013,
//	          algorithm 1), here g = ℓ'·x, λ₁ = L1 and λ₂ = L2; w is kept in
//	          slot 0 as of the coordinate's last step
//
// # Invariant steps
//
// Where the loss itself says how far to go (package loss, Func.Invariant), a step
// has two halves, [Rule.Adapt] and [Rule.Move], and the intercept is a feature
// among others. With r the row's weight and norm by how much the score moves for
// a unit of u, a weight moves by u times what stands here:
//
//	sgd         x
//	adagrad     G += rℓ'²x²; x/√(G+ε) (Karampatziakis, Langford 2011)
//	normalized  G += rℓ'²x²; when |x| > N: w *= N/|x|, N = |x|; S += rΣx²/N²,
//	            T += r; √(T/S)·x/(√G·N) (Ross, Mineiro, Langford 2013); with
//	            another power t than ½: (T/S)^(1-t)·x/(G^t·N^(2-2t)) and
//	            w *= (N/|x|)^(2-2t)
//
// Penalties: with r̄ = -u/ℓ' the rate that a step came to, c *= 1-L2·r̄, u /= c
// and γ += L1·r̄ once a row, and a weight counts as c·sign(w)·max(0, |w|-γ).
//
// # Rules without a rate, and several rules at once
//
//	coin        a weight is the bet w = θ(α+R)/(ML(ML+A)), over the mean over
//	            the rows of Σ(x/L)²; L and M take up the row before, θ, A and R
//	            behind the bet (Orabona, Tommasi 2017, as in Vowpal Wabbit)
//	pistol      w = β√A·θ·c·e^(θ²c/2), c = 1/(αM(M+A)), M with the row's value
//	            (Orabona, NIPS 2014, as in Vowpal Wabbit)
//	freegrad    w = -G·ε·h₁²(2V+h|G|)/(2(V+h|G|)²√V)·e^(G²/(2(V+h|G|))), ε =
//	            Alpha; a g beyond h counts as ±h in G and V, and h becomes |g| (Mhammedi,
//	            Koolen, COLT 2020, equation 9)
//	mixture     [Experts] rules take their own steps; the weight that counts is
//	            the mean of theirs by [Shared].Shares: see [Rule.StepEach]
//
// # Numbers
//
// Everything is computed in the type F of the table, products rounded before
// they are added, so no processor may fuse them and equal input gives equal
// bits everywhere. With F = float32 the sums u and q of the L1 penalty resolve
// single penalties up to some 10^7 steps; later ones arrive in larger lumps.
//
// No weight and no accumulator ever becomes NaN or Inf: a step that would do so
// is taken back whole and reported as [ErrNonFinite].
package optim
