package optest

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gradstream/gradstream/operators"
)

// A record is lines: `case NAME`, then for each entry of the state
// `HANDLE KEY VALUE` with key and value in base64, the value deflated, and
// `then DIGEST` with the digest of the state after the rows that follow.
const recordRows, thenRows = 200, 100

// checkRecorded compares with the records of an operator, and adds those that
// are missing if asked to.
func checkRecorded(t tester, d *operators.Definition, cases []Case) {
	name := filepath.Join("testdata", "state", d.Name+".txt")
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	records := map[string][]string{}
	var current string
	for _, line := range strings.Split(string(text), "\n") {
		if c, ok := strings.CutPrefix(line, "case "); ok {
			current = c
			records[c] = []string{}
		} else if line != "" {
			records[current] = append(records[current], line)
		}
	}
	added := false
	for _, c := range cases {
		s := newSubject(t, d, c)
		lines, ok := records[c.Name]
		if !ok {
			lines = s.record(t)
			if lines == nil {
				continue // no state
			}
			if os.Getenv("OPTEST_RECORD") == "" {
				t.Errorf("no state is recorded of the case %q; run the test with OPTEST_RECORD=1 once and keep %s", c.Name, name)
				continue
			}
			text = append(text, "case "+c.Name+"\n"+strings.Join(lines, "\n")+"\n"...)
			added = true
		}
		s.checkRecord(t, lines)
	}
	if added {
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// parts are the rows before and after the record.
func (s *subject) parts() (before, after []feed) {
	feeds := split(s.feeds(recordRows+thenRows, false), func() int { return 10 })
	n := 0
	for i, f := range feeds {
		if n += f.rows.N; n >= recordRows {
			return feeds[:i+1], feeds[i+1:]
		}
	}
	return feeds, nil
}

func (s *subject) record(t tester) []string {
	t.Helper()
	before, after := s.parts()
	h := s.open(t)
	if len(h.Node.States()) == 0 {
		return nil
	}
	var lines []string
	s.feed(t, h, before)
	for _, b := range h.Node.States() {
		b.State.All(func(key, value []byte) bool {
			lines = append(lines, fmt.Sprintf("%s %s %s", strings.ReplaceAll(b.ID.Name, " ", "%20"), base64.StdEncoding.EncodeToString(key), deflate(t, value)))
			return true
		})
	}
	s.feed(t, h, after)
	return append(lines, fmt.Sprintf("then %016x", h.Digest()))
}

func (s *subject) checkRecord(t tester, lines []string) {
	t.Helper()
	h := s.open(t)
	for _, line := range lines {
		if want, ok := strings.CutPrefix(line, "then "); ok {
			_, after := s.parts()
			s.feed(t, h, after)
			if got := fmt.Sprintf("%016x", h.Digest()); got != want {
				t.Errorf("case %q: recorded state and the rows after it lead to the digest %s, not %s", s.c.Name, got, want)
			}
			continue
		}
		words := strings.Split(line, " ")
		if len(words) != 3 {
			t.Fatalf("case %q: %q is no entry", s.c.Name, line)
		}
		key, err := base64.StdEncoding.DecodeString(words[1])
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, b := range h.Node.States() {
			if b.ID.Name == strings.ReplaceAll(words[0], "%20", " ") {
				found = true
				if err := b.State.Load(key, inflate(t, words[2])); err != nil {
					t.Errorf("case %q: recorded state %s does not load: %v", s.c.Name, b.ID.Name, err)
				}
			}
		}
		if !found {
			t.Errorf("case %q: a state %q is recorded, and nothing asks for it", s.c.Name, words[0])
		}
	}
}

func (s *subject) feed(t tester, h *Harness, feeds []feed) {
	t.Helper()
	for _, f := range feeds {
		if err := h.Feed(f.port, slice(f.rows, 0, f.rows.N)); err != nil {
			t.Fatal(err)
		}
	}
}

func deflate(t tester, b []byte) string {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(out.Bytes())
}

func inflate(t tester, text string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	b, err = io.ReadAll(flate.NewReader(bytes.NewReader(b)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
