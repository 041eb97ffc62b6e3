//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/internal/testutil/faultproxy"
	"github.com/gradstream/gradstream/internal/testutil/realkafka"
)

// site is a cluster behind proxies. Workers reach it through them, the harness on the listeners that brokers use among
// themselves.
type site struct {
	*realkafka.Cluster
	proxies *faultproxy.Group // what workers go through
	cl      *kgo.Client
	adm     *kadm.Client
}

func newSite(ctx context.Context, dir string, n int) (s *site, err error) {
	s = &site{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.proxies, err = faultproxy.New(n, faultproxy.Options{}); err != nil {
		return s, err
	}
	o := realkafka.Options{Brokers: n, Advertise: s.proxies.Addr, HeapMB: 384}
	if s.Cluster, err = realkafka.Run(ctx, dir, o); err != nil {
		return s, err
	}
	for i := range n {
		s.proxies.Target(i, s.Broker(i).Addr())
	}
	if s.cl, err = kgo.NewClient(kgo.SeedBrokers(s.past()...)); err != nil {
		return s, err
	}
	s.adm = kadm.NewClient(s.cl)
	return s, nil
}

// past returns addresses that lead around the proxies: those that brokers use among themselves.
func (s *site) past() []string {
	var all []string
	for i := range s.Brokers() {
		all = append(all, s.Broker(i).PeerAddr())
	}
	return all
}

func (s *site) close() error {
	if s == nil {
		return nil
	}
	if s.cl != nil {
		s.cl.Close()
	}
	var err error
	if s.Cluster != nil {
		err = s.Cluster.Close()
	}
	if s.proxies != nil {
		err = errors.Join(err, s.proxies.Close())
	}
	return err
}

// start starts brokers that are down, all at once: alone they would have no quorum.
func (s *site) start(ctx context.Context) error {
	errs := make([]error, s.Brokers())
	var wg sync.WaitGroup
	for i := range s.Brokers() {
		if b := s.Broker(i); b.PID() == 0 {
			wg.Go(func() { errs[i] = b.Start(ctx) })
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

// leader returns which broker leads a partition, coordinators which coordinate a transactional id and a group.
func (s *site) leader(ctx context.Context, topic string, partition int32) (int, error) {
	d, err := s.adm.ListTopics(ctx, topic)
	if err != nil {
		return 0, err
	}
	p, ok := d[topic].Partitions[partition]
	if !ok || p.Leader < 1 {
		return 0, fmt.Errorf("%s[%d] has no leader", topic, partition)
	}
	return int(p.Leader) - 1, nil
}

func (s *site) txnCoordinator(ctx context.Context, id string) (int, error) {
	r := s.adm.FindTxnCoordinators(ctx, id)[id]
	return int(r.NodeID) - 1, r.Err
}

func (s *site) groupCoordinator(ctx context.Context, group string) (int, error) {
	r := s.adm.FindGroupCoordinators(ctx, group)[group]
	return int(r.NodeID) - 1, r.Err
}
