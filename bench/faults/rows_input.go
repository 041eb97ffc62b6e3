//go:build linux

package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/internal/testutil/checker"
)

var goodEvent = regexp.MustCompile(`^\{"id":\d+,"user":"u\d+","x":`)

func poison(l *lab) error {
	huge := strings.Repeat("x", 300_000)
	l.gen.value = func(i int64) []byte {
		if i%40 != 7 {
			return event(i)
		}
		switch i / 40 % 6 {
		case 0:
			return nil
		case 1:
			return []byte("\xff\xfe\x00")
		case 2:
			return fmt.Appendf(nil, `{"id":%d,"user":17}`, i)
		case 3:
			return fmt.Appendf(nil, `{"id":"%s"`, huge)
		case 4:
			return []byte(strings.Repeat("[", 100_000))
		default:
			return fmt.Appendf(nil, `{"id":%d,"id":%d,"user":"u1","y":true}`, i, i)
		}
	}
	l.poison = func(r *kgo.Record) int {
		if goodEvent.Match(r.Value) {
			return 0
		}
		return 1
	}
	l.count("rejected, each once", func() int { return int(l.report.Rejected) })
	ws, err := l.start(1)
	if err != nil {
		return err
	}
	l.arr.mark()
	if err := l.arrive(1000); err != nil {
		return err
	}
	if err := ws[0].kill(); err != nil {
		return err
	}
	if err := l.restart(ws[0]); err != nil {
		return err
	}
	l.after = func(r checker.Report) error {
		bad := int64(0)
		for i := range l.gen.sent.Load() {
			if i%40 == 7 {
				bad++
			}
		}
		if r.Rejected != bad {
			return fmt.Errorf("%d records rejected, %d were planted", r.Rejected, bad)
		}
		return nil
	}
	return l.arrive(1000)
}

func skew(l *lab) error {
	l.gen.place = func(i int64) int32 {
		if i%10 == 0 {
			return int32(1 + i/10%3)
		}
		return 0
	}
	if _, err := l.start(2); err != nil {
		return err
	}
	l.arr.mark()
	if err := l.arrive(12000); err != nil {
		return err
	}
	ends, err := l.site.adm.ListEndOffsets(l.ctx, l.in())
	if err != nil {
		return err
	}
	hot, total := 0, 0
	ends.Each(func(o kadm.ListedOffset) {
		total += int(o.Offset)
		if o.Partition == 0 {
			hot = int(o.Offset)
		}
	})
	l.did("events on the hot partition", hot)
	if 10*hot < 8*total {
		return fmt.Errorf("only %d of %d events are hot", hot, total)
	}
	return nil
}
