package run

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/gradstream/gradstream/state"
)

func moreSamples() (*stepRecord, *acceptedRecord) {
	step, _ := journalSamples()
	step.Skips = []skip{{0, 0, 12, "operator a", "panic: odd", "odd.go:12"}, {1, 7, 1 << 40, "", "", ""}}
	step.Remote = 300
	return step, &acceptedRecord{Policy: "accept_gap", Reason: "gone", Step: 9, Hash: state.Hash{3}, Base: 4, Clock: 77,
		Positions: []inputRun{{0, 1, 100}}, Lost: []lostRun{{0, 1, 50, 90}}}
}

// TestJournalVersions reads and damages the records of version 2; version 1 is
// written wherever it suffices.
func TestJournalVersions(t *testing.T) {
	plain, _ := journalSamples()
	if b := plain.append(nil); b[0] != journalVersion {
		t.Errorf("a plain step has version %d", b[0])
	}
	step, accepted := moreSamples()
	for _, b := range [][]byte{step.append(nil), accepted.append(nil)} {
		if b[0] != journalMore {
			t.Errorf("version %d", b[0])
		}
		for i := range b {
			if r, err := parseRecord(b[:i]); err == nil {
				t.Errorf("the first %d of %d bytes are read as %+v", i, len(b), r)
			}
			bad := bytes.Clone(b)
			bad[i] ^= 1
			if r, err := parseRecord(bad); err == nil {
				t.Errorf("byte %d of %d changed: read as %+v", i, len(b), r)
			}
		}
		if _, err := parseRecord(append(bytes.Clone(b), 0)); err == nil {
			t.Error("a byte too many is read")
		}
	}
	if r, err := parseRecord(step.append([]byte("xx"))[2:]); err != nil || !reflect.DeepEqual(r.step, step) {
		t.Errorf("read back %+v, %v", r.step, err)
	}
	if r, err := parseRecord(accepted.append(nil)); err != nil || !reflect.DeepEqual(r.accepted, accepted) {
		t.Errorf("read back %+v, %v", r.accepted, err)
	}
	if _, _, err := parseJournal(accepted.append(nil)); err == nil {
		t.Error("a decision is read as a step or an opening")
	}
}

// FuzzJournalMore: whatever is read as a record is written as the record it says.
func FuzzJournalMore(f *testing.F) {
	step, accepted := moreSamples()
	f.Add(step.append(nil))
	f.Add(accepted.append(nil))
	f.Add((&acceptedRecord{}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err != nil || r.open != nil {
			return
		}
		again := journalRecord{}
		if r.accepted != nil {
			again, err = parseRecord(r.accepted.append(nil))
		} else {
			hash := r.step.Hash
			again, err = parseRecord(r.step.append(nil))
			if err == nil {
				again.step.Hash, r.step.Hash = hash, hash // of other bytes, where a number was written longer than need be
			}
		}
		if err != nil || !reflect.DeepEqual(r, again) {
			t.Fatalf("%+v, again %+v, %v", r, again, err)
		}
	})
}
