package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a [Group]. The zero value is good.
type Options struct {
	// Listen opens the listener of proxy i; default any free port of 127.0.0.1.
	Listen func(i int) (net.Listener, error)
	// Dial connects to a broker; default TCP within 5 seconds.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	Log  *slog.Logger // every injection, at level info; nil: none
}

// Direction is a way that bytes go.
type Direction uint8

// Directions; both is their sum.
const (
	ToBroker Direction = 1 << iota
	ToClient
	Both = ToBroker | ToClient
)

// Group is the proxies of one cluster's brokers, and their rules. Its methods may be called at the same time.
type Group struct {
	opts    Options
	log     *slog.Logger
	proxies []*Proxy
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu    sync.Mutex
	rules []*Injection
	seq   uint64 // requests so far
}

// New listens for n brokers. Connections that come before [Group.Target] wait for it.
func New(n int, o Options) (*Group, error) {
	if o.Listen == nil {
		o.Listen = func(int) (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g := &Group{opts: o, log: o.Log}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	for i := range n {
		l, err := o.Listen(i)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("faultproxy: proxy %d: %w", i, err), g.Close())
		}
		p := &Proxy{g: g, id: i, ln: l, known: make(chan struct{}), conns: map[*conn]struct{}{}, gate: make(chan struct{})}
		g.proxies = append(g.proxies, p)
		g.wg.Go(p.accept)
	}
	return g, nil
}

// Close cuts all connections and ends all goroutines. It may be called again.
func (g *Group) Close() error {
	g.cancel()
	for _, p := range g.proxies {
		_ = p.ln.Close()
		p.mu.Lock()
		for c := range p.conns {
			c.end()
		}
		p.mu.Unlock()
	}
	g.wg.Wait()
	return nil
}

// Proxy returns the proxy of broker i.
func (g *Group) Proxy(i int) *Proxy { return g.proxies[i] }

// Addr returns the address of proxy i, host:port, which broker i has to advertise.
func (g *Group) Addr(i int) string { return g.proxies[i].ln.Addr().String() }

// Addrs returns the addresses of all proxies.
func (g *Group) Addrs() []string {
	var all []string
	for i := range g.proxies {
		all = append(all, g.Addr(i))
	}
	return all
}

// Target says where broker i listens. It may be called again, for connections to come.
func (g *Group) Target(i int, addr string) {
	p := g.proxies[i]
	if p.target.Swap(&addr) == nil {
		close(p.known)
	}
}

// Add puts a rule to work.
func (g *Group) Add(r Rule) *Injection {
	i := newInjection(g, r)
	g.mu.Lock()
	g.rules = append(g.rules, i)
	g.mu.Unlock()
	return i
}

// choose finds the rule for a request.
func (g *Group) choose(r *Request) *Injection {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seq++
	r.seq = g.seq
	var first *Injection
	for _, i := range g.rules {
		if i.choose(r, first != nil) {
			first = i
		}
	}
	return first
}

func (g *Group) answered(r *Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, i := range g.rules {
		i.answered(r)
	}
}

// Cut resets all connections of all proxies and returns how many.
func (g *Group) Cut() int {
	n := 0
	for _, p := range g.proxies {
		n += p.Cut()
	}
	return n
}

// Stall calls [Proxy.Stall] on all proxies.
func (g *Group) Stall(d Direction) {
	for _, p := range g.proxies {
		p.Stall(d)
	}
}

// Heal undoes Stall, Refuse, Throttle of all proxies. Rules stay.
func (g *Group) Heal() {
	for _, p := range g.proxies {
		p.Heal()
	}
}

// Counts are what a proxy's faults beside the rules did so far.
type Counts struct {
	Connections int64 // accepted
	Cut         int64 // connections reset
	Refused     int64 // connections turned away
	Stalled     int64 // frames that had to wait for Heal
	Throttled   int64 // frames that were slowed down
	Bytes       int64 // passed on, both ways together
}

// Counts returns the sums over all proxies.
func (g *Group) Counts() Counts {
	var all Counts
	for _, p := range g.proxies {
		c := p.Counts()
		all.Connections += c.Connections
		all.Cut += c.Cut
		all.Refused += c.Refused
		all.Stalled += c.Stalled
		all.Throttled += c.Throttled
		all.Bytes += c.Bytes
	}
	return all
}

