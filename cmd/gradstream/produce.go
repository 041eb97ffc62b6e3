package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/file"
	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
)

func (a *app) produceCommand() *cobra.Command {
	var source, input string
	var rate float64
	c := &cobra.Command{
		Use:   "produce FILE --source NAME --input PATH",
		Short: "Play a file into a source's topic, in the source's format",
		Args:  argFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			if source == "" || input == "" {
				return usage(cmd, "--source NAME and --input PATH are needed")
			}
			if rate < 0 {
				return wrongInput("--rate %v: expected 0 or more", rate)
			}
			p, err := a.load(args[0])
			if err != nil {
				return err
			}
			i := p.Source(source)
			if i < 0 {
				return noSource("--source "+source, p, source)
			}
			s := p.Sources[i]
			if s.Avro != nil {
				return wrongInput("--source %s: records in Avro are read, not written", source)
			}
			r, err := file.Open(input, file.Options{Schema: s.Schema, Time: s.Time})
			if err != nil {
				return wrongInput("--input: %w", err)
			}
			defer r.Close()
			return a.produce(cmd.Context(), p, s, r, rate)
		},
	}
	f := c.Flags()
	f.StringVar(&source, "source", "", "source whose topic is written to")
	f.StringVar(&input, "input", "", "file to play")
	f.Float64Var(&rate, "rate", 0, "events a second; 0 = as fast as it goes")
	a.addSet(c)
	return c
}

// produce plays a reader into the topic of a source.
func (a *app) produce(ctx context.Context, p *pipeline.Pipeline, s *pipeline.Source, r connectors.Reader, rate float64) error {
	b, err := a.connect(ctx, p, connectOptions{})
	if err != nil {
		return err
	}
	defer b.close()
	if err := sourceTopic(ctx, p, s, b.cluster); err != nil {
		return err
	}
	pl, err := newPlayer(kafka.ProducerOptions{Brokers: b.addrs, TLS: b.tls, SASL: b.sasl, GiveUp: 2 * brokerPatience, Log: a.log}, s, rate)
	if err != nil {
		return err
	}
	start := time.Now()
	err = pl.play(ctx, r, func(rej connectors.Rejected) {
		fmt.Fprintf(a.err, "not sent: row %d (line %d): %v\n", rej.Offset, rej.Line, rej.Why)
	})
	if e := pl.close(ctx); err == nil {
		err = e
	}
	seconds := time.Since(start).Seconds()
	fmt.Fprintf(a.out, "%d events sent to %s in %.2f s (%.0f events/s), %s not sent\n", pl.sent, s.Topic, seconds, float64(pl.sent)/seconds, count(int(pl.rejected), "row"))
	return err
}

// sourceTopic makes sure that a source's topic exists. On the embedded broker a
// missing one is created.
func sourceTopic(ctx context.Context, p *pipeline.Pipeline, s *pipeline.Source, c *kafka.Cluster) error {
	_, infos, err := c.Describe(ctx, []string{s.Topic})
	if err != nil || !infos[0].Missing {
		return err
	}
	if !p.Kafka.Embedded() {
		return wrongInput("source topic %q does not exist; gradstream topics %s creates what is missing", s.Topic, p.File)
	}
	return c.Create(ctx, []connectors.Topic{{Name: s.Topic, Partitions: s.Partitions, Replication: p.Kafka.Replication}})
}

// player sends rows to a topic at a steady rate.
type player struct {
	source   *pipeline.Source
	rate     float64
	out      *kafka.Producer
	enc      connectors.Encoder
	key      int // column of the record key; -1 = none
	sent     int64
	rejected int64
	value    []byte
	text     []byte
}

func newPlayer(o kafka.ProducerOptions, s *pipeline.Source, rate float64) (*player, error) {
	enc, err := formats.NewEncoder(s.Format, s.Schema)
	if err != nil {
		return nil, err
	}
	o.Version = version
	out, err := kafka.NewProducer(o)
	if err != nil {
		return nil, err
	}
	pl := &player{source: s, rate: rate, out: out, enc: enc, key: -1}
	if s.Key != "" {
		pl.key = s.Schema.Lookup(s.Key)
	}
	return pl, nil
}

// play sends all rows of a reader, in order.
func (pl *player) play(ctx context.Context, r connectors.Reader, rejected func(connectors.Rejected)) error {
	rows := batch.New(pl.source.Schema)
	start := time.Now()
	first := pl.sent
	limit := 1000
	if pl.rate > 0 {
		limit = max(1, min(limit, int(pl.rate/100)))
	}
	for {
		rows.Reset()
		bad, err := r.Read(ctx, rows, limit)
		for _, b := range bad {
			pl.rejected++
			rejected(b)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := pl.send(ctx, rows); err != nil {
			return err
		}
		if pl.rate > 0 {
			due := start.Add(time.Duration(float64(pl.sent-first) / pl.rate * float64(time.Second)))
			if err := sleepUntil(ctx, due); err != nil {
				return err
			}
		}
	}
}

// send publishes the rows of a batch with the time of now.
func (pl *player) send(ctx context.Context, rows *batch.Batch) error {
	step := rows.N
	if pl.enc.PerRow() {
		step = 1
	}
	now := time.Now().UnixMilli()
	for lo := 0; lo < rows.N; lo += step {
		var err error
		if pl.value, err = pl.enc.Encode(pl.value[:0], rows, lo, lo+step); err != nil {
			return err
		}
		rec := connectors.Record{Value: pl.value, Time: now}
		if pl.key >= 0 && !rows.Cols[pl.key].Null(lo) {
			pl.text = rows.Cols[pl.key].AppendText(pl.text[:0], lo)
			rec.Key = pl.text
		}
		if err := pl.out.Send(ctx, pl.source.Topic, rec); err != nil {
			return err
		}
		pl.sent += int64(step)
	}
	return nil
}

func (pl *player) close(ctx context.Context) error {
	err := pl.out.Flush(ctx)
	return errors.Join(err, pl.out.Close())
}

func sleepUntil(ctx context.Context, t time.Time) error {
	d := time.Until(t)
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
