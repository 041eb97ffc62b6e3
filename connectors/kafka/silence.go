package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// silence is how often the log hears of brokers that do not answer: what waits for
// them says so together, in one line now and then, not each task and each
// connection for itself.
type silence struct {
	mu   sync.Mutex
	said time.Time // by whoever waits for brokers
	met  time.Time // by clients, which are given a moment at first
}

func newSilence() *silence { return &silence{met: time.Now()} }

// tell reports whether the log should hear of brokers that are waited for: it has
// not for so long.
func (s *silence) tell(every time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.said) < every {
		return false
	}
	s.said = now
	return true
}

// clientEvery is how often at most the log hears of what clients meet, unless it
// hears of it from whoever waits for them.
const clientEvery = 15 * time.Second

// tellClient reports whether the log should hear of what a client has met.
func (s *silence) tellClient() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.said) < clientEvery || now.Sub(s.met) < clientEvery {
		return false
	}
	s.met = now
	return true
}

// wait is one attempt after another to do something with the brokers.
type wait struct {
	c     *Cluster
	doing string
	begun time.Time
	tries int
	why   error // what the latest attempt ended with, other than being given up
}

// connecting is what is done first.
const connecting = "connecting"

func (c *Cluster) wait(doing string) *wait { return &wait{c: c, doing: doing, begun: time.Now()} }

// failed notes how an attempt ended. It returns an error once there have been
// attempts for longer than the brokers are waited for.
func (w *wait) failed(err error) error {
	o := &w.c.opt
	w.tries++
	if w.why == nil || !errors.Is(err, context.DeadlineExceeded) {
		w.why = err
	}
	waited := time.Since(w.begun)
	if o.GiveUp > 0 && waited >= o.GiveUp {
		return w.givenUp()
	}
	if o.GiveUp <= 0 && waited >= o.Patience && w.c.silence.tell(2*o.Patience) {
		w.c.log.Warn("Kafka does not answer as it should; trying on", "doing", w.doing, "brokers", strings.Join(o.Brokers, ", "), "tries", w.tries, "err", w.why)
	}
	return nil
}

// givenUp is the error of brokers that were waited for in vain.
func (w *wait) givenUp() error {
	o := &w.c.opt
	why := w.why
	if errors.Is(why, context.DeadlineExceeded) {
		why = errors.New("nothing is answered")
	}
	where := strings.Join(o.Brokers, ", ")
	text := fmt.Sprintf("no Kafka broker answers at %s", where)
	if w.doing != connecting {
		text = fmt.Sprintf("%s: Kafka at %s does not answer as it should", w.doing, where)
	}
	if s := suspicion(w.why, o); s != "" {
		why = fmt.Errorf("%w; %s", why, s)
	}
	return fmt.Errorf("%s, given up after %v: %w; check kafka.brokers, that the brokers run, and that this machine reaches them at the addresses they advertise",
		text, o.GiveUp, why)
}

// bounded returns a context that ends when brokers have been waited for long enough.
func (c *Cluster) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.opt.GiveUp <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.opt.GiveUp)
}
