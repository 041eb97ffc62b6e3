package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gradstream/gradstream/connectors"
)

// cutter dials connections that break at chosen requests: before the request is
// sent, or after the broker has answered it and before the client hears.
type cutter struct {
	mu     sync.Mutex
	key    kmsg.Key
	answer bool         // cut the answer, not the request
	skip   atomic.Int64 // how many requests to let pass first
	left   atomic.Int64 // how often
}

// aim chooses requests anew.
func (c *cutter) aim(key kmsg.Key, answer bool, skip, times int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.key, c.answer = key, answer
	c.skip.Store(skip)
	c.left.Store(times)
}

func (c *cutter) target() (kmsg.Key, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.key, c.answer
}

func (c *cutter) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &cutConn{Conn: conn, c: c}, nil
}

type cutConn struct {
	net.Conn
	c       *cutter
	pending atomic.Bool
}

func (c *cutConn) Write(b []byte) (int, error) {
	key, answer := c.c.target()
	if len(b) >= 6 && int16(binary.BigEndian.Uint16(b[4:])) == key.Int16() && c.c.skip.Add(-1) < 0 && c.c.left.Add(-1) >= 0 {
		if !answer {
			c.Close()
			return 0, errors.New("cut before the request")
		}
		c.pending.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.pending.Load() {
		c.Close()
		return 0, io.EOF
	}
	return n, err
}

// A connection that breaks at any request of a step costs no output and repeats
// none: once, where the client tries again by itself, and for so long that it
// gives up.
func TestCutConnections(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		for i, key := range []kmsg.Key{kmsg.Produce, kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn} {
			outputs := i == 1 // the journal record is sent first
			for _, answer := range []bool{false, true} {
				for _, times := range []int64{1, 3} {
					name := key.Name() + map[bool]string{false: " request", true: " answer"}[answer] + map[int64]string{1: " once", 3: " often"}[times]
					if outputs {
						name += " of outputs"
					}
					t.Run(name, func(t *testing.T) {
						e := &env{addr: e.addr, fake: e.fake, name: uniqueName(t)}
						cut := &cutter{key: key, answer: answer}
						c := e.open(t, 1, func(o *Options) {
							o.Dialer = cut.dial
							o.TransactionTimeout = 20 * time.Second
							if times > 1 {
								o.extra = []kgo.Opt{kgo.RetryTimeoutFn(func(k int16) time.Duration {
									if k == key.Int16() {
										return time.Millisecond
									}
									return 30 * time.Second
								})}
							}
						})
						l := fenced(t, c, 0, "open")
						mustCommit(t, l, e.step(1, 3, 0))
						if outputs {
							cut.skip.Store(1)
						}
						cut.left.Store(times)
						mustCommit(t, l, e.step(2, 3, 0))
						if cut.left.Load() == times {
							t.Fatal("nothing was cut")
						}
						cut.left.Store(0)
						last := mustCommit(t, l, e.step(3, 3, 0))
						equal(t, "outputs", e.committed(t, e.name+".out", 0), want([]int{1, 2, 3}, 3))
						if key == kmsg.EndTxn && answer {
							// It was committed and only that was not heard: nothing was sent again.
							equal(t, "everything ever sent", e.read(t, e.name+".out", 0, false), want([]int{1, 2, 3}, 3))
						}
						got := slices.DeleteFunc(journal(t, l, connectors.Earliest, last), func(s string) bool { return s == "open" })
						equal(t, "journal", got, []string{"step 1", "step 2", "step 3"})
						ps, err := l.Offsets(testContext(t))
						if err != nil || len(ps) != 1 || ps[0].Next != 3 {
							t.Errorf("positions: %v %v, want 3", ps, err)
						}
					})
				}
			}
		}
	})
}
