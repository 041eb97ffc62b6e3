package metric

import "fmt"

// WindowState holds the latest rows.
type WindowState[R any] struct {
	Ring []R // full once it has the window's length
	Next int // where the next row goes
}

// window makes a metric count the latest rows only: it holds them, and computes the metric anew when it is read, so that
// nothing of departed rows stays behind. A row costs O(1), a reading O(window).
type window[R any] struct {
	size int
	s    WindowState[R]
	of   Metric // memory of Value
	feed func(m Metric, r *R)
}

// The rows of windows.
type (
	scoredRow struct {
		P, Weight float64
		Label     bool
	}
	namedRow struct {
		Label, Predicted []byte
		Weight           float64
	}
	numericRow struct {
		Row    Number
		Weight float64
	}
	rankedRow struct {
		Row    Outcome
		Weight float64
	}
)

func newWindow[R any](size int, of Metric, feed func(m Metric, r *R)) window[R] {
	return window[R]{size: size, of: of, feed: feed, s: WindowState[R]{Ring: make([]R, 0, min(size, 4096))}}
}

// next returns the place of the next row, with what the one it replaces left there.
func (w *window[R]) next() *R {
	s := &w.s
	if n := len(s.Ring); n < w.size {
		if n < cap(s.Ring) {
			s.Ring = s.Ring[:n+1]
		} else {
			var zero R
			s.Ring = append(s.Ring, zero)
		}
		return &s.Ring[n]
	}
	r := &s.Ring[s.Next]
	if s.Next++; s.Next == w.size {
		s.Next = 0
	}
	return r
}

// Value implements Metric.
func (w *window[R]) Value() (float64, bool) {
	w.of.Reset()
	for i := range w.s.Ring {
		w.feed(w.of, w.row(i))
	}
	return w.of.Value()
}

// row returns the i-th oldest row.
func (w *window[R]) row(i int) *R {
	if i += w.s.Next; i >= len(w.s.Ring) {
		i -= len(w.s.Ring)
	}
	return &w.s.Ring[i]
}

// Reset implements Metric.
func (w *window[R]) Reset() { w.s = WindowState[R]{Ring: w.s.Ring[:0]} }

// State implements Metric; the pointer is a *WindowState.
func (w *window[R]) State() any { return &w.s }

// merge appends the other's rows to the metric m of this window.
func (w *window[R]) merge(m Metric, o *window[R]) error {
	if o.size != w.size {
		return fmt.Errorf("metric: cannot merge a window of %d rows into one of %d", o.size, w.size)
	}
	for i := range o.s.Ring {
		w.feed(m, o.row(i))
	}
	return nil
}

type binaryWindow struct{ window[scoredRow] }

func (w *binaryWindow) UpdateBinary(label bool, p, weight float64) {
	if p == p { // not NaN
		*w.next() = scoredRow{p, weight, label}
	}
}

type classWindow struct{ window[namedRow] }

func (w *classWindow) UpdateClass(label, predicted string, weight float64) {
	r := w.next()
	r.Label, r.Predicted, r.Weight = append(r.Label[:0], label...), append(r.Predicted[:0], predicted...), weight
}

type numberWindow struct{ window[numericRow] }

func (w *numberWindow) UpdateNumber(n Number, weight float64) {
	if finite(n.Label) && finite(n.Predicted) {
		*w.next() = numericRow{n, weight}
	}
}

type outcomeWindow struct{ window[rankedRow] }

func (w *outcomeWindow) UpdateOutcome(o Outcome, weight float64) { *w.next() = rankedRow{o, weight} }

// Merge implements Metric: the other's rows come after this one's.
func (w *binaryWindow) Merge(other Metric) error {
	if o, ok := other.(*binaryWindow); ok {
		return w.merge(w, &o.window)
	}
	return mismatch(w, other)
}

// Merge implements Metric: the other's rows come after this one's.
func (w *classWindow) Merge(other Metric) error {
	if o, ok := other.(*classWindow); ok {
		return w.merge(w, &o.window)
	}
	return mismatch(w, other)
}

// Merge implements Metric: the other's rows come after this one's.
func (w *numberWindow) Merge(other Metric) error {
	if o, ok := other.(*numberWindow); ok {
		return w.merge(w, &o.window)
	}
	return mismatch(w, other)
}

// Merge implements Metric: the other's rows come after this one's.
func (w *outcomeWindow) Merge(other Metric) error {
	if o, ok := other.(*outcomeWindow); ok {
		return w.merge(w, &o.window)
	}
	return mismatch(w, other)
}

func feedBinary(m Metric, r *scoredRow) { m.(Binary).UpdateBinary(r.Label, r.P, r.Weight) }
func feedClass(m Metric, r *namedRow) {
	m.(Classes).UpdateClass(view(r.Label), view(r.Predicted), r.Weight)
}
func feedNumber(m Metric, r *numericRow) { m.(Numeric).UpdateNumber(r.Row, r.Weight) }
func feedOutcome(m Metric, r *rankedRow) { m.(Ranked).UpdateOutcome(r.Row, r.Weight) }
