// Package quantile has the exact quantiles of the newest values of a stream as
// pure maths. Estimates of the whole stream in less memory exist, such as P²
// (Jain and Chlamtac 1985), but a tenth of absurd values moves its quartiles
// without bound, which is what a robust scale must not do.
package quantile

import "slices"

// Values are the values of a window: what of it is remembered.
type Values struct {
	Ring []float64 // the values; once the window is full the oldest is at Next
	Next int64     // where the next value goes; 0 until the window is full
}

// Window holds the last values of a stream and their order. A value costs a
// search and a move of memory in proportion to the size of the window. It is
// used by pointer to its Values, which may be loaded before the first use.
type Window struct {
	v      *Values
	size   int
	sorted []float64 // those of v, if as many

	last undo
}

type undo struct {
	in, out float64
	dropped bool // out was dropped for in
}

// NewWindow returns a window of the last size values, at least one, that lie in v.
func NewWindow(v *Values, size int) Window { return Window{v: v, size: size} }

// Update learns x. It returns false and changes nothing if x is NaN or Inf.
func (w *Window) Update(x float64) bool {
	if x-x != 0 {
		return false
	}
	if x == 0 {
		x = 0 // not -0, whose place among zeros would be open
	}
	w.sync()
	w.last = undo{in: x}
	if len(w.v.Ring) < w.size {
		w.v.Ring = append(w.v.Ring, x)
		w.insert(x)
		return true
	}
	at := &w.v.Ring[w.v.Next]
	w.last.out, w.last.dropped = *at, true
	*at = x
	w.v.Next = (w.v.Next + 1) % int64(w.size)
	w.remove(w.last.out)
	w.insert(x)
	return true
}

// Undo takes back the last Update. It is called at most once for each.
func (w *Window) Undo() {
	w.remove(w.last.in)
	if !w.last.dropped {
		w.v.Ring = w.v.Ring[:len(w.v.Ring)-1]
		return
	}
	w.v.Next = (w.v.Next + int64(w.size) - 1) % int64(w.size)
	w.v.Ring[w.v.Next] = w.last.out
	w.insert(w.last.out)
}

// Quantile returns the quantile of probability i/n, interpolated between the
// nearest two values, as NumPy does; 0 before the first value.
func (w *Window) Quantile(i, n int) float64 {
	w.sync()
	if len(w.sorted) == 0 {
		return 0
	}
	at := i * (len(w.sorted) - 1)
	k, rest := at/n, at%n
	if rest == 0 {
		return w.sorted[k]
	}
	part := float64(rest) / float64(n)
	return float64(w.sorted[k]*(1-part)) + float64(w.sorted[k+1]*part)
}

// Len returns the number of values in the window.
func (w *Window) Len() int { return len(w.v.Ring) }

// sync sorts values that were loaded, and fits them to the size.
func (w *Window) sync() {
	if len(w.sorted) == len(w.v.Ring) {
		return
	}
	v := w.v
	if v.Next < 0 || v.Next >= int64(len(v.Ring)) {
		v.Next = 0
	}
	if len(v.Ring) != w.size { // of another size, perhaps
		v.Ring = slices.Concat(v.Ring[v.Next:], v.Ring[:v.Next])
		v.Ring = v.Ring[max(0, len(v.Ring)-w.size):]
		v.Next = 0
	}
	w.sorted = append(w.sorted[:0], v.Ring...)
	slices.Sort(w.sorted)
}

func (w *Window) insert(x float64) {
	at, _ := slices.BinarySearch(w.sorted, x)
	w.sorted = slices.Insert(w.sorted, at, x)
}

func (w *Window) remove(x float64) {
	at, ok := slices.BinarySearch(w.sorted, x)
	if ok {
		w.sorted = slices.Delete(w.sorted, at, at+1)
	}
}
