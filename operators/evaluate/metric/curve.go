package metric

import (
	"encoding/binary"
	"errors"
	"math"
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

// join adds what another sweep met that began below this one, but for its precision.
func (s *sweep) join(below *sweep) {
	s.wins += below.wins + float64(2*s.pos*below.neg)
	s.pos += below.pos
	s.neg += below.neg
}

// rows sweeps rows that are in order.
func (s *sweep) rows(rows []placed) {
	for i := 0; i < len(rows); {
		pos, neg, p := 0.0, 0.0, rows[i].p
		for ; i < len(rows) && rows[i].p == p; i++ {
			if rows[i].label {
				pos += rows[i].weight
			} else {
				neg += rows[i].weight
			}
		}
		s.add(pos, neg)
	}
}

// The bins of a Curve, from probability 0 to 1:
//
//	tail      p in [0, 1/16): 128 bins an octave (equal width inside it) for 60 octaves, down to 2^-64; below that, the first bin
//	middle    p in [1/16, 15/16): bins of width 2^-14
//	tail      1−p in (0, 1/16], the mirror image of the first
//
// Equal widths alone would put all of a rare class's small probabilities into a few bins.
const (
	tailOctaves = 60
	tailBins    = tailOctaves * tailPer
	tailPer     = 1 << tailBits
	tailBits    = 7
	middleScale = 1 << 14
	middleFirst = middleScale / 16
	middleBins  = middleScale - 2*middleFirst
	aucBins     = middleBins + 2*tailBins
	tailTop     = 1023 - 5 // the biased exponent of [1/32, 1/16)
)

// bin gives the bin of a probability in [0, 1].
func bin(p float64) int {
	switch {
	case p < 1.0/16:
		return tail(p)
	case p < 15.0/16:
		return tailBins + int(p*middleScale) - middleFirst // exact: middleScale is a power of two
	}
	// 1−p is exact here; 1/16 itself belongs to the mirror of the last tail bin.
	return aucBins - 1 - tail(min(1-p, math.Nextafter(1.0/16, 0)))
}

// tail gives the tail bin of p < 1/16, rising with p.
func tail(p float64) int {
	b := math.Float64bits(p)
	octave := int(b>>52) - (tailTop - tailOctaves + 1)
	if octave < 0 {
		return 0
	}
	return octave<<tailBits + int(b>>(52-tailBits)&(tailPer-1))
}

// exactRows is the number of rows up to which a Curve over the run keeps all of them.
const exactRows = 4096

// CurveState is what Curve remembers.
type CurveState struct {
	Exact    []Scored  // all rows, while there are few
	Binned   bool      // there were more: the rows are in the bins
	Pos, Neg Histogram // weight of the rows by bin, true and false
}

// Curve is an area under a curve over all rows: exact, ties counting half, up to 4096 rows, and from then on in fixed memory
// (475 kB), with probabilities in 29,696 bins and pairs in one bin counting half. The bins cost less than 1e-5, or 1e-4 where
// all probabilities lie within a hundredth of each other. The order of rows does not matter, nor how they were split before a
// merge. Probabilities are clipped to [0, 1].
type Curve struct {
	precise bool // averagePrecision is read, which needs a sweep over all bins
	s       CurveState

	// What follows from s, as of the last value. A state that was loaded lies elsewhere than the one before.
	order  order
	exact  *Scored  // the first row in order
	blocks []block  // of the bins
	binned *float64 // the first bin in blocks
	swept  sweep    // memory of Value
}

// block is what a sweep meets in blockBins neighbouring bins.
type block struct {
	swept sweep
	known bool
}

const blockBins = 128

func newCurve(precise bool) func(Options) Binary {
	return func(Options) Binary { return &Curve{precise: precise} }
}

// UpdateBinary implements Binary.
func (m *Curve) UpdateBinary(label bool, p, w float64) {
	if math.IsNaN(p) {
		return
	}
	p = min(max(p, 0), 1)
	s := &m.s
	if !s.Binned {
		if len(s.Exact) < exactRows {
			if s.Exact == nil {
				s.Exact = make([]Scored, 0, exactRows)
			}
			s.Exact = append(s.Exact, Scored{p, w, label})
			return
		}
		s.toBins()
	}
	b := s.count(label, p, w)
	if m.blocks != nil {
		m.blocks[b/blockBins].known = false
	}
}

func (s *CurveState) toBins() {
	s.Binned = true
	s.Pos, s.Neg = make(Histogram, aucBins), make(Histogram, aucBins)
	for _, r := range s.Exact {
		s.count(r.Label, r.P, r.Weight)
	}
	s.Exact = nil
}

func (s *CurveState) count(label bool, p, w float64) int {
	b := bin(p)
	if label {
		s.Pos[b] += w
	} else {
		s.Neg[b] += w
	}
	return b
}

// Value implements Metric. It costs time in proportion to what came since the last one, beside one pass over the 4096 rows, the
// blocks or, for the average precision, the bins.
func (m *Curve) Value() (float64, bool) {
	s := &m.swept
	*s = sweep{}
	if m.s.Binned {
		m.bins(s)
		return s.value(m.precise)
	}
	if exact := first(m.s.Exact); exact != m.exact {
		m.exact = exact
		m.order.clear()
	}
	for i := m.order.next; int(i) < len(m.s.Exact); i++ {
		m.order.add(&m.s.Exact[i], i)
	}
	m.order.settle(0)
	s.rows(m.order.rows)
	return s.value(m.precise)
}

// bins sweeps the bins.
func (m *Curve) bins(s *sweep) {
	if binned := first(m.s.Pos); binned != m.binned {
		m.binned = binned
		m.forget()
	}
	for k := len(m.blocks) - 1; k >= 0; k-- {
		b := &m.blocks[k]
		if !b.known {
			*b = block{known: true}
			m.sweep(k, &b.swept)
		}
		if m.precise && b.swept.pos > 0 {
			m.sweep(k, s)
		} else {
			s.join(&b.swept)
		}
	}
}

// sweep goes down the bins of a block.
func (m *Curve) sweep(k int, s *sweep) {
	pos, neg := m.s.Pos[k*blockBins:][:blockBins], m.s.Neg[k*blockBins:][:blockBins]
	for b := blockBins - 1; b >= 0; b-- {
		if pos[b] != 0 || neg[b] != 0 {
			s.add(pos[b], neg[b])
		}
	}
}

// forget makes the next value be computed from all bins.
func (m *Curve) forget() {
	if m.blocks == nil {
		m.blocks = make([]block, aucBins/blockBins)
	}
	for k := range m.blocks {
		m.blocks[k].known = false
	}
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
	for _, r := range o.s.Exact {
		m.UpdateBinary(r.Label, r.P, r.Weight)
	}
	if o.s.Binned {
		if !m.s.Binned {
			m.s.toBins()
		}
		for b := range o.s.Pos {
			m.s.Pos[b] += o.s.Pos[b]
			m.s.Neg[b] += o.s.Neg[b]
		}
		m.forget()
	}
	return nil
}

// Reset implements Metric.
func (m *Curve) Reset() {
	m.s = CurveState{Exact: m.s.Exact[:0]}
	m.order.clear()
}

// State implements Metric; the pointer is a *CurveState.
func (m *Curve) State() any { return &m.s }

// Scale implements Scaler.
func (m *Curve) Scale(f float64) {
	for i := range m.s.Exact {
		scale(f, &m.s.Exact[i].Weight)
	}
	for b := range m.s.Pos {
		scale(f, &m.s.Pos[b], &m.s.Neg[b])
	}
	m.order.clear()
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
	const exact = "Over the run it is exact up to 4,096 rows and from then on binned (29,696 bins, good to 1e-5); with a window it is exact."
	register(Spec{Name: "roc_auc", Best: Higher, Hi: 1,
		Doc:    "Area under the ROC curve, ties counting half; undefined until both labels were seen. " + exact,
		Binary: newCurve(false)})
	register(Spec{Name: "pr_auc", Best: Higher, Hi: 1,
		Doc:    "Average precision: the area under the precision-recall curve as a sum of steps; undefined before the first true label. " + exact,
		Binary: newCurve(true)})
}
