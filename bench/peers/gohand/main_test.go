package main

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/gradstream/gradstream/bench/clicks"
)

// TestLearns has the model near the hidden one's loss (0.436) after a while, far below that of the labels' share (0.64).
func TestLearns(t *testing.T) {
	const n, skip = 60000, 20000
	m, s, loss := &model{}, clicks.New(1), 0.0
	for i := range n {
		var c click
		if err := json.Unmarshal(s.Next().Value, &c); err != nil {
			t.Fatal(err)
		}
		p := m.predict(&c)
		m.learn(p, c.Y)
		if i < skip {
			continue
		}
		if c.Y == 0 {
			p = 1 - p
		}
		loss -= math.Log(p)
	}
	if loss /= n - skip; loss < 0.43 || loss > 0.51 {
		t.Errorf("log loss %.4f", loss)
	}
}
