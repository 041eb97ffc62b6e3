package metric

import (
	"fmt"
	"math"
	"slices"
)

// Scored is one row of a ROC curve.
type Scored struct {
	P     float64
	Label bool
}

// exactAUC is the probability that a random true row has a higher P than a random false one, ties counting half:
// the area under the ROC curve, to the last digit. It sorts rows. Undefined until both labels are there.
func exactAUC(rows []Scored) (float64, bool) {
	slices.SortFunc(rows, func(a, b Scored) int {
		switch {
		case a.P < b.P:
			return -1
		case a.P > b.P:
			return 1
		}
		return 0
	})
	var wins, pos, neg int64 // wins counts a won pair as 2 and a tie as 1
	for i := 0; i < len(rows); {
		tiePos, tieNeg, p := int64(0), int64(0), rows[i].P
		for ; i < len(rows) && rows[i].P == p; i++ {
			if rows[i].Label {
				tiePos++
			} else {
				tieNeg++
			}
		}
		wins += tiePos * (2*neg + tieNeg)
		pos += tiePos
		neg += tieNeg
	}
	if pos == 0 || neg == 0 {
		return 0, false
	}
	return float64(wins) / float64(2*pos*neg), true
}

// WindowAUCState is what WindowAUC remembers.
type WindowAUCState struct {
	Ring []Scored // the latest rows; full once it has the window's length
	Next int      // where the next row goes
}

// WindowAUC is the exact area under the ROC curve of the latest rows, ties counting half. A row costs O(1), a reading
// O(window·log window).
type WindowAUC struct {
	window int
	s      WindowAUCState
	sorted []Scored // memory of Value
}

// NewWindowAUC returns an empty metric over so many rows, 1 to MaxWindow.
func NewWindowAUC(window int) *WindowAUC {
	if window < 1 || window > MaxWindow {
		panic(fmt.Sprintf("metric: window of %d rows", window)) // callers check with Spec.CheckOptions
	}
	return &WindowAUC{window: window, s: WindowAUCState{Ring: make([]Scored, 0, window)}}
}

// UpdateBinary implements Binary.
func (m *WindowAUC) UpdateBinary(label bool, p float64) {
	if math.IsNaN(p) {
		return
	}
	s := &m.s
	if len(s.Ring) < m.window {
		s.Ring = append(s.Ring, Scored{p, label})
		return
	}
	s.Ring[s.Next] = Scored{p, label}
	if s.Next++; s.Next == m.window {
		s.Next = 0
	}
}

// Value implements Metric.
func (m *WindowAUC) Value() (float64, bool) {
	m.sorted = append(m.sorted[:0], m.s.Ring...)
	return exactAUC(m.sorted)
}

// Merge implements Metric: the other's rows come after this one's.
func (m *WindowAUC) Merge(other Metric) error {
	o, ok := other.(*WindowAUC)
	if !ok {
		return mismatch(m, other)
	}
	if o.window != m.window {
		return fmt.Errorf("metric: cannot merge a window of %d rows into one of %d", o.window, m.window)
	}
	for i := range o.s.Ring {
		r := o.s.Ring[(o.s.Next+i)%len(o.s.Ring)]
		m.UpdateBinary(r.Label, r.P)
	}
	return nil
}

// Reset implements Metric.
func (m *WindowAUC) Reset() { m.s = WindowAUCState{Ring: m.s.Ring[:0]} }

// State implements Metric; the pointer is a *WindowAUCState.
func (m *WindowAUC) State() any { return &m.s }

// The bins of RunAUC, from probability 0 to 1:
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

// exactRows is the number of rows up to which RunAUC keeps all of them.
const exactRows = 4096

// RunAUCState is what RunAUC remembers.
type RunAUCState struct {
	Exact    []Scored // all rows, while there are at most exactRows
	Binned   bool     // there were more: the rows are in the bins
	Pos, Neg []int64  // rows by bin, true and false
}

// RunAUC is the area under the ROC curve over all rows: exact, ties counting half, up to 4096 rows, and from then on in
// fixed memory (475 kB), with probabilities in 29,696 bins and pairs in one bin counting half. The bins cost less than 1e-5,
// or 1e-4 where all probabilities lie within a hundredth of each other. The order of rows does not matter, nor how they were
// split before a merge. Probabilities are clipped to [0, 1].
type RunAUC struct {
	s      RunAUCState
	sorted []Scored // memory of Value
}

// NewRunAUC returns an empty metric.
func NewRunAUC() *RunAUC { return &RunAUC{} }

// UpdateBinary implements Binary.
func (m *RunAUC) UpdateBinary(label bool, p float64) {
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
			s.Exact = append(s.Exact, Scored{p, label})
			return
		}
		s.toBins()
	}
	s.count(label, p)
}

func (s *RunAUCState) toBins() {
	s.Binned = true
	s.Pos, s.Neg = make([]int64, aucBins), make([]int64, aucBins)
	for _, r := range s.Exact {
		s.count(r.Label, r.P)
	}
	s.Exact = nil
}

func (s *RunAUCState) count(label bool, p float64) {
	if label {
		s.Pos[bin(p)]++
	} else {
		s.Neg[bin(p)]++
	}
}

// Value implements Metric; it is undefined until both labels were seen.
func (m *RunAUC) Value() (float64, bool) {
	if !m.s.Binned {
		m.sorted = append(m.sorted[:0], m.s.Exact...)
		return exactAUC(m.sorted)
	}
	wins, below, pos := 0.0, int64(0), int64(0) // wins as in exactAUC; below counts false rows in lower bins
	for b, tiePos := range m.s.Pos {
		tieNeg := m.s.Neg[b]
		wins += float64(float64(tiePos) * float64(2*below+tieNeg))
		below += tieNeg
		pos += tiePos
	}
	if pos == 0 || below == 0 {
		return 0, false
	}
	return min(wins/2/(float64(pos)*float64(below)), 1), true
}

// Merge implements Metric.
func (m *RunAUC) Merge(other Metric) error {
	o, ok := other.(*RunAUC)
	if !ok {
		return mismatch(m, other)
	}
	for _, r := range o.s.Exact {
		m.UpdateBinary(r.Label, r.P)
	}
	if o.s.Binned {
		if !m.s.Binned {
			m.s.toBins()
		}
		for b := range o.s.Pos {
			m.s.Pos[b] += o.s.Pos[b]
			m.s.Neg[b] += o.s.Neg[b]
		}
	}
	return nil
}

// Reset implements Metric.
func (m *RunAUC) Reset() { m.s = RunAUCState{} }

// State implements Metric; the pointer is a *RunAUCState.
func (m *RunAUC) State() any { return &m.s }

func init() {
	register(Spec{Name: "roc_auc", Best: Higher, Hi: 1, Windowed: true,
		Doc: "Area under the ROC curve, ties counting half; undefined until both labels were seen. Over the run it is exact up to " +
			"4,096 rows and from then on binned (29,696 bins, good to 1e-5); with a window it is exact over the latest rows.",
		Binary: func(o Options) Binary {
			if o.Window > 0 {
				return NewWindowAUC(o.Window)
			}
			return NewRunAUC()
		}})
}
