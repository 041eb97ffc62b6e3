package spec

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

type filed struct{ table File }

func (c *filed) Fields(f *Fields) { f.File(&c.table, "table", "A table.").Required().Pin() }

// What a file holds stands for it once it was read, not where it lies.
func TestFile(t *testing.T) {
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // of no bytes (FIPS 180-4)
	for _, c := range []struct{ yaml, content, errs, canonical string }{
		{"{table: a/b.txt}", "", "", "{table: sha256-" + empty + "}"},
		{"{table: elsewhere.txt}", "", "", "{table: sha256-" + empty + "}"},
		{"{table: 7}", "abc", "", "{table: sha256-ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}"},
		{"{table: t.gz}", "abc", "t.gz: cannot be unpacked: unexpected EOF; expected a file in gzip, as its name says", "{table: t.gz}"},
		{"{table: t.txt}", "broken", "t.txt: cannot be read: timeout", "{table: t.txt}"},
		{"{table: t.txt}", "refused", "t.txt:1:1: wrong", "{table: t.txt}"},
		{"{table: ''}", "", `f:1:9: table is ""; expected a file`, ""},
		{"{table: [a]}", "", "f:1:9: table is a list; expected a file", ""},
		{"{}", "", "f:1:1: table is missing; expected a file", ""},
	} {
		n, errs := Parse("f", []byte(c.yaml))
		var got filed
		errs = append(errs, Decode(n, &got)...)
		if len(errs) == 0 {
			var raw io.Reader = strings.NewReader(c.content)
			if c.content == "broken" {
				raw = iotest.TimeoutReader(iotest.OneByteReader(raw))
			}
			errs = got.table.Read(raw, func(content io.Reader) Errors {
				if c.content == "refused" {
					return Errors{{Pos: Pos{got.table.Path, 1, 1}, Msg: "wrong"}}
				}
				_, err := content.Read(make([]byte, 1)) // and no more
				if err != nil && !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				return nil
			})
			if text := Canonical(&got); text != c.canonical || "{"+strings.Replace(Pinned(&got), "=", ": ", 1)+"}" != text {
				t.Errorf("%s: %s, pinned %s; want %s", c.yaml, text, Pinned(&got), c.canonical)
			}
		}
		if fmt.Sprint(errs) != c.errs {
			t.Errorf("%s: %v, want %s", c.yaml, errs, c.errs)
		}
	}
}
