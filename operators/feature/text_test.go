package feature

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// Runs of tokens, as listed, are the features of a text.
func TestTokens(t *testing.T) {
	for _, c := range []struct {
		text   string
		ngrams int
		want   string // runs parted by commas, with their counts
	}{
		{"", 3, ""},
		{" ,.;--\n\t", 3, ""},
		{"One", 1, "one=1"},
		{"one two one", 1, "one=2, two=1"},
		{"a b c", 2, "a=1, b=1, c=1, a b=1, b c=1"},
		{"a b a b", 3, "a=2, b=2, a b=2, b a=1, a b a=1, b a b=1"},
		{"a", 5, "a=1"},
		{"don't e-mail v1.2", 1, "don=1, t=1, e=1, mail=1, v1=1, 2=1"},
		{"ÄRGER Straße ΣΊΣΥΦΟΣ", 1, "ärger=1, straße=1, σίσυφοσ=1"},
		{"日本語 テキスト", 1, "日本語=1, テキスト=1"},
		{"e\u0301tude", 1, "e\u0301tude=1"}, // a combining mark is part of the token
		{"٣٤ ½ ²", 1, "٣٤=1"},               // digits of any script, but no other numbers
		{"snake_case", 1, "snake=1, case=1"},
	} {
		seed := nameHash(textSeed, "x")
		want := map[uint64]float32{}
		for _, item := range strings.Split(c.want, ", ") {
			if item == "" {
				continue
			}
			run, n, _ := strings.Cut(item, "=")
			h := seed
			for _, token := range strings.Split(run, " ") {
				h = link(h, []byte(token))
			}
			count, err := strconv.ParseFloat(n, 32)
			if err != nil {
				t.Fatal(err)
			}
			want[h] = float32(count)
		}
		for _, count := range []bool{false, true} {
			tc := textColumn{seed: seed, ngrams: c.ngrams, count: count}
			col := batch.NewColumn(batch.Sparse)
			tc.add([]byte(c.text), 1<<30-1, col)
			col.EndRow()
			idx, val := col.Row(0)
			if len(idx) != len(want) {
				t.Errorf("%q by %d: %d features, want %d", c.text, c.ngrams, len(idx), len(want))
			}
			for h, n := range want {
				if !count {
					n = 1
				}
				k := slices.Index(idx, uint32(h)&(1<<30-1))
				if k < 0 || val[k] != n {
					t.Errorf("%q by %d: features %v %v, want one with %v", c.text, c.ngrams, idx, val, n)
				}
			}
		}
	}
}

// A token of a megabyte, or as much text in small ones, gives the runs of its first
// characters, and no more memory is kept for it.
func TestRunsOfLongTexts(t *testing.T) {
	for _, text := range []string{strings.Repeat("q", 1<<20), strings.Repeat("ä", 1<<19), strings.Repeat("abc ", 1<<18)} {
		c := textColumn{count: true, chars: charRuns{least: 3, most: 5}}
		out := batch.NewColumn(batch.Sparse)
		c.add([]byte(text), 1<<20-1, out)
		runs := float32(0)
		for _, n := range out.Value {
			runs += n
		}
		short := 0
		if text[0] == 'a' { // each token and its spaces are 5 characters, with 3 + 2 + 1 runs
			short = mostRunChars / 5 * 6
		} else {
			short = 3*mostRunChars - 2 - 3 - 4
		}
		if d := int(runs) - short; d < 0 || d > 1 {
			t.Errorf("%q…: %v runs, want %d", text[:8], runs, short)
		}
		if n := cap(c.found) + cap(c.chars.starts); n > 8*mostRunChars {
			t.Errorf("%q…: room for %d numbers is kept", text[:8], n)
		}
	}
}