// Proxy stands in front of one broker.
type Proxy struct {
	g      *Group
	id     int
	ln     net.Listener
	target atomic.Pointer[string]
	known  chan struct{} // closed once target is set

	connections, cut, refused, stalled, throttled, bytes atomic.Int64

	mu     sync.Mutex
	conns  map[*conn]struct{}
	stall  Direction
	gate   chan struct{} // closed when stall changes
	refuse bool
	rate   int
	next   [2]time.Time // when the throttled link is free again, by direction
}

// Counts returns what faults beside the rules did.
func (p *Proxy) Counts() Counts {
	return Counts{p.connections.Load(), p.cut.Load(), p.refused.Load(), p.stalled.Load(), p.throttled.Load(), p.bytes.Load()}
}

// Cut resets all connections, those that hold a request included (it still reaches the broker), and returns how many.
func (p *Proxy) Cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.reset(c.client)
		if !c.holding.Load() {
			c.reset(c.broker)
			c.end()
		}
	}
	p.cut.Add(int64(len(p.conns)))
	return len(p.conns)
}

// Stall stops what goes in the directions: the half-open connection, or the network's partition. Connections stay, new
// ones are accepted, nothing passes until Heal, when it all does.
func (p *Proxy) Stall(d Direction) {
	p.mu.Lock()
	p.stall |= d
	p.changed()
	p.mu.Unlock()
}

// Refuse turns new connections away, as a broker does that is not there. Those that exist go on.
func (p *Proxy) Refuse() { p.mu.Lock(); p.refuse = true; p.mu.Unlock() }

// Throttle bounds what passes in each direction, all connections together, to so many bytes a second; 0 lifts it.
func (p *Proxy) Throttle(bytesPerSecond int) {
	p.mu.Lock()
	p.rate = bytesPerSecond
	p.next = [2]time.Time{}
	p.mu.Unlock()
}

// Heal undoes Stall, Refuse and Throttle.
func (p *Proxy) Heal() {
	p.mu.Lock()
	p.stall, p.refuse, p.rate = 0, false, 0
	p.changed()
	p.mu.Unlock()
}

func (p *Proxy) changed() {
	close(p.gate)
	p.gate = make(chan struct{})
}

// pass waits until a frame of n bytes may go on, or done is closed.
func (p *Proxy) pass(d Direction, n int, done <-chan struct{}) bool {
	for waited := false; ; waited = true {
		p.mu.Lock()
		stalled, gate := p.stall&d != 0, p.gate
		p.mu.Unlock()
		if !stalled {
			break
		}
		if !waited {
			p.stalled.Add(1)
		}
		select {
		case <-gate:
		case <-done:
			return false
		}
	}
	p.bytes.Add(int64(n))
	p.mu.Lock()
	wait := time.Duration(0)
	if p.rate > 0 {
		now, free := time.Now(), &p.next[d-1]
		if free.Before(now) {
			*free = now
		}
		*free = free.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
		wait = free.Sub(now)
	}
	p.mu.Unlock()
	if wait <= 0 {
		return true
	}
	p.throttled.Add(1)
	return sleep(wait, done)
}

func sleep(d time.Duration, done <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-done:
		return false
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			if p.g.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			if !sleep(10*time.Millisecond, p.g.ctx.Done()) { // out of file descriptors
				return
			}
			continue
		}
		p.mu.Lock()
		refuse := p.refuse
		p.mu.Unlock()
		if refuse {
			p.refused.Add(1)
			resetConn(client)
			continue
		}
		p.connections.Add(1)
		p.g.wg.Go(func() { p.serve(client) })
	}
}

// Listener returns l under another address: a broker that says where it listens by what its listener says (the one of kfake)
// advertises that one.
func Listener(l net.Listener, addr string) (net.Listener, error) {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &renamed{l, a}, nil
}

type renamed struct {
	net.Listener
	addr net.Addr
}

func (r *renamed) Addr() net.Addr { return r.addr }
