package spec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one complaint about a configuration. It reads
// "file:line:column: what is wrong; what was expected".
type Error struct {
	Pos  Pos
	Msg  string // what is wrong
	Want string // what was expected, as a phrase of its own such as `expected a number`; may be empty
}

func (e Error) Error() string {
	s := e.Msg
	if e.Want != "" {
		s += "; " + e.Want
	}
	if p := e.Pos.String(); p != "" {
		s = p + ": " + s
	}
	return s
}

// Errors are all the complaints about a configuration. A nil Errors is no error,
// but not a nil error: return [Errors.Err] where an error is wanted.
type Errors []Error

// Error lists the errors in the order of their positions, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e.Sorted() {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns e as an error, nil if e is empty.
func (e Errors) Err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// Add appends an error.
func (e *Errors) Add(pos Pos, msg, want string) {
	*e = append(*e, Error{pos, msg, want})
}

// Sorted returns the errors in the order of their positions, each once.
// Errors in the same place keep their order.
func (e Errors) Sorted() Errors {
	s := slices.Clone(e)
	slices.SortStableFunc(s, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Col, b.Pos.Col))
	})
	return slices.Compact(s)
}

// Nearest returns the candidate that name is most likely a misspelling of: the
// one fewest edits away (insertions, deletions, substitutions and swaps of
// neighbours; case counts for nothing), the first of equals, and "" where all
// are further than a third of the longer name.
func Nearest(name string, candidates []string) string {
	best, least := "", -1
	for _, c := range candidates {
		d := distance(strings.ToLower(name), strings.ToLower(c))
		if d > max(1, max(len(name), len(c))/3) || d >= min(len(name), len(c)) {
			continue
		}
		if least < 0 || d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is the optimal string alignment distance of a and b. Texts beyond 64
// bytes are cut: no name is that long, and the work is quadratic.
func distance(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	prev, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			d := row[j]
			if a[i] != b[j] {
				d = min(row[j], row[j+1], next[j]) + 1
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, prev[j-1]+1)
			}
			next[j+1] = d
		}
		prev, row, next = row, next, prev
	}
	return row[len(b)]
}

// Suggest phrases what was expected in place of name, which is none of the
// candidates: the nearest of them if name looks like a misspelling, all of them
// otherwise.
func Suggest(name string, candidates []string) string {
	if s := Nearest(name, candidates); s != "" {
		return fmt.Sprintf("did you mean %q?", s)
	}
	switch len(candidates) {
	case 0:
		return "expected none"
	case 1:
		return "expected " + candidates[0]
	}
	return "expected one of " + strings.Join(candidates, ", ")
}
