// Package gunzip reads the compressed data that tests carry along.
package gunzip

import (
	"compress/gzip"
	"io"
	"os"
	"testing"
)

// Open reads a gzip file, until the test ends; one that is none ends the test.
func Open(t testing.TB, path string) io.Reader {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// File returns what a gzip file holds; one that cannot be read ends the test.
func File(t testing.TB, path string) []byte {
	t.Helper()
	data, err := io.ReadAll(Open(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
