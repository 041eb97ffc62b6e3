// Package kalman is the pure maths of Bayesian linear regression: a normal
// distribution over weights, and what a noisy observation of a weighted sum makes
// of it. The covariance is held as U·D·Uᵀ (Bierman, Factorization Methods for
// Discrete Sequential Estimation, 1977), whose D stays positive whatever the
// rounding.
package kalman

import "math"

// Filter is a normal distribution of weights: plain data to save and load.
type Filter struct {
	Mean []float64
	D    []float64 // diagonal
	U    []float64 // above the unit diagonal, column by column: 01, 02, 12, 03, …
}

// New is a distribution of n independent weights of mean 0.
func New(n int, variance float64) Filter {
	f := Filter{Mean: make([]float64, n), D: make([]float64, n), U: make([]float64, n*(n-1)/2)}
	for i := range f.D {
		f.D[i] = variance
	}
	return f
}

// Scratch is the working memory of an update.
type Scratch struct {
	noise      float64
	f, g, gain []float64
	was        Filter
}

// Predict returns the mean and the variance of the sum of weight times x, with
// noise of the given variance. x has the length of the means.
func (s *Scratch) Predict(m *Filter, x []float64, noise float64) (mean, variance float64) {
	n := len(m.Mean)
	if len(s.f) != n {
		s.f, s.g, s.gain = make([]float64, n), make([]float64, n), make([]float64, n)
	}
	s.noise, variance = noise, noise
	at := 0
	for j := range n {
		mean += float64(m.Mean[j] * x[j])
		f := x[j]
		for i, u := range m.U[at : at+j] {
			f += float64(u * x[i])
		}
		at += j
		s.f[j], s.g[j] = f, float64(m.D[j]*f)
		variance += float64(f * s.g[j])
	}
	return mean, variance
}

// Update conditions the distribution on the sum last predicted having been seen
// that far above its mean. It returns false and changes nothing if a number would
// not stay finite.
func (s *Scratch) Update(m *Filter, above float64) bool {
	s.was.Mean, s.was.D, s.was.U = append(s.was.Mean[:0], m.Mean...), append(s.was.D[:0], m.D...), append(s.was.U[:0], m.U...)
	before, sum := s.noise, 0.0
	at := 0
	for j := range m.D {
		f, g := s.f[j], s.g[j]
		after := before + float64(f*g)
		m.D[j] *= before / after
		s.gain[j] = g
		lambda := -f / before
		u := m.U[at : at+j]
		for i := range u {
			w := u[i]
			u[i] = w + float64(lambda*s.gain[i])
			s.gain[i] += float64(g * w)
			sum += math.Abs(u[i])
		}
		at += j
		before = after
	}
	for i, k := range s.gain {
		m.Mean[i] += float64(k * (above / before))
		sum += math.Abs(m.Mean[i]) + m.D[i]
	}
	if !(sum <= math.MaxFloat64) {
		copy(m.Mean, s.was.Mean)
		copy(m.D, s.was.D)
		copy(m.U, s.was.U)
		return false
	}
	return true
}
