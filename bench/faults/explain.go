//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/internal/testutil/checker"
)

const picks = 100

// explainSome has random predictions of the run explained by the command. Each has to come out as it was published, and
// its parts have to add up to it, bit for bit.
func (l *lab) explainSome(checker.Report) error {
	all, err := l.predictions()
	if err != nil {
		return err
	}
	chosen := make(chan *kgo.Record, picks)
	for range picks {
		chosen <- all[l.dice.IntN(len(all))]
	}
	close(chosen)
	var good atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		wg.Go(func() {
			for r := range chosen {
				if err := l.explain(r); err != nil {
					errs[i] = err
					return
				}
				good.Add(1)
			}
		})
	}
	wg.Wait()
	l.explained = int(good.Load())
	return errors.Join(errs...)
}

// predictions reads all committed ones.
func (l *lab) predictions() (all []*kgo.Record, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(l.site.past()...), kgo.ConsumeTopics(l.name+".predictions"),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	want := int(l.gen.sent.Load())
	ctx, cancel := context.WithTimeout(l.ctx, 30*time.Second)
	defer cancel()
	for len(all) < want && ctx.Err() == nil {
		all = append(all, cl.PollFetches(ctx).Records()...)
	}
	if len(all) < want {
		return nil, fmt.Errorf("read %d of %d predictions", len(all), want)
	}
	return all, nil
}

func headerOf(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

func (l *lab) explain(r *kgo.Record) error {
	id := headerOf(r, "gs-id")
	cmd := exec.CommandContext(l.ctx, l.suite.binary, "explain", l.file("pipeline.yaml"), "--id", id, "--json")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("explain --id %s: %w\n%s", id, err, said.String())
	}
	var x struct {
		Offset    int64
		Equal     bool
		Published struct{ Value string }
		Learners  []struct {
			Columns []struct {
				Name, Bits string
				Value      json.Number
			}
			Contributions []struct{ Value, Weight, Contribution float32 }
			Intercept     float64
		}
	}
	var row struct{ P json.Number }
	if err := errors.Join(json.Unmarshal(out.Bytes(), &x), json.Unmarshal(r.Value, &row)); err != nil {
		return fmt.Errorf("explain --id %s: %w\n%s", id, err, out.String())
	}
	if !x.Equal || x.Offset != r.Offset || x.Published.Value != string(r.Value) || len(x.Learners) != 1 {
		return fmt.Errorf("explain --id %s is not what was published, %s:\n%s", id, r.Value, out.String())
	}
	m := x.Learners[0]
	var sum float32
	for _, c := range m.Contributions {
		if float32(c.Value*c.Weight) != c.Contribution {
			return fmt.Errorf("explain --id %s: contribution %+v", id, c)
		}
		sum += c.Contribution
	}
	score := fmt.Sprintf("%016x", math.Float64bits(float64(sum)+m.Intercept))
	have := map[string]string{}
	for _, c := range m.Columns {
		have[c.Name] = c.Bits
		if c.Name == "ctr.probability" && c.Value != row.P {
			return fmt.Errorf("explain --id %s: probability %s, published %s", id, c.Value, row.P)
		}
	}
	if have["ctr.score"] != score || have["ctr.probability"] == "" {
		return fmt.Errorf("explain --id %s: the parts add up to %s\n%s", id, score, out.String())
	}
	return nil
}
