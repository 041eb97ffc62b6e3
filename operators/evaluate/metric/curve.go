package metric

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Scored is one row of a curve.
type Scored struct {
	P, Weight float64
	Label     bool
}

// sweep goes down the thresholds of a curve: rows of one probability at a time, the highest first.
type sweep struct {
	pos, neg  float64 // weight of the rows so far, true and false
	wins      float64 // pairs of a true and a false row in which the true one has the higher probability, twice; ties count once
	precision float64 // sum over the true rows of the precision at their threshold
}

func (s *sweep) add(pos, neg float64) {
	s.wins += float64(neg * (2*s.pos + pos))
	s.pos += pos
	s.neg += neg
	if pos > 0 {
		s.precision += float64(pos * (s.pos / (s.pos + s.neg)))
	}
}

// auc is the probability that a random true row has a higher probability than a random false one, ties counting half: the
// area under the ROC curve. Undefined until both labels are there.
func (s *sweep) auc() (float64, bool) {
	v, ok := ratio(s.wins/2, float64(s.pos*s.neg))
	return min(v, 1), ok
}

// averagePrecision is the sum over the thresholds of the precision times what the recall gains there, undefined before the
// first true label. It is the area under the precision-recall curve without the optimism of straight lines between points.
func (s *sweep) averagePrecision() (float64, bool) {
	v, ok := ratio(s.precision, s.pos)
	return min(v, 1), ok
}

// value is the average precision, if precise, or the area under the ROC curve.
func (s *sweep) value(precise bool) (float64, bool) {
	if precise {
		return s.averagePrecision()
	}
	return s.auc()
}

// rows sweeps rows that are in order.
func (s *sweep) rows(rows []placed) {
	for len(rows) > 0 {
		pos, neg, rest := tied(rows, rows[0].p)
		s.add(pos, neg)
		rows = rest
	}
}

// A Curve counts the rows of each label by their probability, each distinct one by itself while there are at most mostPoints.
// When there are more, neighbours are joined at their mean, as long as no more than one part in shares of the label's weight is in
// one point, and no more than one part in ranks of what is above it, since few rows at the top decide about the precision. So
// points lie where the rows do, whether that is everywhere or within a millionth. Labels are kept apart because a mean of both
// would shift each towards the other, in all points alike.
const (
	mostPoints = 8192
	shares     = 4096
	ranks      = 64
	recentRows = 1024
)

// CurveState is what Curve remembers.
type CurveState struct {
	Pos, Neg Points   // true and false rows
	Recent   []Scored // rows that are not in the points yet, fewer than recentRows
}

// Points are rows of one label, by ascending probability.
type Points struct {
	P      []float64
	Weight Histogram
	Joined float64 // points of at most this weight may be joined ones
}

// Curve is an area under a curve over all rows, in fixed memory (450 kB), ties counting half. It is exact up to 8,192 distinct
// probabilities of each label, and then good to 1e-5 (the average precision to 1e-4), wherever the probabilities lie, but three
// times worse after a sudden change of where. Probabilities are clipped to [0, 1].
type Curve struct {
	precise bool // averagePrecision is read, which needs a sweep over all points
	s       CurveState

	// What follows from s, as of the last value. A state that was loaded lies elsewhere than the one before.
	order    order
	recent   *Scored // the first row in order
	pos, neg below
	wins     float64 // of the points, as in sweep
}

func newCurve(precise bool) func(Options) Binary {
	return func(Options) Binary { return &Curve{precise: precise} }
}

// UpdateBinary implements Binary.
func (m *Curve) UpdateBinary(label bool, p, w float64) {
	if math.IsNaN(p) || w == 0 {
		return
	}
	s := &m.s
	if s.Recent == nil {
		s.Recent = make([]Scored, 0, recentRows)
	}
	s.Recent = append(s.Recent, Scored{min(max(p, 0), 1), w, label})
	if len(s.Recent) >= recentRows {
		rows := m.rows()
		s.Pos.add(rows, true)
		s.Neg.add(rows, false)
		s.Recent = s.Recent[:0]
		m.forget()
	}
}

// rows returns the recent rows in order.
func (m *Curve) rows() []placed {
	if recent := first(m.s.Recent); recent != m.recent {
		m.recent = recent
		m.order.clear()
	}
	for i := m.order.next; int(i) < len(m.s.Recent); i++ {
		m.order.add(&m.s.Recent[i], i)
	}
	m.order.settle(0)
	return m.order.rows
}

