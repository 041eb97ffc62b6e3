package kafka

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gradstream/gradstream/connectors"
)

// closedPort is an address at which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// blackHole takes connections and what is sent on them, and says nothing.
func blackHole(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(io.Discard, c)
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// TestNobodyAnswers opens clusters that are not there: in time there is one line that says
// where, why, and what to look at, and the log has nothing to add.
func TestNobodyAnswers(t *testing.T) {
	for _, c := range []struct {
		name string
		addr func(*testing.T) string
		why  string
	}{
		{"closed port", closedPort, "connection refused"},
		{"black hole", blackHole, "nothing is answered"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr, log := c.addr(t), &bytes.Buffer{}
			begun := time.Now()
			_, err := Open(t.Context(), Options{Brokers: []string{addr}, Pipeline: "p", GiveUp: 900 * time.Millisecond, Log: slog.New(slog.NewTextHandler(log, nil))})
			if err == nil || !strings.Contains(err.Error(), "no Kafka broker answers at "+addr+", given up after 900ms: ") || !strings.Contains(err.Error(), c.why) ||
				!strings.Contains(err.Error(), "check kafka.brokers") || strings.Contains(err.Error(), "\n") {
				t.Errorf("ended with %v", err)
			}
			if took := time.Since(begun); took < 900*time.Millisecond || took > time.Minute {
				t.Errorf("it took %v", took)
			}
			if log.Len() > 0 {
				t.Errorf("logged\n%s", log)
			}
		})
	}
}

// TestSilentLater takes the brokers away from an open cluster and a producer.
func TestSilentLater(t *testing.T) {
	e, err := StartEmbedded(t.Context(), EmbeddedOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(t.Context(), Options{Brokers: []string{e.Addr()}, Pipeline: "p", GiveUp: 900 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := NewProducer(ProducerOptions{Brokers: []string{e.Addr()}, GiveUp: 900 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Describe(t.Context(), []string{"t"}); err == nil || !strings.Contains(err.Error(), "asking for topics: Kafka at "+e.Addr()+" does not answer as it should, given up after 900ms: ") {
		t.Errorf("described with %v", err)
	}
	err = errors.Join(p.Send(t.Context(), "t", connectors.Record{Value: []byte("v")}), p.Flush(t.Context()))
	if err == nil || !strings.Contains(err.Error(), "Kafka at "+e.Addr()+" has acknowledged nothing for 900ms, 0 records so far") {
		t.Errorf("produced with %v", err)
	}
}

// TestWaitQuietly waits for brokers that are not there: the log says so once, and
// again only after a while, whoever waits.
func TestWaitQuietly(t *testing.T) {
	log := &bytes.Buffer{}
	o := Options{Brokers: []string{closedPort(t)}, Pipeline: "p", Patience: 400 * time.Millisecond, Log: slog.New(slog.NewTextHandler(log, nil))}
	ctx, cancel := context.WithTimeout(t.Context(), 2100*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, o); err == nil || !strings.Contains(err.Error(), "no Kafka broker answers at "+o.Brokers[0]) {
		t.Errorf("ended with %v", err)
	}
	if n := strings.Count(log.String(), "\n"); n < 1 || n > 3 || strings.Count(log.String(), "level=WARN") != n { // one every 800 ms
		t.Errorf("%d lines\n%s", n, log)
	}
}
