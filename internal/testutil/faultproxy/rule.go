package faultproxy

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Match says which requests a rule is for. Empty fields match all.
type Match struct {
	Keys     []kmsg.Key // what is asked for
	ClientID string
	TxnID    string // transactional id, see [Request.TxnID]
	Group    string // consumer group, see [Request.Group]
	Brokers  []int  // indices of proxies
	// Func has the last word. It is called under a lock and must be quick.
	Func func(*Request) bool
}

func (m *Match) match(r *Request) bool {
	return (len(m.Keys) == 0 || slices.Contains(m.Keys, r.Key)) &&
		(len(m.Brokers) == 0 || slices.Contains(m.Brokers, r.Broker)) &&
		(m.ClientID == "" || m.ClientID == r.ClientID) &&
		(m.TxnID == "" || m.TxnID == r.TxnID()) &&
		(m.Group == "" || m.Group == r.Group()) &&
		(m.Func == nil || m.Func(r))
}

// Action is what happens to a request that a rule chose.
type Action uint8

const (
	// DropRequest loses the request before the broker has it, and the connection with it.
	DropRequest Action = iota + 1
	// DropResponse lets the broker do what is asked, and loses its answer and the connection.
	DropResponse
	// DelayRequest keeps the request, and what comes behind it, for Rule.Delay.
	DelayRequest
	// DelayResponse keeps the broker's answer, and what comes behind it, for Rule.Delay.
	DelayResponse
	// Duplicate hands the request to the broker twice, one right after the other; the client sees the first answer.
	Duplicate
	// Hold keeps the request, and what comes behind it, until [Injection.Release], until a request that Rule.Until
	// matches was answered, or until the proxy closes. Then the broker gets it, whether its client still waits or not.
	Hold
)

func (a Action) String() string {
	names := [...]string{"?", "drop request", "drop response", "delay request", "delay response", "duplicate", "hold"}
	if int(a) >= len(names) {
		a = 0
	}
	return names[a]
}

// Rule injects a fault into some of the requests it matches. Of several rules that match a request the first added one that
// still has something to do gets it.
type Rule struct {
	Name   string // for messages; default the action and the keys
	Match  Match
	Action Action
	Skip   int           // so many matching requests pass first
	Times  int           // so many are hit then; 0 means 1, negative all
	Delay  time.Duration // of DelayRequest and DelayResponse
	// Silent lets a connection that lost something stand open and carry nothing any more, so that clients have to time
	// out, rather than be reset. Of DropRequest and DropResponse.
	Silent bool
	// Cut resets the client's connection when a request of it is held: the client goes on elsewhere. Of Hold.
	Cut bool
	// Until releases held requests: those of this rule, when the broker has answered a request that it matches and
	// that came after them. Of Hold; the zero value matches nothing.
	Until *Match
}

// Injection is a rule at work. Its methods may be called at any time.
type Injection struct {
	g    *Group
	rule Rule

	mu       sync.Mutex
	seen     int
	hits     int
	observed int
	off      bool
	held     int
	heldSeq  uint64        // of the request held last
	release  chan struct{} // closed to let go what is held
	change   chan struct{} // closed and made anew when observed rises
}

func newInjection(g *Group, r Rule) *Injection {
	if r.Times == 0 {
		r.Times = 1
	}
	if r.Name == "" {
		r.Name = r.Action.String()
		for _, k := range r.Match.Keys {
			r.Name += " " + k.Name()
		}
	}
	return &Injection{g: g, rule: r, release: make(chan struct{}), change: make(chan struct{})}
}

// choose counts a request and reports whether the rule hits it, which it does not if another rule has.
func (i *Injection) choose(r *Request, taken bool) bool {
	if !i.rule.Match.match(r) {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.seen++
	if taken || i.off || i.seen <= i.rule.Skip || i.rule.Times >= 0 && i.hits >= i.rule.Times {
		return false
	}
	i.hits++
	if i.rule.Action == Hold {
		i.held++
		i.heldSeq = r.seq
	}
	return true
}

// Seen returns how many requests matched.
func (i *Injection) Seen() int { i.mu.Lock(); defer i.mu.Unlock(); return i.seen }

// Hits returns how many requests were chosen.
func (i *Injection) Hits() int { i.mu.Lock(); defer i.mu.Unlock(); return i.hits }

// Observed returns how many faults came to pass.
func (i *Injection) Observed() int { i.mu.Lock(); defer i.mu.Unlock(); return i.observed }

// Held returns how many requests are being held now.
func (i *Injection) Held() int { i.mu.Lock(); defer i.mu.Unlock(); return i.held }

// Name returns the rule's name.
func (i *Injection) Name() string { return i.rule.Name }

func (i *Injection) String() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return fmt.Sprintf("%s: %d matched, %d hit, %d observed", i.rule.Name, i.seen, i.hits, i.observed)
}

func (i *Injection) observe() {
	i.mu.Lock()
	i.observed++
	close(i.change)
	i.change = make(chan struct{})
	i.mu.Unlock()
}

// Wait waits until n faults came to pass.
func (i *Injection) Wait(ctx context.Context, n int) error {
	for {
		i.mu.Lock()
		got, change := i.observed, i.change
		i.mu.Unlock()
		if got >= n {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return fmt.Errorf("faultproxy: waiting for %d: %v: %w", n, i, ctx.Err())
		}
	}
}

// Release lets go what is held now; what is held later waits for another call.
func (i *Injection) Release() {
	i.mu.Lock()
	close(i.release)
	i.release = make(chan struct{})
	i.held = 0
	i.mu.Unlock()
}

// Stop ends the rule: no request is chosen any more. What is held stays so until Release.
func (i *Injection) Stop() { i.mu.Lock(); i.off = true; i.mu.Unlock() }

func (i *Injection) released() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.release
}

// answered lets go what is held if the answer to r is what it waits for.
func (i *Injection) answered(r *Request) {
	if i.rule.Action != Hold || i.rule.Until == nil {
		return
	}
	i.mu.Lock()
	waits := i.held > 0 && r.seq > i.heldSeq
	i.mu.Unlock()
	if waits && i.rule.Until.match(r) {
		i.Release()
	}
}
