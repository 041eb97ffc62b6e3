package metric

import "math"

// Errors sums up the errors of a regression.
type Errors struct {
	Rows     int64
	Absolute Sum     // of |label − predicted|
	Squared  Sum     // of its square
	Mean     float64 // of the labels
	M2       float64 // sum of the labels' squared distances from it
}

// UpdateNumber implements Numeric.
func (e *Errors) UpdateNumber(label, predicted float64) {
	if !finite(label) || !finite(predicted) {
		return
	}
	d := label - predicted
	e.Absolute.Add(math.Abs(d))
	e.Squared.Add(float64(d * d))
	e.Rows++
	off := label - e.Mean
	e.Mean += off / float64(e.Rows)
	e.M2 += float64(off * (label - e.Mean))
}

func (e *Errors) add(o *Errors) {
	if o.Rows == 0 {
		return
	}
	n, m := float64(e.Rows), float64(o.Rows)
	d := o.Mean - e.Mean
	e.Mean += float64(d * (m / (n + m)))
	e.M2 += o.M2 + float64(d*d*(n/(n+m)*m))
	e.Rows += o.Rows
	e.Absolute.AddSum(o.Absolute)
	e.Squared.AddSum(o.Squared)
}

// MAE is the mean absolute error.
func (e *Errors) MAE() (float64, bool) {
	if e.Rows == 0 {
		return 0, false
	}
	return defined(e.Absolute.Value() / float64(e.Rows))
}

// RMSE is the square root of the mean squared error.
func (e *Errors) RMSE() (float64, bool) {
	if e.Rows == 0 {
		return 0, false
	}
	return defined(math.Sqrt(e.Squared.Value() / float64(e.Rows)))
}

// R2 is 1 − squared error / squared distance of the labels from their mean; undefined while all labels are the same.
func (e *Errors) R2() (float64, bool) {
	if e.M2 <= 0 {
		return 0, false
	}
	return defined(1 - e.Squared.Value()/e.M2)
}

// errorsMetric is an Errors with one of its readings.
type errorsMetric struct {
	e    Errors
	read func(*Errors) (float64, bool)
}

func fromErrors(read func(*Errors) (float64, bool)) func(Options) Numeric {
	return func(Options) Numeric { return &errorsMetric{read: read} }
}

func (m *errorsMetric) UpdateNumber(label, predicted float64) { m.e.UpdateNumber(label, predicted) }
func (m *errorsMetric) Value() (float64, bool)                { return m.read(&m.e) }
func (m *errorsMetric) Reset()                                { m.e = Errors{} }
func (m *errorsMetric) State() any                            { return &m.e }

func (m *errorsMetric) Merge(other Metric) error {
	o, ok := other.(*errorsMetric)
	if !ok {
		return mismatch(m, other)
	}
	m.e.add(&o.e)
	return nil
}

func init() {
	register(Spec{Name: "mae", Best: Lower, Hi: math.MaxFloat64,
		Doc:     "Mean absolute error.",
		Numeric: fromErrors((*Errors).MAE)})
	register(Spec{Name: "rmse", Best: Lower, Hi: math.MaxFloat64,
		Doc:     "Square root of the mean squared error.",
		Numeric: fromErrors((*Errors).RMSE)})
	register(Spec{Name: "r2", Best: Higher, Lo: -math.MaxFloat64, Hi: 1,
		Doc:     "Coefficient of determination: 1 is perfect, 0 is as good as the labels' mean; undefined while all labels are the same.",
		Numeric: fromErrors((*Errors).R2)})
}
