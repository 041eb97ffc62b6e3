// Package gunzip reads the compressed data that tests carry along.
package gunzip

import (
	"compress/gzip"
	"io"
	"os"
	"testing"
)

// File returns what a gzip file holds; one that cannot be read ends the test.
func File(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
