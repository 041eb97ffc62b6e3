package batch

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
)

// What FormatFloat writes by itself is what strconv writes.
func TestFormatFloatAgainstStrconv(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var got, want []byte
	check := func(v float64) {
		if abs := math.Abs(v); abs < 1e-6 || abs >= 1e21 {
			return
		}
		got = FormatFloat(got[:0], v, 64)
		if want = strconv.AppendFloat(want[:0], v, 'f', -1, 64); string(got) != string(want) {
			t.Fatalf("FormatFloat(%b) is %s, strconv says %s", v, got, want)
		}
	}
	around := func(v float64) {
		for _, x := range [...]float64{v, math.Nextafter(v, 0), math.Nextafter(v, math.Inf(1))} {
			check(x)
			check(-x)
		}
	}
	for e := -22; e <= 71; e++ {
		around(math.Ldexp(1, e))
	}
	for e := -6; e <= 21; e++ {
		for digit := 1.0; digit < 10; digit++ {
			v, _ := strconv.ParseFloat(strconv.Itoa(int(digit))+"e"+strconv.Itoa(e), 64)
			around(v)
		}
	}
	for range 100_000 {
		check(rng.Float64())
		check(-rng.Float64() * math.Ldexp(1, rng.IntN(90)-20))
		// Few digits, and halves between two decimals of sixteen or seventeen digits.
		check(float64(rng.IntN(1_000_000)) / math.Pow10(rng.IntN(10)))
		check(float64(1<<50+rng.Int64N(1<<52)) / float64(int(1)<<rng.IntN(8)))
	}
}

func BenchmarkFormatFloat(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	var v [1024]float64
	for i := range v {
		v[i] = rng.Float64()
	}
	var dst []byte
	for i := 0; b.Loop(); i++ {
		dst = FormatFloat(dst[:0], v[i%len(v)], 64)
	}
}
