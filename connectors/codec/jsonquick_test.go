package codec

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// What is scanned eight bytes at a time is accepted and read as encoding/json
// does, next to every neighbour and at every distance from the record's end.
func TestQuickValues(t *testing.T) {
	s := schema("s: string?", "f: float64?", "i: int64?", "b: bool?", "a.b: float64?")
	d, err := NewDecoder("json", s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	word := func(letters string, most int) string {
		w := make([]byte, rng.IntN(most+1))
		for i := range w {
			w[i] = letters[rng.IntN(len(letters))]
		}
		return string(w)
	}
	value := func() string {
		switch rng.IntN(8) {
		case 0:
			return word("0123456789.-eE+, }]\"\\", 9)
		case 1:
			return word("0123456789", 20)
		case 2:
			return fmt.Sprintf("%d%013d", rng.IntN(10), rng.Int64N(1e13))[:1+rng.IntN(14)]
		case 3:
			return fmt.Sprintf("%.*f", rng.IntN(8), rng.NormFloat64()*100)
		case 4:
			return []string{"0", "-0", "00", "0.0", "-0.50", "1.", ".5", "-", "-.1", "1e3", "null", "true", "false", "1", "1.0", "01.5"}[rng.IntN(16)]
		case 5:
			return `"` + word("ab\u00e9\\\"n\x01 ", 12) + `"`
		case 6:
			return `"` + word("abcdefgh", 20) + `"`
		}
		return fmt.Sprint(rng.IntN(100000))
	}
	into := batch.New(s)
	for range 30_000 {
		record := fmt.Sprintf(`{"s":%s,"f":%s,"i":%s,"b":%s}%s`, `"`+word("abc", 18)+`"`, value(), value(), value(), word(" ", 12))
		if rng.IntN(3) == 0 {
			record = fmt.Sprintf(`{"s":%s,"f":%d.%d,"i":%s}%s`, value(), rng.IntN(20), rng.IntN(100), value(), word(" ", 12))
		}
		into.Reset()
		_, err := d.Decode([]byte(record), into)
		want, ok := reference([]byte(record))
		if (err == nil) != ok {
			t.Fatalf("%q: our error %v, accepted by encoding/json %v", record, err, ok)
		}
		if ok && show(into, 0) != want {
			t.Fatalf("%q: got %s, want %s", record, show(into, 0), want)
		}
	}
}
