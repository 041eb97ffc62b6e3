//go:build linux

package main

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// soakTransactions is more than an epoch of 16 bits can count: a producer id is used up on the way.
const soakTransactions = 33_500

// vitals are what must not grow while a worker works.
type vitals struct{ rss, heap, goroutines, files float64 }

func (w *worker) vitals() (v vitals, err error) {
	m := w.said(`url=(http://\S+)`)
	if len(m) == 0 {
		return v, fmt.Errorf("%s has no listener\n%s", w.name, w.tail())
	}
	c := http.Client{Timeout: 20 * time.Second}
	resp, err := c.Get(m[0][1] + "/metrics")
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return v, err
	}
	for name, to := range map[string]*float64{"process_resident_memory_bytes": &v.rss, "go_memstats_heap_inuse_bytes": &v.heap, "go_goroutines": &v.goroutines, "process_open_fds": &v.files} {
		m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
		if m == nil {
			return v, fmt.Errorf("no metric %s", name)
		}
		*to, _ = strconv.ParseFloat(string(m[1]), 64)
	}
	return v, nil
}

// soak lets a worker make more transactions than a producer id has epochs.
func soak(l *lab) error {
	// Nearly all events go to one partition, so that each of its steps has some.
	l.gen.place = func(i int64) int32 {
		if i%12 == 0 {
			return int32(1 + i/12%3)
		}
		return 0
	}
	w := l.worker()
	w.http = "127.0.0.1:0"
	if err := w.start(); err != nil {
		return err
	}
	if err := w.await(l.ctx, "task restored", partitions, 60*time.Second); err != nil {
		return err
	}
	if err := l.flow(); err != nil {
		return err
	}
	l.arr.mark()
	var all []vitals
	ids, top := map[int64]bool{}, int16(0)
	begun, n := time.Now(), int64(0)
	for next := begun; ; {
		if n >= soakTransactions && len(ids) > 1 {
			break
		}
		if l.ctx.Err() != nil || !w.running() {
			return fmt.Errorf("ended at %d transactions, %d producer ids, epoch %d\n%s", n, len(ids), top, w.tail())
		}
		ends, err := l.site.adm.ListEndOffsets(l.ctx, l.name+".journal")
		if err != nil {
			return err
		}
		if o, ok := ends.Lookup(l.name+".journal", 0); ok {
			n = o.Offset / 2 // each has a record and a marker
		}
		txns, err := l.site.adm.DescribeTransactions(l.ctx, l.txnID(0, "out"))
		if err != nil {
			return err
		}
		for _, t := range txns {
			if t.Err != nil {
				return t.Err
			}
			ids[t.ProducerID] = true
			top = max(top, t.ProducerEpoch)
		}
		if now := time.Now(); !now.Before(next) {
			v, err := w.vitals()
			if err != nil {
				return err
			}
			all, next = append(all, v), now.Add(10*time.Second)
		}
		l.sleep(200*time.Millisecond, 0)
	}
	took := time.Since(begun)
	if err := l.arrive(3000); err != nil { // beyond the roll-over
		return err
	}
	l.did("transactions", int(n))
	l.did("producer ids beyond the first", len(ids)-1)
	l.note("%.0f transactions/s of one id for %.0f s, highest epoch seen %d", float64(n)/took.Seconds(), took.Seconds(), top)
	return l.grew(all)
}

// grew compares the second quarter of a run with the last.
func (l *lab) grew(all []vitals) error {
	if len(all) < 8 {
		return fmt.Errorf("only %d samples", len(all))
	}
	q := len(all) / 4
	for _, x := range []struct {
		name        string
		of          func(vitals) float64
		unit, allow float64 // may be more by a quarter and this
	}{
		{"MiB resident", func(v vitals) float64 { return v.rss }, 1 << 20, 16},
		{"MiB of heap", func(v vitals) float64 { return v.heap }, 1 << 20, 16},
		{"goroutines", func(v vitals) float64 { return v.goroutines }, 1, 4},
		{"files", func(v vitals) float64 { return v.files }, 1, 4},
	} {
		middle := func(from []vitals) float64 {
			var some []float64
			for _, v := range from {
				some = append(some, x.of(v)/x.unit)
			}
			slices.Sort(some)
			return some[len(some)/2]
		}
		early, late := middle(all[q:2*q]), middle(all[len(all)-q:])
		l.note("%s %.0f, then %.0f", x.name, early, late)
		if late > 1.25*early+x.allow {
			return fmt.Errorf("%s grew from %.0f to %.0f", x.name, early, late)
		}
	}
	return nil
}
