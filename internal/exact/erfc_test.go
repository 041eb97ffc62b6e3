package exact

import (
	"math"
	"testing"
)

func TestErfcAgainstMath(t *testing.T) {
	for i := -3000; i <= 3000; i++ {
		x := float64(i) / 100
		if got, want := Erfc(x), math.Erfc(x); !(math.Abs(got-want) <= 1e-15) {
			t.Errorf("Erfc(%v) is %v, want %v", x, got, want)
		}
		if got, want := Erfc(x), math.Erfc(x); x >= erfcFrom && x < 26 && math.Abs(got/want-1) > 1e-13 {
			t.Errorf("Erfc(%v) is %v, want %v: wrong in the tail", x, got, want)
		}
	}
	if got := Erfc(math.Inf(1)); got != 0 {
		t.Errorf("Erfc(+Inf) is %v", got)
	}
	if got := Erfc(math.Inf(-1)); got != 2 {
		t.Errorf("Erfc(-Inf) is %v", got)
	}
	if got := Erfc(math.NaN()); got == got {
		t.Errorf("Erfc(NaN) is %v", got)
	}
}

// Bits that must come out on every processor.
func TestErfcBits(t *testing.T) {
	for x, want := range map[float64]uint64{0.3: 0x3fe57be3bbf10af8, 1: 0x3fc4226162fbddd0, 3: 0x3ef729df6503422b} {
		if got := math.Float64bits(Erfc(x)); got != want {
			t.Errorf("Erfc(%v) has the bits %#x, want %#x", x, got, want)
		}
	}
}