// add takes up the rows of a label, which are in order.
func (l *Points) add(rows []placed, label bool) {
	i := len(l.P) - 1
	for _, r := range rows {
		if r.label == label {
			l.P, l.Weight = append(l.P, 0), append(l.Weight, 0)
		}
	}
	k := len(l.P)
	for _, r := range rows {
		if r.label != label {
			continue
		}
		for ; i >= 0 && l.P[i] > r.p; i-- {
			k--
			l.P[k], l.Weight[k] = l.P[i], l.Weight[i]
		}
		switch {
		case i >= 0 && l.P[i] == r.p:
			l.Weight[i] += r.weight
		case k < len(l.P) && l.P[k] == r.p:
			l.Weight[k] += r.weight
		default:
			k--
			l.P[k], l.Weight[k] = r.p, r.weight
		}
	}
	l.P, l.Weight = append(l.P[:i+1], l.P[k:]...), append(l.Weight[:i+1], l.Weight[k:]...) // the first i+1 stayed where they were
	l.thin()
}

// thin joins points until they are few enough.
func (l *Points) thin() {
	if len(l.P) <= mostPoints {
		return
	}
	all := 0.0
	for _, w := range l.Weight {
		all += w
	}
	part := float64(ranks)
	for l.Joined = all / shares; len(l.P) > mostPoints; l.Joined *= 2 {
		if l.Joined > all { // weights that grow all the way down, as where rows fade, have too little above them
			part /= 2
		}
		l.join(l.Joined, part)
	}
}

// join joins neighbours that have together at most so much weight and one part of what is above them, and drops those
// without.
func (l *Points) join(most, part float64) {
	n, above := len(l.P), 0.0
	for i := n - 1; i >= 0; i-- {
		p, w := l.P[i], l.Weight[i]
		switch {
		case w == 0:
			continue
		case n < len(l.P) && l.Weight[n]+w <= min(most, (above+w)/part):
			l.Weight[n] += w
			l.P[n] = max(l.P[n]+float64((p-l.P[n])*(w/l.Weight[n])), p)
		default:
			n--
			l.P[n], l.Weight[n] = p, w
		}
		above += w
	}
	l.P, l.Weight = append(l.P[:0], l.P[n:]...), append(l.Weight[:0], l.Weight[n:]...)
}

// below has the weight of the points before each of a list, and last that of all.
type below struct {
	weight []float64
	of     *float64 // the first point
}

// stale tells whether the points are others.
func (b *below) stale(l *Points) bool { return b.of != first(l.P) || len(b.weight) != len(l.P)+1 }

func (b *below) count(l *Points) {
	b.of, b.weight = first(l.P), append(b.weight[:0], 0)
	all := 0.0
	for _, w := range l.Weight {
		all += w
		b.weight = append(b.weight, all)
	}
}

// all is the weight of all points.
func (b *below) all() float64 { return b.weight[len(b.weight)-1] }

// around returns the weight of the points below p, and of those up to p.
func (b *below) around(l *Points, p float64) (under, upTo float64) {
	i, found := slices.BinarySearch(l.P, p)
	if found {
		return b.weight[i], b.weight[i+1]
	}
	return b.weight[i], b.weight[i]
}

// Value implements Metric. It costs time by the number of recent rows, and for the average precision of points; after each
// recentRows rows, of points as well.
func (m *Curve) Value() (float64, bool) {
	rows := m.rows()
	if m.precise {
		s := m.s.sweep(rows)
		return s.averagePrecision()
	}
	if m.pos.stale(&m.s.Pos) || m.neg.stale(&m.s.Neg) {
		m.pos.count(&m.s.Pos)
		m.neg.count(&m.s.Neg)
		s := m.s.sweep(nil)
		m.wins = s.wins
	}
	var s sweep
	s.rows(rows)
	s.wins += m.wins + m.crossing()
	s.pos += m.pos.all()
	s.neg += m.neg.all()
	return s.auc()
}

// sweep goes down the points and rows that are in order.
func (s *CurveState) sweep(rows []placed) sweep {
	var out sweep
	i, j := len(s.Pos.P)-1, len(s.Neg.P)-1
	for i >= 0 || j >= 0 || len(rows) > 0 {
		p := math.Inf(-1)
		if i >= 0 {
			p = s.Pos.P[i]
		}
		if j >= 0 {
			p = max(p, s.Neg.P[j])
		}
		if len(rows) > 0 {
			p = max(p, rows[0].p)
		}
		pos, neg, rest := tied(rows, p)
		rows = rest
		if i >= 0 && s.Pos.P[i] == p {
			pos += s.Pos.Weight[i]
			i--
		}
		if j >= 0 && s.Neg.P[j] == p {
			neg += s.Neg.Weight[j]
			j--
		}
		out.add(pos, neg)
		if pos > 0 && pos <= s.Pos.Joined { // its rows were above and below: the precision is that in their midst
			midst := out.pos - float64(pos/2)
			out.precision += float64(pos*(midst/(midst+out.neg))) - float64(pos*(out.pos/(out.pos+out.neg)))
		}
	}
	return out
}

