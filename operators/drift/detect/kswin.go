package detect

import (
	"fmt"
	"slices"
)

// KSWINOptions tunes KSWIN.
type KSWINOptions struct {
	// Alpha is the significance of each test, in (0, 1). Default 0.005. A test is made at every input, so a stationary stream
	// gives false alarms at a rate above it would seem: some 14 in 10,000 inputs.
	Alpha float64
	// Window is the number of inputs that are held, and Recent how many of them, the latest, are compared with as many random
	// ones of the rest. 2 <= Recent, 2·Recent <= Window <= 10,000. Defaults 100 and 30.
	Window, Recent int
	// MinGap is the least distance of the two distributions that counts, 0 to 1. Default 0.1.
	MinGap float64
	// Seed starts the random draws.
	Seed int64
}

// DefaultKSWIN returns the defaults above, with seed 1.
func DefaultKSWIN() KSWINOptions {
	return KSWINOptions{Alpha: 0.005, Window: 100, Recent: 30, MinGap: 0.1, Seed: 1}
}

// KSWINState is what KSWIN remembers.
type KSWINState struct {
	Ring    []float64 // the latest inputs
	Next    int       // where the next goes, once the ring is full
	Draws   int64     // random numbers drawn since the start
	Pending bool      // all but the latest are to be forgotten at the next input
}

// KSWIN holds a window of inputs and compares the distribution of the latest with that of a random sample of the others by
// the test of Kolmogorov and Smirnov, with its exact p-value. It sees changes of shape as well as of mean. After an alarm it
// keeps the latest. (Raab, Heusinger and Schleif, Reactive Soft Prototype Computing for Concept Drift Streams,
// Neurocomputing 2020.) The draws follow from Seed and their number alone, so a detector that is put back goes on with the
// same ones. Estimate is the mean of the latest. The direction of a signal is that in which the median went, Up if it stayed.
type KSWIN struct {
	opt         KSWINOptions
	gap         int // least distance of the two distributions, in inputs, that is an alarm
	s           KSWINState
	late, early []float64 // memory of Update
}

// NewKSWIN returns a KSWIN without inputs, or an error that names the option out of bounds.
func NewKSWIN(o KSWINOptions) (*KSWIN, error) {
	if err := within("alpha", o.Alpha, 0, 1); err != nil {
		return nil, err
	}
	if err := inside("window", float64(o.Window), 4, 10_000); err != nil {
		return nil, err
	}
	if o.Recent < 2 || 2*o.Recent > o.Window {
		return nil, fmt.Errorf("recent is %d; expected a number from 2 to half of window, which is %d", o.Recent, o.Window/2)
	}
	if err := inside("min_gap", o.MinGap, 0, 1); err != nil {
		return nil, err
	}
	d := &KSWIN{opt: o, gap: 1, late: make([]float64, o.Recent), early: make([]float64, o.Recent)}
	d.s.Ring = make([]float64, 0, o.Window)
	for d.gap <= o.Recent && (ksEqual(o.Recent, d.gap) > o.Alpha || float64(d.gap) <= o.MinGap*float64(o.Recent)) {
		d.gap++
	}
	return d, nil
}

// ksEqual is the chance that the distributions of two samples of n inputs of one continuous source lie gap/n or more apart:
// 2·Σ (−1)^(k−1)·C(2n, n+k·gap)/C(2n, n) over k ≥ 1 (Gnedenko and Korolyuk, 1951).
func ksEqual(n, gap int) float64 {
	sum, sign := 0.0, 1.0
	for k := gap; k <= n; k += gap {
		term := 1.0
		for i := 1; i <= k; i++ { // C(2n, n+k)/C(2n, n) = Π (n−k+i)/(n+i)
			term *= float64(n-k+i) / float64(n+i)
		}
		sum += float64(sign * term)
		sign = -sign
	}
	return min(1, 2*sum)
}

// State implements Detector; the pointer is a *KSWINState.
func (d *KSWIN) State() any { return &d.s }

// Reset implements Detector.
func (d *KSWIN) Reset() { d.s = KSWINState{Ring: d.s.Ring[:0]} }

// Estimate returns the mean of the latest inputs.
func (d *KSWIN) Estimate() (float64, bool) {
	n := min(len(d.s.Ring), d.opt.Recent)
	if n == 0 {
		return 0, false
	}
	sum := 0.0
	for i := range n {
		sum += d.at(len(d.s.Ring) - n + i)
	}
	return sum / float64(n), true
}

// at returns the i-th oldest input.
func (d *KSWIN) at(i int) float64 {
	if i += d.s.Next; i >= len(d.s.Ring) {
		i -= len(d.s.Ring)
	}
	return d.s.Ring[i]
}

// draw returns a random number below n, by the generator splitmix64 (Steele, Lea and Flood, OOPSLA 2014).
func (d *KSWIN) draw(n int) int {
	d.s.Draws++
	z := uint64(d.opt.Seed)*0xD1342543DE82EF95 + uint64(d.s.Draws)*0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	z ^= z >> 31
	return int((z >> 32) * uint64(n) >> 32)
}

// Update implements Detector.
func (d *KSWIN) Update(x float64) Signal {
	if !usable(x) {
		return Signal{}
	}
	s := &d.s
	if s.Pending {
		d.keepLatest()
	}
	if len(s.Ring) < d.opt.Window {
		s.Ring = append(s.Ring, x)
	} else {
		s.Ring[s.Next] = x
		if s.Next++; s.Next == d.opt.Window {
			s.Next = 0
		}
	}
	mean, _ := d.Estimate()
	sig := Signal{Value: mean}
	if len(s.Ring) < d.opt.Window {
		return sig
	}
	old := d.opt.Window - d.opt.Recent
	for i := range d.late {
		d.late[i] = d.at(old + i)
	}
	early := d.early[:0]
	for i := 0; len(early) < d.opt.Recent; i++ { // selection sampling: each with the chance wanted/left
		if d.draw(old-i) < d.opt.Recent-len(early) {
			early = append(early, d.at(i))
		}
	}
	slices.Sort(d.late)
	slices.Sort(early)
	if gap(early, d.late) < d.gap {
		return sig
	}
	sig.Level, sig.Direction, s.Pending = Drift, Up, true
	if k := d.opt.Recent / 2; d.late[k] < early[k] {
		sig.Direction = Down
	}
	return sig
}

// keepLatest forgets all but the latest inputs.
func (d *KSWIN) keepLatest() {
	for i := range d.late {
		d.late[i] = d.at(len(d.s.Ring) - len(d.late) + i)
	}
	d.s.Ring = append(d.s.Ring[:0], d.late...)
	d.s.Next, d.s.Pending = 0, false
}

// gap is the greatest distance of the distribution functions of two sorted samples of one length, in inputs.
func gap(a, b []float64) int {
	most, i, j := 0, 0, 0
	for i < len(a) && j < len(b) {
		x := min(a[i], b[j])
		for i < len(a) && a[i] == x {
			i++
		}
		for j < len(b) && b[j] == x {
			j++
		}
		most = max(most, i-j, j-i)
	}
	return most
}
