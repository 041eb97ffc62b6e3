package feature

import (
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// textColumn is a string column taken token by token.
type textColumn struct {
	seed   uint64
	col    operators.Col
	ngrams int
	count  bool
	rarity *rarity // set for tf-idf
	chars  charRuns

	token  []byte    // the token being read, in lower case
	chains [6]uint64 // chains[k]: the chain over the last k tokens; chains[0] is the seed
	run    int       // tokens read so far, at most ngrams
	found  []uint64  // the features of the text

	spelt *spelling // set only while a row is explained
}

// add appends the features of a text, in ascending order of their hashes.
func (t *textColumn) add(text []byte, mask uint32, to *batch.Column) {
	t.token, t.found, t.run = t.token[:0], t.found[:0], 0
	t.chains[0], t.chars.left = t.seed, mostRunChars
	for i := 0; i < len(text); {
		t.token, i = readToken(t.token[:0], text, i, true)
		t.endToken()
	}

	slices.Sort(t.found)
	if t.rarity != nil && t.spelt == nil {
		t.rarity.add(t.found, mask, to)
		return
	}
	for i := 0; i < len(t.found); {
		j := i + 1
		for j < len(t.found) && t.found[j] == t.found[i] {
			j++
		}
		value := float32(1)
		if t.count {
			value = float32(j - i)
		}
		to.AddFeature(uint32(t.found[i])&mask, value)
		i = j
	}
}

// readToken appends to dst the first token of a text from the byte i on, in lower
// case if lower is set, and returns where to go on. Nothing is appended behind the
// last token.
func readToken(dst, text []byte, i int, lower bool) ([]byte, int) {
	none := len(dst)
	for i < len(text) {
		c := text[i]
		if c < utf8.RuneSelf {
			i++
			switch {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
				dst = append(dst, c)
			case 'A' <= c && c <= 'Z':
				if lower {
					c += 'a' - 'A'
				}
				dst = append(dst, c)
			case len(dst) > none:
				return dst, i
			}
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		i += size
		switch {
		case unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r):
			if lower {
				r = unicode.ToLower(r)
			}
			dst = utf8.AppendRune(dst, r)
		case len(dst) > none:
			return dst, i
		}
	}
	return dst, i
}

// endToken adds the runs of tokens that end with the token just read.
func (t *textColumn) endToken() {
	if len(t.token) == 0 {
		return
	}
	if t.chars.most > 0 {
		t.chars.add(t)
	}
	t.run = min(t.run+1, t.ngrams)
	for k := t.run; k >= 1; k-- {
		t.chains[k] = link(t.chains[k-1], t.token)
		t.found = append(t.found, t.chains[k])
	}
	if t.spelt != nil {
		t.spelt.add(t)
	}
}

// mostRunChars is of how many characters of a text, with the spaces around tokens, runs
// are taken: a text may be a megabyte long, and each character begins several.
const mostRunChars = 1 << 16

// charRuns are runs of neighbouring characters of a token, with a space before and
// behind it.
type charRuns struct {
	seed        uint64
	least, most int // characters of a run; most 0 = none

	left   int    // characters of the text that may still begin runs
	marked []byte // the token with its spaces
	starts []int  // where its characters begin, and its end
}

// add appends the runs of the token just read: those of least to most characters,
// or where the token is shorter than least the whole of it.
func (c *charRuns) add(t *textColumn) {
	c.marked = append(append(append(c.marked[:0], ' '), t.token...), ' ')
	c.starts = c.starts[:0]
	end := len(c.marked)
	for i, b := range c.marked {
		if !utf8.RuneStart(b) {
			continue
		}
		if len(c.starts) == c.left {
			end = i
			break
		}
		c.starts = append(c.starts, i)
	}
	n := len(c.starts)
	c.left -= n
	c.starts = append(c.starts, end)
	for k := max(1, min(c.least, n)); k <= min(c.most, n); k++ {
		for i := 0; i+k <= n; i++ {
			run := c.marked[c.starts[i]:c.starts[i+k]]
			h := link(c.seed, run)
			t.found = append(t.found, h)
			if t.spelt != nil {
				t.spelt.runs[h] = string(run)
			}
		}
	}
}
