package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gradstream/gradstream/bench/peers"
)

// peerCommit is how often peers commit over the backlog. Those with transactions do best with a long interval there; where
// latency is measured they commit as often as gradstream does.
const peerCommit = time.Second

// leftOut is a peer that could not be built here.
type leftOut struct {
	Peer string `json:"peer"`
	Why  string `json:"why"`
}

// parsePeers reads the value of -peers.
func parsePeers(text string) (chosen []peers.Peer, err error) {
	switch text {
	case "":
		return nil, nil
	case "all":
		return peers.All, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		p, ok := peers.Find(name)
		if !ok || slices.ContainsFunc(chosen, func(q peers.Peer) bool { return q.Name == name }) {
			return nil, fmt.Errorf("no peer %q, or twice", name)
		}
		chosen = append(chosen, p)
	}
	return chosen, nil
}

// buildPeers builds what was chosen and says which peers are left out.
func (h *harness) buildPeers(ctx context.Context) (left []leftOut, err error) {
	h.commands = map[string]func(peers.Task) []string{}
	for _, p := range h.peers {
		say("building %s: %s", p.Name, p.About)
		run, err := p.Build(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			say("LEFT OUT: %v", err)
			why := err.Error()
			if errors.Is(err, peers.ErrUnavailable) {
				why, _, _ = strings.Cut(why, "\n")
			}
			left = append(left, leftOut{p.Name, why})
			continue
		}
		h.commands[p.Name] = run
	}
	h.peers = slices.DeleteFunc(slices.Clone(h.peers), func(p peers.Peer) bool { return h.commands[p.Name] == nil })
	return left, nil
}

// order is what runs in a round, from 1: the order turns from round to round. Slow peers are at its end, in the first alone
// unless they are wanted in each.
func order(variants []string, chosen []peers.Peer, round int, slowEach bool) []string {
	turning := slices.Clone(variants)
	var slow []string
	for _, p := range chosen {
		if !p.Slow {
			turning = append(turning, p.Name)
		} else if round == 1 || slowEach {
			slow = append(slow, p.Name)
		}
	}
	if n := len(turning); n > 0 {
		by := (round - 1) % n
		turning = append(turning[by:len(turning):len(turning)], turning[:by]...)
	}
	return append(turning, slow...)
}

// isPeer reports whether a variant is one of the peers.
func isPeer(variant string) bool {
	_, ok := peers.Find(variant)
	return ok
}
