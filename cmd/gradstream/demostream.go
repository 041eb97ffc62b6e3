package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/file"
	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/examples/drift"
	"github.com/gradstream/gradstream/examples/flights"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// demoStream is a stream that the demo can play. Its source has a column id that
// counts from 0, and a key.
type demoStream struct {
	title    string
	question string
	file     string // name of the pipeline file, for messages
	pipeline []byte
	rows     func(o demoOptions) int64
	// changeAt returns the event at which the stream changes, -1 if it does not say.
	changeAt func(rows int64) int64
	open     func(dir string, s *pipeline.Source, o demoOptions, rows int64) (connectors.Reader, error)
}

var demoStreams = map[string]*demoStream{
	"flights": {
		title: "flights", question: "arrives more than 15 minutes late?", file: "examples/flights/pipeline.yaml", pipeline: flights.Pipeline,
		rows: func(demoOptions) int64 { return flights.Rows }, changeAt: func(int64) int64 { return -1 }, open: openFlights,
	},
	"drift": {
		title: "drift", question: "labels change their meaning halfway", file: "examples/drift/pipeline.yaml", pipeline: drift.Pipeline,
		rows: generatedRows, changeAt: func(rows int64) int64 { return rows / 2 }, open: openGenerated,
	},
}

// openFlights unpacks the stream that the binary carries.
func openFlights(dir string, s *pipeline.Source, _ demoOptions, _ int64) (connectors.Reader, error) {
	path := filepath.Join(dir, "flights.csv.gz")
	if err := os.WriteFile(path, flights.Data, 0o644); err != nil {
		return nil, err
	}
	return file.Open(path, file.Options{Schema: s.Schema, Time: s.Time})
}

// generatedMost is how many events the generated stream has.
const generatedMost = 400_000

// generatedRows is shorter where --for would cut the stream before its middle.
func generatedRows(o demoOptions) int64 {
	if o.length > 0 && o.rate > 0 {
		return max(2, min(generatedMost, int64(o.rate*o.length.Seconds())))
	}
	return generatedMost
}

func openGenerated(_ string, s *pipeline.Source, o demoOptions, rows int64) (connectors.Reader, error) {
	return &generated{schema: s.Schema, dice: splitmix(o.seed), rows: rows}, nil
}

// splitmix is a small generator of random numbers (Steele, Lea, Flood, OOPSLA
// 2014): the same everywhere for a seed.
type splitmix uint64

func (s *splitmix) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// uniform returns a number in [0, 1).
func (s *splitmix) uniform() float64 { return float64(s.next()>>11) / (1 << 53) }

// generatedStart is the time of the first generated event; one follows a second.
var generatedStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

var generatedKinds = []string{"red", "green", "blue"}

// generated makes the stream whose concept changes abruptly: from its middle on,
// what spoke for a label speaks against it.
type generated struct {
	schema *batch.Schema
	dice   splitmix
	rows   int64
	next   int64
}

// Read implements connectors.Reader.
func (g *generated) Read(ctx context.Context, into *batch.Batch, limit int) ([]connectors.Rejected, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if g.next >= g.rows {
		return nil, io.EOF
	}
	for range limit {
		if g.next >= g.rows {
			break
		}
		g.row(into)
	}
	return nil, nil
}

func (g *generated) row(into *batch.Batch) {
	d := &g.dice
	a, b, c := 4*d.uniform()-2, 4*d.uniform()-2, 4*d.uniform()-2
	kind := int(d.uniform() * float64(len(generatedKinds)))
	score := 2*a - 1.5*b + float64(kind-1)
	if g.next >= g.rows/2 {
		score = -score
	}
	y := d.uniform() < 1/(1+math.Exp(-score))
	at := generatedStart + g.next*1000
	for i, f := range g.schema.Fields {
		switch col := into.Cols[i]; f.Name {
		case "id":
			col.AppendInt(g.next)
		case "ts":
			col.AppendInt(at)
		case "a":
			col.AppendFloat(a)
		case "b":
			col.AppendFloat(b)
		case "c":
			col.AppendFloat(c)
		case "kind":
			col.AppendString(generatedKinds[kind])
		case "y":
			col.AppendBool(y)
		default:
			col.AppendNull()
		}
	}
	into.Origin.Append(g.next, at, 0)
	into.N++
	g.next++
}