// crossing counts the pairs of recent rows and points, as sweep.wins.
func (m *Curve) crossing() float64 {
	wins := 0.0
	for _, r := range m.order.rows {
		if r.label {
			under, upTo := m.neg.around(&m.s.Neg, r.p)
			wins += float64(r.weight * (under + upTo))
		} else {
			under, upTo := m.pos.around(&m.s.Pos, r.p)
			wins += float64(r.weight * (m.pos.all() - under + (m.pos.all() - upTo)))
		}
	}
	return wins
}

// forget makes the next value be computed from the whole state.
func (m *Curve) forget() {
	m.pos.weight, m.neg.weight = m.pos.weight[:0], m.neg.weight[:0]
	m.order.clear()
}

// tied adds up the rows at p, which come first.
func tied(rows []placed, p float64) (pos, neg float64, rest []placed) {
	n := 0
	for ; n < len(rows) && rows[n].p == p; n++ {
		if rows[n].label {
			pos += rows[n].weight
		} else {
			neg += rows[n].weight
		}
	}
	return pos, neg, rows[n:]
}

// first tells where a slice lies.
func first[E any](s []E) *E {
	if len(s) == 0 {
		return nil
	}
	return &s[0]
}

// Merge implements Metric.
func (m *Curve) Merge(other Metric) error {
	o, ok := other.(*Curve)
	if !ok {
		return mismatch(m, other)
	}
	m.s.Pos.merge(&o.s.Pos)
	m.s.Neg.merge(&o.s.Neg)
	m.forget()
	for _, r := range o.s.Recent {
		m.UpdateBinary(r.Label, r.P, r.Weight)
	}
	return nil
}

func (l *Points) merge(o *Points) {
	var rows []placed
	for i := len(o.P) - 1; i >= 0; i-- {
		rows = append(rows, placed{p: o.P[i], weight: o.Weight[i]})
	}
	l.Joined = max(l.Joined, o.Joined)
	l.add(rows, false)
}

// Reset implements Metric.
func (m *Curve) Reset() {
	s := &m.s
	m.s = CurveState{Points{P: s.Pos.P[:0], Weight: s.Pos.Weight[:0]}, Points{P: s.Neg.P[:0], Weight: s.Neg.Weight[:0]}, s.Recent[:0]}
	m.forget()
}

// State implements Metric; the pointer is a *CurveState.
func (m *Curve) State() any { return &m.s }

// Scale implements Scaler.
func (m *Curve) Scale(f float64) {
	for i := range m.s.Recent {
		scale(f, &m.s.Recent[i].Weight)
	}
	for _, l := range []*Points{&m.s.Pos, &m.s.Neg} {
		for i := range l.Weight {
			scale(f, &l.Weight[i])
		}
		scale(f, &l.Joined)
	}
	m.forget()
}

// Histogram holds the weights of bins. It is stored in little space where many bins are empty or hold whole numbers.
type Histogram []float64

// AppendState encodes the bins: their number, and for each either twice its weight, if that is a whole number below 2^53, or
// 1 and the eight bytes of the weight.
func (h *Histogram) AppendState(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(*h)))
	for _, v := range *h {
		if u := uint64(max(v, 0)); float64(u) == v && u < 1<<53 {
			dst = binary.AppendUvarint(dst, 2*u)
		} else {
			dst = binary.LittleEndian.AppendUint64(append(dst, 1), math.Float64bits(v))
		}
	}
	return dst
}

// LoadState is the inverse of AppendState.
func (h *Histogram) LoadState(src []byte) error {
	errCut := errors.New("metric: a histogram is cut")
	n, k := binary.Uvarint(src)
	if k <= 0 || n > uint64(len(src)) {
		return errCut
	}
	src = src[k:]
	*h = make(Histogram, n)
	for i := range *h {
		u, k := binary.Uvarint(src)
		if k <= 0 {
			return errCut
		}
		src = src[k:]
		switch {
		case u%2 == 0:
			(*h)[i] = float64(u / 2)
		case u != 1 || len(src) < 8:
			return errCut
		default:
			if (*h)[i] = math.Float64frombits(binary.LittleEndian.Uint64(src)); !finite((*h)[i]) {
				return errCut
			}
			src = src[8:]
		}
	}
	if len(src) > 0 {
		return errCut
	}
	return nil
}

func init() {
	const exact = "Over the run it is exact up to 8,192 distinct probabilities of each label, and then good to %s wherever they lie; with a window it is exact."
	register(Spec{Name: "roc_auc", Best: Higher, Hi: 1,
		Doc:    "Area under the ROC curve, ties counting half; undefined until both labels were seen. " + fmt.Sprintf(exact, "1e-5"),
		Binary: newCurve(false)})
	register(Spec{Name: "pr_auc", Best: Higher, Hi: 1,
		Doc:    "Average precision: the area under the precision-recall curve as a sum of steps; undefined before the first true label. " + fmt.Sprintf(exact, "1e-4"),
		Binary: newCurve(true)})
}
