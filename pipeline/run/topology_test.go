package run

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/connectors"
)

// besides is a cluster of which another worker makes use at the same time.
type besides struct {
	*simCluster
	other func() // called once, when the topics were looked at
}

func (b *besides) Committed(ctx context.Context) ([]connectors.Position, error) {
	if f := b.other; f != nil {
		b.other = nil
		f()
	}
	return b.simCluster.Committed(ctx)
}

// forbidding is a cluster that creates all topics but one.
type forbidding struct {
	*simCluster
	topic string
}

var errForbidden = errors.New("a policy of the brokers forbids it")

func (f *forbidding) Create(ctx context.Context, topics []connectors.Topic) error {
	rest := slices.DeleteFunc(slices.Clone(topics), func(t connectors.Topic) bool { return t.Name == f.topic })
	if err := f.simCluster.Create(ctx, rest); err != nil || len(rest) == len(topics) {
		return err
	}
	return errForbidden
}

// TestPrepareRefused: what is said is why a topic may not be created, and not that it
// is missing beside those that were created with it.
func TestPrepareRefused(t *testing.T) {
	p := parse(t, shopYAML)
	for _, topic := range []string{JournalTopic(p), p.Sinks[0].Topic} {
		c := &forbidding{&simCluster{simBroker: newSimBroker(1)}, topic}
		if _, err := Prepare(t.Context(), p, c, true); !errors.Is(err, errForbidden) {
			t.Errorf("without %s: %v", topic, err)
		}
	}
}

// TestPrepareTogether starts two workers of a new pipeline at once: the other has
// created the topics, and perhaps committed steps, when this one is about to.
func TestPrepareTogether(t *testing.T) {
	p := parse(t, shopYAML)
	for name, committed := range map[string]bool{"created": false, "committed": true} {
		t.Run(name, func(t *testing.T) {
			c := &besides{simCluster: &simCluster{simBroker: newSimBroker(1)}}
			var first *Topology
			c.other = func() {
				var err error
				if first, err = Prepare(t.Context(), p, c, true); err != nil {
					t.Fatal(err)
				}
				if committed {
					c.group[connectors.TopicPartition{Topic: p.Sources[0].Topic}] = 7
				}
			}
			topo, err := Prepare(t.Context(), p, c, true)
			if err != nil {
				t.Fatal(err)
			}
			if topo.Tasks != first.Tasks || !maps.Equal(topo.Sinks, first.Sinks) || !slices.EqualFunc(topo.Stages[0].Topics, first.Stages[0].Topics,
				func(a, b connectors.TopicInfo) bool { return a.ID == b.ID }) {
				t.Errorf("%+v, the other has %+v", topo, first)
			}
		})
	}
	t.Run("gone", func(t *testing.T) {
		c := &besides{simCluster: &simCluster{simBroker: newSimBroker(1)}}
		if _, err := Prepare(t.Context(), p, c, true); err != nil {
			t.Fatal(err)
		}
		delete(c.topics, StateTopic(p))
		if _, err := Prepare(t.Context(), p, c, true); err == nil || !strings.Contains(err.Error(), StateTopic(p)+" does not") {
			t.Errorf("without the state topic: %v", err)
		}
	})
}