// Progress implements connectors.Reader.
func (g *generated) Progress() (done, size int64) { return g.next, g.rows }

// Close implements connectors.Reader.
func (g *generated) Close() error { return nil }

// demoReader reads the stream for the player: it leaves out what an earlier run
// on the same folder has sent already, ends when the playing is to end, and notes
// what the demo wants to know of each event.
type demoReader struct {
	in    connectors.Reader
	until <-chan struct{} // closed when the playing is to end
	all   *batch.Batch
	id    int // columns
	key   int
	skip  []int64 // events left to skip, by partition
	text  []byte
	cut   atomic.Bool

	mu    sync.Mutex
	total int64     // events in the topic, earlier runs' included
	times [][]int64 // event times by partition and row
	at    []int64   // when each id was sent, milliseconds; 0 = not in this run
}

// openStream opens the stream behind what the topic holds already.
func (d *demo) openStream(ctx context.Context, c *kafka.Cluster) (*demoReader, error) {
	s := d.p.Sources[0]
	stream := demoStreams[d.o.stream]
	_, infos, err := c.Describe(ctx, []string{s.Topic})
	if err != nil {
		return nil, err
	}
	r := &demoReader{all: batch.New(s.Schema), id: s.Schema.Lookup("id"), key: s.Schema.Lookup(s.Key),
		skip: make([]int64, infos[0].Partitions), times: make([][]int64, infos[0].Partitions)}
	ends := make([]connectors.Position, len(r.skip))
	for p := range ends {
		ends[p] = connectors.Position{TopicPartition: connectors.TopicPartition{Topic: s.Topic, Partition: int32(p)}, Next: connectors.Latest}
	}
	if ends, err = c.Resolve(ctx, ends); err != nil {
		return nil, err
	}
	for _, e := range ends {
		r.skip[e.Partition] = e.Next
		r.total += e.Next
	}
	if r.total > 0 {
		fmt.Fprintf(d.app.out, "goes on  behind the %s events that the folder holds\n", thousands(r.total))
	}
	r.in, err = stream.open(d.p.StateDir, s, d.o, stream.rows(d.o))
	return r, err
}

// Read implements connectors.Reader.
func (r *demoReader) Read(ctx context.Context, into *batch.Batch, limit int) ([]connectors.Rejected, error) {
	for into.N == 0 {
		select {
		case <-r.until:
			r.cut.Store(true)
			return nil, io.EOF
		default:
		}
		r.all.Reset()
		bad, err := r.in.Read(ctx, r.all, limit)
		if err != nil {
			return bad, err
		}
		r.note(into)
		if len(bad) > 0 {
			return bad, nil
		}
	}
	return nil, nil
}

// note moves the events that are to be sent from all to into.
func (r *demoReader) note(into *batch.Batch) {
	now := time.Now().UnixMilli()
	r.mu.Lock()
	defer r.mu.Unlock()
	for row := range r.all.N {
		r.text = r.all.Cols[r.key].AppendText(r.text[:0], row)
		p := kafka.PartitionForKey(r.text, len(r.skip))
		r.times[p] = append(r.times[p], r.all.Origin.Time[row])
		id := r.all.Cols[r.id].Ints[row]
		for int64(len(r.at)) <= id {
			r.at = append(r.at, 0)
		}
		if r.skip[p] > 0 {
			r.skip[p]--
			continue
		}
		r.at[id] = now
		r.total++
		into.AppendRow(r.all, row)
	}
}

// sent returns how many events are in the topic or about to be.
func (r *demoReader) sent() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

// cutShort reports whether the playing ended before the stream.
func (r *demoReader) cutShort() bool { return r.cut.Load() }

// sentAt returns when the event was sent, 0 if not in this run.
func (r *demoReader) sentAt(id int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id < 0 || id >= int64(len(r.at)) {
		return 0
	}
	return r.at[id]
}

// timeOf returns the event time of a row of a partition.
func (r *demoReader) timeOf(partition int, row int64) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if partition < 0 || partition >= len(r.times) || row < 0 || row >= int64(len(r.times[partition])) {
		return time.Time{}, false
	}
	return time.UnixMilli(r.times[partition][row]).UTC(), true
}

// Progress implements connectors.Reader.
func (r *demoReader) Progress() (done, size int64) { return r.in.Progress() }

// Close implements connectors.Reader.
func (r *demoReader) Close() error { return r.in.Close() }
