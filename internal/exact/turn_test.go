package exact

import (
	"math"
	"testing"
)

func TestSinCosTurn(t *testing.T) {
	for i := -3000; i <= 3000; i++ {
		turn := float64(i) / 1021
		sin, cos := SinCosTurn(turn)
		wantSin, wantCos := math.Sincos(2 * math.Pi * (turn - math.Floor(turn)))
		if math.Abs(sin-wantSin) > 2e-15 || math.Abs(cos-wantCos) > 2e-15 {
			t.Fatalf("%v turns: %v, %v; want %v, %v", turn, sin, cos, wantSin, wantCos)
		}
		if math.Abs(sin*sin+cos*cos-1) > 1e-15 {
			t.Fatalf("%v turns: not on the circle", turn)
		}
	}
	for turn, want := range map[float64][2]float64{0: {0, 1}, 0.25: {1, 0}, 0.5: {0, -1}, 0.75: {-1, 0}, 1: {0, 1}, -0.25: {-1, 0}, 1e15 + 0.5: {0, -1}} {
		if sin, cos := SinCosTurn(turn); sin != want[0] || cos != want[1] {
			t.Errorf("%v turns: %v, %v; want %v", turn, sin, cos, want)
		}
	}
	// sin 30°, 45°: values of a table.
	if sin, _ := SinCosTurn(1.0 / 12); math.Abs(sin-0.5) > 1e-16 {
		t.Errorf("the sine of 30° is %v", sin)
	}
	if sin, cos := SinCosTurn(0.125); math.Abs(sin-math.Sqrt2/2) > 2e-16 || math.Abs(cos-math.Sqrt2/2) > 2e-16 {
		t.Errorf("45°: %v, %v", sin, cos)
	}
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if sin, cos := SinCosTurn(x); sin == sin || cos == cos {
			t.Errorf("%v turns: %v, %v; want NaN", x, sin, cos)
		}
	}
}
