package clicks

import (
	"encoding/json"
	"math"
	"testing"
)

func TestStream(t *testing.T) {
	const n = 20000
	a, b := New(1), New(1)
	bytes, positive := 0, 0
	numbers := map[string]float64{}
	for i := range n {
		e, f := a.Next(), b.Next()
		if string(e.Value) != string(f.Value) {
			t.Fatalf("event %d differs between two streams of one seed:\n%s\n%s", i, e.Value, f.Value)
		}
		var v struct {
			ID, User, Site, Dev, OS, Geo          string
			TS                                    int64
			Hour, Y                               int
			Price, Age, Dwell, Depth, Score, Freq float64
		}
		if err := json.Unmarshal(e.Value, &v); err != nil {
			t.Fatalf("event %d: %v: %s", i, err, e.Value)
		}
		if ParseID([]byte(v.ID)) != i || v.User != e.User || v.TS != firstMillis+int64(i) || v.Y == 1 != e.Label || v.Hour > 23 {
			t.Fatalf("event %d: %s", i, e.Value)
		}
		bytes += len(e.Value)
		if e.Label {
			positive++
		}
		for name, x := range map[string]float64{"price": v.Price, "age": v.Age, "freq": v.Freq} {
			numbers[name] += x * x
		}
	}
	if mean := float64(bytes) / n; mean < 185 || mean > 195 {
		t.Errorf("an event has %.1f bytes in the mean; expected about 191", mean)
	}
	if share := float64(positive) / n; share < 0.25 || share > 0.45 {
		t.Errorf("%.3f of the labels are positive; expected about a third", share)
	}
	for name, sum := range numbers {
		if math.Abs(sum/n-1) > 0.05 {
			t.Errorf("%s has variance %.3f; expected 1", name, sum/n)
		}
	}
	if c := New(2).Next(); string(c.Value) == string(New(1).Next().Value) {
		t.Error("two seeds give the same event")
	}
	for _, bad := range []string{"", "e1", "x00000001", "e0000000a"} {
		if n := ParseID([]byte(bad)); n != -1 {
			t.Errorf("ParseID(%q) = %d", bad, n)
		}
	}
}
