package pipeline

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expected outputs in testdata")

// testOptions are the options all files in testdata are read with.
func testOptions() Options {
	return Options{Registry: testRegistry, Lookup: func(name string) (string, bool) {
		v, ok := map[string]string{"BITS": "18", "TOPIC": "clicks"}[name]
		return v, ok
	}}
}

// golden compares got with the text in a file, or writes it there under -rewrite.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -rewrite accepts it):\n%s", file, diff)
	}
}

func files(t *testing.T, pattern string, least int) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < least {
		t.Fatalf("%s: %d files, expected at least %d", pattern, len(names), least)
	}
	return names
}

func TestGood(t *testing.T) {
	for _, file := range files(t, "testdata/good/*.yaml", 3) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			p, errs := Load(file, testOptions())
			if errs != nil {
				t.Fatal(errs)
			}
			for _, format := range GraphFormats {
				var b bytes.Buffer
				if err := WriteGraph(&b, p, format); err != nil {
					t.Fatal(err)
				}
				golden(t, strings.TrimSuffix(file, "yaml")+map[string]string{"text": "txt", "mermaid": "mmd", "dot": "dot"}[format], b.String())
			}
		})
	}
}

func TestBad(t *testing.T) {
	for _, file := range files(t, "testdata/bad/*.yaml", 0) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p, errs := Parse(filepath.Base(file), data, testOptions())
			if p != nil || len(errs) == 0 {
				t.Fatal("the file was found correct")
			}
			golden(t, strings.TrimSuffix(file, "yaml")+"txt", errs.Error()+"\n")
		})
	}
}
