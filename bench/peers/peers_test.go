package peers

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCached has a build run once, and again after it has failed.
func TestCached(t *testing.T) {
	base, runs, fail := t.TempDir(), 0, errors.New("broken")
	build := func(_ context.Context, dir string) error {
		runs++
		if _, err := os.Stat(filepath.Join(dir, "python", "peer.py")); err != nil {
			t.Error(err)
		}
		return fail
	}
	if _, err := cachedIn(t.Context(), base, "x", []string{"python"}, build); !errors.Is(err, fail) {
		t.Error(err)
	}
	fail = nil
	first, err := cachedIn(t.Context(), base, "x", []string{"python"}, build)
	if err != nil {
		t.Fatal(err)
	}
	again, err := cachedIn(t.Context(), base, "x", []string{"python"}, build)
	if err != nil || again != first || runs != 2 {
		t.Errorf("%v: %s and %s after %d builds", err, first, again, runs)
	}
	if other, err := cachedIn(t.Context(), base, "x", []string{"python", "jvm"}, build); err != nil || other == first {
		t.Errorf("%v: other sources are in the same folder", err)
	}
}

// TestPinned looks for dependencies without a version.
func TestPinned(t *testing.T) {
	text, err := sources.ReadFile("python/requirements.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !regexp.MustCompile(`^[a-z-]+==[0-9.]+\n$`).MatchString(line) {
			t.Errorf("requirements.txt: %q", line)
		}
	}
	pom := regexp.MustCompile(`(?s)<(dependency|plugin)>.*?</(dependency|plugin)>`)
	version := regexp.MustCompile(`<version>([0-9][0-9A-Za-z.-]*|\$\{[a-z.]+\})</version>`)
	for _, name := range []string{"kstreams/pom.xml", "flink/pom.xml", "moa/pom.xml"} {
		text, err := fs.ReadFile(sources, name)
		if err != nil {
			t.Fatal(err)
		}
		found := pom.FindAllString(string(text), -1)
		for _, part := range found {
			if !version.MatchString(part) {
				t.Errorf("%s: no version: %s", name, part)
			}
		}
		if len(found) < 7 || strings.Contains(string(text), "<repository>") {
			t.Errorf("%s: %d parts", name, len(found))
		}
	}
}

func TestFind(t *testing.T) {
	for _, p := range All {
		if q, ok := Find(p.Name); !ok || q.About != p.About {
			t.Errorf("%s is not found", p.Name)
		}
	}
	if _, ok := Find("other"); ok {
		t.Error("a peer that does not exist")
	}
	if _, err := find("a-program-that-is-not-here"); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}
