// Package detect holds change detectors over a stream of numbers: ADWIN, DDM, EDDM and Page-Hinkley.
//
// They are pure: a detector is its options, which never change, and its state, a plain struct of exported numbers that
// can be written down after any input and put back later with the same alarms to follow. No clock, no randomness, no
// allocation once the state has reached its size. Different detectors disagree by design, and programs that share a
// detector's name disagree by accident; each type here says which definition it follows and which options give the others.
package detect

import (
	"fmt"
	"math"
)

// Level grades a signal.
type Level uint8

// Levels, in rising order of alarm.
const (
	None    Level = iota // nothing to report
	Warning              // the statistic is suspicious; it may fall back
	Drift                // the stream has changed
)

// String returns "none", "warning" or "drift".
func (l Level) String() string {
	switch l {
	case None:
		return "none"
	case Warning:
		return "warning"
	case Drift:
		return "drift"
	}
	return fmt.Sprintf("Level(%d)", uint8(l))
}

// Direction says where the watched mean went, or (as an option) which changes are reported.
type Direction int8

// Directions. Both is the option's word for "either way"; a signal carries Up or Down, or Both where a detector cannot tell.
const (
	Down Direction = -1
	Both Direction = 0
	Up   Direction = 1
)

// String returns "down", "both" or "up".
func (d Direction) String() string {
	switch d {
	case Down:
		return "down"
	case Both:
		return "both"
	case Up:
		return "up"
	}
	return fmt.Sprintf("Direction(%d)", int8(d))
}

// Signal is a detector's answer to one input.
type Signal struct {
	Level     Level
	Direction Direction // Up: the mean rose; Down: it fell; Both when Level is None
	Value     float64   // the detector's estimate (see its Estimate) after this input
}

// Detector is what all detectors of this package have in common.
type Detector interface {
	// Update takes the next input. Inputs that are NaN or beyond ±1e100 are ignored: they return the zero Signal and
	// leave the state as it was.
	Update(x float64) Signal
	// Estimate returns the detector's view of the stream since the last change (its own documentation says of what), and
	// false before the first input.
	Estimate() (float64, bool)
	// Reset forgets all inputs.
	Reset()
	// State returns a pointer to the state: a struct of exported numbers, bools, slices and arrays of such. It stays the
	// same pointer for the detector's life, so a checkpoint may be read from it and written into it.
	State() any
}

// limit bounds inputs so that sums of squares of 2^53 of them stay finite.
const limit = 1e100

func usable(x float64) bool { return x >= -limit && x <= limit } // false for NaN

func inside(name string, v, lo, hi float64) error {
	if !(v >= lo && v <= hi) {
		return fmt.Errorf("%s is %v; expected a number from %v to %v", name, v, lo, hi)
	}
	return nil
}

// within is inside for bounds that are themselves excluded.
func within(name string, v, lo, hi float64) error {
	if !(v > lo && v < hi) || math.IsInf(v, 0) {
		return fmt.Errorf("%s is %v; expected a number above %v and below %v", name, v, lo, hi)
	}
	return nil
}
