package kafka

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// repairs counts what was mended.
type repairs struct {
	aborted   int // transactions, once a partition
	committed int // partitions in which a commit was completed
	offsets   int // of groups, of that commit
}

// repair mends the data of an embedded broker whose process was killed, before a
// broker is started on it. dir is the folder of [brokerDir].
//
// A commit that was going on ([commitNote]) is completed: the broker may have made
// a part of it. All other transactions that are open are aborted. The broker by
// itself drops them, but does not write the markers that end them. Without those a
// read_committed client takes what the same producer commits next for a part of
// the aborted transaction and leaves it out, and after another kill the broker
// takes the aborted records for a part of what was committed next.
//
// Every step may be made twice: a repair that is itself killed is begun anew.
func repair(dir string) (done repairs, err error) {
	data, noteName := filepath.Join(dir, brokerData), filepath.Join(dir, brokerCommit)
	note, err := readCommitNote(noteName)
	if err != nil {
		return done, err
	}
	if _, err := readEntries(filepath.Join(data, "groups.log")); err != nil {
		return done, err
	}
	producers, err := readProducers(filepath.Join(data, "pids.log"))
	if err != nil {
		return done, err
	}
	if note != nil {
		// Another epoch: the broker refused the commit, as the producer was fenced or
		// its transaction had timed out, or has completed it.
		if p, ok := producers[note.Producer]; !ok || p.Epoch != note.Epoch {
			note = nil
		}
	}
	logs, err := openLogs(filepath.Join(data, "partitions"))
	if err != nil {
		return done, err
	}
	if err := fence(filepath.Join(data, "pids.log"), producers, logs, note); err != nil {
		return done, err
	}
	for _, l := range logs {
		for id, epoch := range maps.Clone(l.open) {
			commit := note != nil && id == note.Producer && epoch == note.Epoch
			if err := l.end(id, epoch, commit); err != nil {
				return done, fmt.Errorf("%s: ending a transaction: %w", l.segment, err)
			}
			if commit {
				done.committed++
			} else {
				done.aborted++
			}
		}
	}
	if note == nil {
		return done, removeFile(noteName)
	}
	if err := restoreOffsets(filepath.Join(data, "groups.log"), note.Offsets); err != nil {
		return done, err
	}
	done.offsets = len(note.Offsets)
	if done.committed > 0 || done.offsets > 0 { // else there may have been no transaction
		if err := completeProducer(filepath.Join(data, "pids.log"), producers[note.Producer], note); err != nil {
			return done, err
		}
	}
	return done, removeFile(noteName)
}

// readProducers returns the last state of each producer.
func readProducers(name string) (map[int64]producerEntry, error) {
	entries, err := readEntries(name)
	if err != nil {
		return nil, err
	}
	last := map[int64]producerEntry{}
	for _, b := range entries {
		var e producerEntry
		if json.Unmarshal(b, &e) != nil {
			continue // the broker, too, leaves it out
		}
		if e.Type != "init" {
			known, ok := last[e.ID]
			if !ok {
				continue
			}
			e.TxID, e.Timeout = known.TxID, known.Timeout
		}
		last[e.ID] = e
	}
	return last, nil
}

// openLogs opens the logs of all partitions.
func openLogs(dir string) (logs []*partitionLog, err error) {
	dirs, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		l, err := openLog(filepath.Join(dir, d.Name()))
		if err != nil {
			return nil, err
		}
		logs = append(logs, l)
	}
	return logs, nil
}

// fence raises the epochs of the producers whose transactions are to be aborted,
// and notes that they were. A client that outlived the broker could otherwise go on
// with the rest of a transaction and commit it, or be told that it is committed. It
// comes before the markers, by which a repair after a kill finds them.
func fence(name string, producers map[int64]producerEntry, logs []*partitionLog, note *commitNote) error {
	ids := map[int64]bool{}
	for _, l := range logs {
		for id := range l.open {
			if note == nil || id != note.Producer {
				ids[id] = true
			}
		}
	}
	var entries []producerEntry
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		p, ok := producers[id]
		if !ok {
			continue
		}
		entries = append(entries,
			producerEntry{Type: "endtx", ID: id, Epoch: p.Epoch, Commit: new(bool)},
			producerEntry{Type: "timeout", ID: id, Epoch: p.Epoch + 1})
	}
	if len(entries) == 0 {
		return nil
	}
	return appendEntries(name, entries)
}

func restoreOffsets(name string, offsets []stagedOffset) error {
	if len(offsets) == 0 {
		return nil
	}
	now := time.Now().UnixMilli()
	var entries []groupEntry
	for _, o := range offsets {
		entries = append(entries, groupEntry{"commit", o.Group, o.Topic, o.Partition, o.Offset, o.LeaderEpoch, o.Metadata, now})
	}
	return appendEntries(name, entries)
}

// completeProducer notes that a producer committed, as the broker does behind a
// commit.
func completeProducer(name string, p producerEntry, note *commitNote) error {
	commit := true
	entries := []producerEntry{{Type: "endtx", ID: p.ID, Epoch: note.Epoch, Commit: &commit}}
	if note.Next {
		entries = append(entries, producerEntry{Type: "init", ID: p.ID, Epoch: note.Epoch + 1, TxID: p.TxID, Timeout: p.Timeout})
	}
	return appendEntries(name, entries)
}

// removeFile removes a file that may be missing.
func removeFile(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
