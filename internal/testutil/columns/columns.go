// Package columns reads the data that tests carry along a column behind the other.
package columns

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/internal/testutil/gunzip"
)

// Read returns the names of a file's columns and the text of their n cells. For each
// column the file holds a line of its name and its distinct values in order, then for each
// row the step from the last row's place among them, the low bytes of all steps and
// then the high ones; all of it gzip'd.
func Read(t testing.TB, path string, n int) (names []string, cells [][]string) {
	t.Helper()
	for data := gunzip.File(t, path); len(data) > 0; {
		end := bytes.IndexByte(data, '\n')
		values, steps := strings.Fields(string(data[:end])), data[end+1:][:2*n]
		at, column := uint16(0), make([]string, n)
		for row := range column {
			at += uint16(steps[row]) | uint16(steps[n+row])<<8
			column[row] = values[1+at]
		}
		names, cells = append(names, values[0]), append(cells, column)
		data = data[end+1+2*n:]
	}
	return names, cells
}
