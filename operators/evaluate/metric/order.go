package metric

import (
	"cmp"
	"slices"
)

// order holds rows by falling probability, of equal ones the earlier first. Rows that come and go cost a sort of those that
// came and one pass over all, so metrics of ranks need not sort all rows for each value; and how often a value is asked for
// never shows.
type order struct {
	rows, added []placed
	next        uint32 // number of the next row
}

// placed is a row with its number: rows count up as they come.
type placed struct {
	p, weight float64
	number    uint32
	label     bool
}

func (o *order) clear() { *o = order{rows: o.rows[:0], added: o.added[:0]} }

// add takes up a row, whose number must be above those before. It is not in rows before settle.
func (o *order) add(r *Scored, number uint32) {
	o.added = append(o.added, placed{r.P, r.Weight, number, r.Label})
	o.next = number + 1
}

// settle puts what was added in its place, and removes rows of numbers below oldest.
func (o *order) settle(oldest uint32) {
	if len(o.rows) > 0 && oldest > 0 {
		o.rows = slices.DeleteFunc(o.rows, func(r placed) bool { return r.number < oldest })
	}
	if len(o.added) == 0 {
		return
	}
	slices.SortFunc(o.added, func(a, b placed) int {
		switch {
		case a.p > b.p:
			return -1
		case a.p < b.p:
			return 1
		}
		return cmp.Compare(a.number, b.number)
	})
	if len(o.rows) == 0 {
		o.rows, o.added = o.added, o.rows
		return
	}
	i, j := len(o.rows)-1, len(o.added)-1
	o.rows = append(o.rows, o.added...)
	for k := len(o.rows) - 1; j >= 0; k-- {
		if i >= 0 && o.rows[i].p < o.added[j].p {
			o.rows[k] = o.rows[i]
			i--
		} else {
			o.rows[k] = o.added[j]
			j--
		}
	}
	o.added = o.added[:0]
}

// curveWindow is a curve over the latest rows, which it keeps in order.
type curveWindow struct {
	binaryWindow
	precise bool

	// What follows from the state, as of the last value.
	order order
	held  *scoredRow // the first row of the ring; a state that was loaded lies elsewhere
	came  uint32     // number of the next row of the ring
	swept sweep      // memory of Value
}

// UpdateBinary implements Binary.
func (w *curveWindow) UpdateBinary(label bool, p, weight float64) {
	if p == p { // not NaN
		w.binaryWindow.UpdateBinary(label, p, weight)
		w.came++
	}
}

// Value implements Metric.
func (w *curveWindow) Value() (float64, bool) {
	n := uint32(len(w.s.Ring))
	if held := first(w.s.Ring); held != w.held || w.came > 1<<31 {
		w.held, w.came = held, n
		w.order.clear()
	}
	oldest := w.came - n
	for i := max(w.order.next, oldest); i != w.came; i++ {
		r := w.row(int(i - oldest))
		w.order.add(&Scored{min(max(r.P, 0), 1), r.Weight, r.Label}, i)
	}
	w.order.settle(oldest)
	w.swept = sweep{}
	w.swept.rows(w.order.rows)
	return w.swept.value(w.precise)
}

// Reset implements Metric.
func (w *curveWindow) Reset() {
	w.binaryWindow.Reset()
	w.came = 0
	w.order.clear()
}

// Merge implements Metric: the other's rows come after this one's.
func (w *curveWindow) Merge(other Metric) error {
	if o, ok := other.(*curveWindow); ok {
		return w.merge(w, &o.window)
	}
	return mismatch(w, other)
}
