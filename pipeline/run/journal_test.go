package run

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func journalSamples() (*stepRecord, *openRecord) {
	return &stepRecord{Step: 300, Prev: [32]byte{1, 2}, Clock: 1_700_000_000_000, Watermark: -5,
			Runs: []inputRun{{0, 0, 1}, {1, 7, 1 << 40}}, Rows: 900, Rejected: 3, Outputs: 1000, OutHash: 1 << 63, HasDigest: true, Digest: 77},
		&openRecord{Incarnation: "i", Worker: "w", Host: "h", Build: "b", Arch: "amd64", Graph: [32]byte{9}, Cluster: "c",
			Sources: []openSource{{"s", "t", [16]byte{4}, 12}}, Positions: []inputRun{{0, 3, -2}},
			Adopts: true, Sinks: []openSink{{"e", 1}, {"o", 300}}, Files: []openFile{{"v", [32]byte{1, 2}}, {"w", [32]byte{3}}}}
}

// TestJournalDamage changes each byte of a step and cuts it anywhere: it is never
// taken for a step.
func TestJournalDamage(t *testing.T) {
	step, open := journalSamples()
	for _, b := range [][]byte{step.append(nil), open.append(nil)} {
		for i := range b {
			if s, o, err := parseJournal(b[:i]); err == nil {
				t.Errorf("the first %d of %d bytes are read as %+v %+v", i, len(b), s, o)
			}
			bad := bytes.Clone(b)
			bad[i] ^= 1
			if s, _, err := parseJournal(bad); err == nil && s != nil {
				t.Errorf("byte %d of %d changed: read as %+v", i, len(b), s)
			}
		}
		if _, _, err := parseJournal(append(bytes.Clone(b), 0)); !errors.Is(err, errJournal) {
			t.Errorf("a byte too many: %v", err)
		}
	}
	s, o, err := parseJournal(step.append([]byte("xx"))[2:])
	if err != nil || o != nil || !reflect.DeepEqual(s, step) {
		t.Errorf("read back %+v, %v", s, err)
	}
	s, o, err = parseJournal(open.append(nil))
	if err != nil || s != nil || !reflect.DeepEqual(o, open) {
		t.Errorf("read back %+v, %v", o, err)
	}
}

// FuzzJournal: whatever is read as a record is written as the record it says.
func FuzzJournal(f *testing.F) {
	step, open := journalSamples()
	f.Add(step.append(nil))
	f.Add(open.append(nil))
	f.Add((&stepRecord{}).append(nil))
	f.Add((&openRecord{}).append(nil))
	f.Add([]byte{journalVersion, kindOpen, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, o, err := parseJournal(b)
		if set := (s != nil) != (o != nil); set != (err == nil) {
			t.Fatalf("%v %v %v", s, o, err)
		}
		if err != nil {
			return
		}
		var again []byte
		if s != nil {
			again = s.append(nil)
		} else {
			again = o.append(nil)
		}
		s2, o2, err := parseJournal(again)
		if err != nil {
			t.Fatal(err)
		}
		if s2 != nil {
			s2.Hash = s.Hash // of other bytes, where a number was written longer than need be
		}
		if !reflect.DeepEqual(s, s2) || !reflect.DeepEqual(o, o2) {
			t.Fatalf("%+v %+v, again %+v %+v", s, o, s2, o2)
		}
	})
}
