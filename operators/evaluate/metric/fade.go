package metric

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/gradstream/gradstream/internal/exact"
)

// FadeState is what a fading metric remembers beside the metric that fades.
type FadeState struct {
	Rows int64
	Grow float64 // weight of the next row; 0 = 1, before the first
}

// Fading is a metric whose rows count half as much after every so many more rows (exponential forgetting). It has two
// states: that of [Metric], and this.
type Fading interface{ Fade() *FadeState }

// fade lets rows fade by making each weigh more than the one before, and all of them less when weights become large; that is
// by powers of two, which loses nothing.
type fade struct {
	Metric // over all rows
	half   int
	growth float64
	s      FadeState
}

const (
	muchWeight = 1 << 62
	lessWeight = 1.0 / muchWeight
)

func newFade(half int, of Metric) fade {
	return fade{Metric: of, half: half, growth: exact.Exp(math.Ln2 / float64(half))}
}

// Fade implements Fading.
func (f *fade) Fade() *FadeState { return &f.s }

// next returns the weight of the next row.
func (f *fade) next(w float64) float64 {
	s := &f.s
	s.Rows++
	if s.Grow == 0 {
		s.Grow = 1
	}
	w *= s.Grow
	return w
}

// step makes later rows weigh more.
func (f *fade) step() {
	s := &f.s
	if s.Grow *= f.growth; s.Grow >= muchWeight {
		f.Metric.(Scaler).Scale(lessWeight)
		s.Grow *= lessWeight
	}
}

// Reset implements Metric.
func (f *fade) Reset() {
	f.Metric.Reset()
	f.s = FadeState{}
}

// merge takes up another's rows: this one's have then grown older by as many.
func (f *fade) merge(o *fade) error {
	if o.half != f.half {
		return fmt.Errorf("metric: cannot merge a half-life of %d rows into one of %d", o.half, f.half)
	}
	if o.s.Rows == 0 {
		return nil
	}
	if f.s.Rows > 0 {
		factor := exact.Exp(-float64(math.Ln2*float64(o.s.Rows)/float64(f.half))) * (o.s.Grow / f.s.Grow)
		f.Metric.(Scaler).Scale(max(factor, math.SmallestNonzeroFloat64))
	}
	f.s.Rows += o.s.Rows
	f.s.Grow = o.s.Grow
	return f.Metric.Merge(o.Metric)
}

type (
	binaryFade  struct{ fade }
	classFade   struct{ fade }
	numberFade  struct{ fade }
	outcomeFade struct{ fade }
)

func (f *binaryFade) UpdateBinary(label bool, p, w float64) {
	if p == p { // not NaN
		f.Metric.(Binary).UpdateBinary(label, p, f.next(w))
		f.step()
	}
}

func (f *classFade) UpdateClass(label, predicted string, w float64) {
	f.Metric.(Classes).UpdateClass(label, predicted, f.next(w))
	f.step()
}

func (f *numberFade) UpdateNumber(n Number, w float64) {
	if finite(n.Label) && finite(n.Predicted) {
		f.Metric.(Numeric).UpdateNumber(n, f.next(w))
		f.step()
	}
}

func (f *outcomeFade) UpdateOutcome(o Outcome, w float64) {
	f.Metric.(Ranked).UpdateOutcome(o, f.next(w))
	f.step()
}

// Merge implements Metric: the other's rows come after this one's.
func (f *binaryFade) Merge(other Metric) error {
	if o, ok := other.(*binaryFade); ok {
		return f.merge(&o.fade)
	}
	return mismatch(f, other)
}

// Merge implements Metric: the other's rows come after this one's.
func (f *classFade) Merge(other Metric) error {
	if o, ok := other.(*classFade); ok {
		return f.merge(&o.fade)
	}
	return mismatch(f, other)
}

// Merge implements Metric: the other's rows come after this one's.
func (f *numberFade) Merge(other Metric) error {
	if o, ok := other.(*numberFade); ok {
		return f.merge(&o.fade)
	}
	return mismatch(f, other)
}

// Merge implements Metric: the other's rows come after this one's.
func (f *outcomeFade) Merge(other Metric) error {
	if o, ok := other.(*outcomeFade); ok {
		return f.merge(&o.fade)
	}
	return mismatch(f, other)
}

// NewBinary makes the metric over the rows that the options select: all, a window, or fading. Nil if it scores no
// probabilities.
func (s Spec) NewBinary(o Options) Binary {
	switch {
	case s.Binary == nil:
		return nil
	case o.Window > 0:
		w := binaryWindow{newWindow(o.Window, s.Binary(o), feedBinary)}
		if c, ok := w.of.(*Curve); ok {
			return &curveWindow{binaryWindow: w, precise: c.precise}
		}
		return &w
	case o.HalfLife > 0:
		return &binaryFade{newFade(o.HalfLife, s.Binary(o))}
	}
	return s.Binary(o)
}

// NewClasses is NewBinary for classes.
func (s Spec) NewClasses(o Options) Classes {
	switch {
	case s.Classes == nil:
		return nil
	case o.Window > 0:
		return &classWindow{newWindow(o.Window, s.Classes(o), feedClass)}
	case o.HalfLife > 0:
		return &classFade{newFade(o.HalfLife, s.Classes(o))}
	}
	return s.Classes(o)
}

// NewNumeric is NewBinary for numbers.
func (s Spec) NewNumeric(o Options) Numeric {
	switch {
	case s.Numeric == nil:
		return nil
	case o.Window > 0:
		return &numberWindow{newWindow(o.Window, s.Numeric(o), feedNumber)}
	case o.HalfLife > 0:
		return &numberFade{newFade(o.HalfLife, s.Numeric(o))}
	}
	return s.Numeric(o)
}

// NewRanked is NewBinary for outcomes.
func (s Spec) NewRanked(o Options) Ranked {
	switch {
	case s.Ranked == nil:
		return nil
	case o.Window > 0:
		return &outcomeWindow{newWindow(o.Window, s.Ranked(o), feedOutcome)}
	case o.HalfLife > 0:
		return &outcomeFade{newFade(o.HalfLife, s.Ranked(o))}
	}
	return s.Ranked(o)
}

// view reads bytes as text, for the time of a call.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
