// Command gohand is what a Go programmer would write in an afternoon for the same
// task as gradstream's in the benchmark: a consumer, encoding/json, one loop that
// predicts, publishes and learns, a commit now and then. It delivers at least
// once, and what it has learnt dies with it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := consume(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gohand:", err)
		os.Exit(1)
	}
}

type click struct {
	ID    string  `json:"id"`
	TS    int64   `json:"ts"`
	User  string  `json:"user"`
	Site  string  `json:"site"`
	Dev   string  `json:"dev"`
	OS    string  `json:"os"`
	Geo   string  `json:"geo"`
	Hour  int     `json:"hour"`
	Price float64 `json:"price"`
	Age   float64 `json:"age"`
	Dwell float64 `json:"dwell"`
	Depth float64 `json:"depth"`
	Score float64 `json:"score"`
	Freq  float64 `json:"freq"`
	Y     int     `json:"y"`
}

type prediction struct {
	ID string  `json:"id"`
	P  float64 `json:"p"`
}

func consume(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("gohand", flag.ContinueOnError)
	brokers := f.String("brokers", "", "address of a broker")
	from := f.String("from", "", "topic of the events")
	to := f.String("to", "", "topic of the predictions")
	group := f.String("group", "", "consumer group")
	commit := f.Duration("commit", time.Second, "between commits")
	if err := f.Parse(args); err != nil {
		return err
	}
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(*brokers),
		kgo.ConsumeTopics(*from),
		kgo.ConsumerGroup(*group),
		kgo.InstanceID(*group+"-1"),
		kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(50*time.Millisecond),
		kgo.DefaultProduceTopic(*to),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.UnknownTopicRetries(-1),
		kgo.ProducerLinger(10*time.Millisecond),
		kgo.MaxBufferedRecords(1<<18),
	)
	if err != nil {
		return err
	}
	defer cl.Close()

	var failed atomic.Pointer[error]
	delivered := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.Store(&err)
		}
	}
	// What was polled is published before its offsets are committed.
	save := func() error {
		until, cancel := context.WithTimeout(context.Background(), 10*time.Second) // after a SIGTERM too
		defer cancel()
		if err := cl.Flush(until); err != nil {
			return err
		}
		if err := failed.Load(); err != nil {
			return *err
		}
		return cl.CommitUncommittedOffsets(until)
	}
	models := map[int32]*model{}
	started, due := false, time.Now().Add(*commit)
	for ctx.Err() == nil {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil && ctx.Err() == nil {
			return err
		}
		var bad error
		fetches.EachRecord(func(r *kgo.Record) {
			if !started {
				started = true
				fmt.Println("first record")
			}
			m := models[r.Partition]
			if m == nil {
				m = &model{}
				models[r.Partition] = m
			}
			var c click
			if err := json.Unmarshal(r.Value, &c); err != nil {
				bad = errors.Join(bad, err)
				return
			}
			p := m.predict(&c)
			out, err := json.Marshal(prediction{c.ID, p})
			if err != nil {
				bad = errors.Join(bad, err)
				return
			}
			cl.Produce(ctx, &kgo.Record{Key: []byte(c.User), Value: out}, delivered)
			m.learn(p, c.Y)
		})
		if bad != nil {
			return bad
		}
		if time.Now().After(due) {
			if err := save(); err != nil {
				return err
			}
			due = time.Now().Add(*commit)
		}
	}
	return save()
}

const (
	slots    = 1 << 18
	features = 13
	rate     = 0.1
	epsilon  = 1e-8
)

// model is a logistic regression over hashed features, trained by AdaGrad.
type model struct {
	weights, squares [slots]float32
	at               [features]uint32 // the features of the last prediction
	values           [features]float64
}

func slot(name, value string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	h.Write([]byte(value))
	s := h.Sum32()
	return (s ^ s>>18) & (slots - 1)
}

func (m *model) predict(c *click) float64 {
	n := 0
	add := func(slot uint32, value float64) {
		m.at[n], m.values[n] = slot, value
		n++
	}
	add(slot("user=", c.User), 1)
	add(slot("site=", c.Site), 1)
	add(slot("dev=", c.Dev), 1)
	add(slot("os=", c.OS), 1)
	add(slot("geo=", c.Geo), 1)
	add(slot("hour=", strconv.Itoa(c.Hour)), 1)
	add(slot("price", ""), c.Price)
	add(slot("age", ""), c.Age)
	add(slot("dwell", ""), c.Dwell)
	add(slot("depth", ""), c.Depth)
	add(slot("score", ""), c.Score)
	add(slot("freq", ""), c.Freq)
	add(slot("constant", ""), 1)
	score := 0.0
	for i, s := range m.at {
		score += float64(m.weights[s]) * m.values[i]
	}
	return 1 / (1 + math.Exp(-score))
}

// learn takes the step for the event that was predicted last.
func (m *model) learn(p float64, y int) {
	for i, s := range m.at {
		g := (p - float64(y)) * m.values[i]
		if g == 0 {
			continue
		}
		m.squares[s] += float32(g * g)
		m.weights[s] -= float32(rate * g / (math.Sqrt(float64(m.squares[s])) + epsilon))
	}
}
