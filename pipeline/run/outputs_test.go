package run

import (
	"fmt"
	"strings"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/gradstream/gradstream/pipeline"
)

// TestOutputsStay compares outputs and their hashes, which journals hold, with those of
// a build that gathered, ordered and hashed them in other ways: with one sink or two, of
// one input or several, the one before the other or behind it.
func TestOutputsStay(t *testing.T) {
	for _, c := range []struct {
		one, two      string // names of these sinks, which order them; no = it is not fed
		hashes, texts uint64
	}{
		{"p", "no", 0x695f5d108f7d1ea4, 0x683638fd5c0d85f9},
		{"no", "p", 0x25b02f2aaa1e1c92, 0x4202cb986c4b05a3},
		{"p", "q", 0x876547b7763d8d14, 0xce347563a31ada58},
		{"q", "p", 0x21bb89b139b5fef1, 0xf998b34a226220e6},
	} {
		p := parse(t, strings.NewReplacer("  one:", "  "+c.one+":", "  two:", "  "+c.two+":").Replace(tangledYAML))
		core, err := newCore(p, 3, testFormats, coreOptions{
			SinkPartitions: func(string) int32 { return 3 },
			Sinks:          func(s *pipeline.Sink) bool { return s.Name == "p" || s.Name == "q" },
		})
		if err != nil {
			t.Fatal(err)
		}
		var hashes, texts xxh3.Hasher
		var out outputs
		for i, f := range tangledInput(t, 40) {
			if f.source == 1 {
				continue // Arrow may come to be written in other ways
			}
			core.begin(int64(i), &out)
			if _, _, err := core.feed(f.source, f.partition, f.records, unbounded); err != nil {
				t.Fatal(err)
			}
			if err := core.end(uint64(i + 1)); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&hashes, out.hash, out.bytes)
			for _, o := range out.List() {
				fmt.Fprintf(&texts, "%s %d %q %q %d %q\n", o.Topic, o.Partition, o.Key, o.Value, o.Time, o.Headers)
			}
		}
		if hashes.Sum64() != c.hashes || texts.Sum64() != c.texts {
			t.Errorf("sinks %s and %s: %#x, %#x; want %#x, %#x", c.one, c.two, hashes.Sum64(), texts.Sum64(), c.hashes, c.texts)
		}
	}
}
