package faultproxy

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
)

// conn is one client's connection and the one to the broker behind it.
type conn struct {
	p              *Proxy
	client, broker net.Conn
	done           chan struct{} // closed when the connection is over, both ways
	over           sync.Once

	holding atomic.Bool // a request is held: the broker's side must live
	mute    atomic.Bool // nothing passes any more, either way
	gone    atomic.Bool // the client's side is closed

	mu      sync.Mutex
	pending []*Request // sent to the broker and not answered, in order
	twins   int32
}

// serve carries one connection until it ends.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	select {
	case <-p.known:
	case <-p.g.ctx.Done():
		return
	}
	broker, err := p.g.opts.Dial(p.g.ctx, *p.target.Load())
	if err != nil {
		resetConn(client)
		return
	}
	defer broker.Close()
	c := &conn{p: p, client: client, broker: broker, done: make(chan struct{})}
	p.mu.Lock()
	p.conns[c] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.conns, c)
		p.mu.Unlock()
	}()
	if p.g.ctx.Err() != nil { // closed before it was listed
		return
	}
	var down sync.WaitGroup
	down.Go(c.down)
	c.up()
	c.end()
	down.Wait()
}

// end closes both sides.
func (c *conn) end() {
	c.over.Do(func() {
		close(c.done)
		_ = c.client.Close()
		_ = c.broker.Close()
	})
}

func (c *conn) reset(side net.Conn) {
	if side == c.client {
		c.gone.Store(true)
	}
	resetConn(side)
}

// resetConn closes with a reset rather than in good order.
func resetConn(side net.Conn) {
	if t, ok := side.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = side.Close()
}

// up carries requests.
func (c *conn) up() {
	g := c.p.g
	for {
		frame, err := readFrame(c.client)
		if err != nil {
			return
		}
		r, err := parseRequest(c.p.id, frame)
		if err != nil {
			g.log.Warn("a request that is not understood", "broker", c.p.id, "err", err)
			return
		}
		if c.mute.Load() {
			continue
		}
		if r.rule = g.choose(r); r.rule != nil {
			g.log.Info("injecting", "rule", r.rule.rule.Name, "broker", c.p.id, "request", r.Key.Name(), "client", r.ClientID)
			if !c.inject(r) {
				return
			}
			continue
		}
		if !c.send(r) {
			return
		}
	}
}

// inject does what a request's rule says. It returns false if the connection is over.
func (c *conn) inject(r *Request) bool {
	i := r.rule
	switch i.rule.Action {
	case DropRequest:
		i.observe()
		return c.lose(i)
	case DelayRequest:
		return sleep(i.rule.Delay, c.done) && c.send(r)
	case Duplicate:
		c.mu.Lock()
		c.twins++
		twin := r.copyAs(-1000 - c.twins) // clients count from 0
		c.mu.Unlock()
		return c.send(r) && c.send(twin)
	case Hold:
		return c.hold(r)
	default: // of answers
		return c.send(r)
	}
}

// lose ends the connection's use. It returns false if the connection is over.
func (c *conn) lose(i *Injection) bool {
	if i.rule.Silent {
		c.mute.Store(true)
		return true
	}
	c.reset(c.client)
	return false
}

// hold keeps a request until it is let go, then hands it to the broker and waits for the answer.
func (c *conn) hold(r *Request) bool {
	i := r.rule
	released := i.released()
	c.holding.Store(true)
	defer c.holding.Store(false)
	if i.rule.Cut {
		c.reset(c.client)
	}
	select {
	case <-released:
	case <-c.done:
		return false
	case <-c.p.g.ctx.Done():
		return false
	}
	answer := make(chan struct{})
	c.mu.Lock()
	r.answer = answer
	c.mu.Unlock()
	if !c.send(r) {
		return false
	}
	if r.noAnswer() {
		return !c.gone.Load()
	}
	// The client may be gone: only the answer says that the broker has it.
	select {
	case <-answer:
		return !c.gone.Load()
	case <-c.done:
		return false
	case <-c.p.g.ctx.Done():
		return false
	}
}

// send hands a request to the broker.
func (c *conn) send(r *Request) bool {
	if !c.p.pass(ToBroker, len(r.frame), c.done) {
		return false
	}
	if !r.noAnswer() {
		c.mu.Lock()
		c.pending = append(c.pending, r)
		c.mu.Unlock()
	}
	_, err := c.broker.Write(r.frame)
	return err == nil
}

// take finds the request that an answer is for; brokers answer in order, so those before it were never answered.
func (c *conn) take(id int32) *Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, r := range c.pending {
		if r.Correlation == id {
			c.pending = append(c.pending[:0:0], c.pending[k+1:]...)
			return r
		}
	}
	return nil
}

// down carries answers.
func (c *conn) down() {
	defer c.end()
	for {
		frame, err := readFrame(c.broker)
		if err != nil || len(frame) < 8 {
			return
		}
		r := c.take(int32(binary.BigEndian.Uint32(frame[4:])))
		if r == nil { // of a protocol we do not know
			r = &Request{Broker: c.p.id}
		}
		if !c.answer(r, frame) {
			return
		}
		c.p.g.answered(r)
	}
}

// answer hands an answer to the client, or does with it what a rule says. It returns false if the connection is over.
func (c *conn) answer(r *Request, frame []byte) bool {
	if r.answer != nil {
		defer close(r.answer)
	}
	if i := r.rule; i != nil {
		// Counted before the client can know of it. The broker has answered, so it has what was late, held or doubled.
		switch {
		case r.twin:
			i.observe()
			return true
		case i.rule.Action == DropResponse:
			i.observe()
			return c.lose(i)
		case i.rule.Action == DelayResponse:
			if !sleep(i.rule.Delay, c.done) {
				return false
			}
			i.observe()
		case i.rule.Action == DelayRequest || i.rule.Action == Hold:
			i.observe()
		}
	}
	if c.mute.Load() {
		return true
	}
	if !c.p.pass(ToClient, len(frame), c.done) {
		return false
	}
	if _, err := c.client.Write(frame); err != nil {
		c.gone.Store(true)
		return c.holding.Load() // the broker's answer to what is held is still wanted
	}
	return true
}
