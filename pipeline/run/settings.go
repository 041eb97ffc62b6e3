package run

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gradstream/gradstream/pipeline"
)

// Settings tells how topics are configured.
type Settings interface {
	// Settings returns the configuration of topics, by topic and key. Those that do
	// not exist, or whose configuration may not be asked for, are left out.
	Settings(ctx context.Context, topics []string) (map[string]map[string]string, error)
}

// compactionLags is how many remote checkpoints a compacted source should leave its
// records alone for.
const compactionLags = 10

// Doubts says what is wrong with the configuration of topics that somebody else has
// made: it does no harm now, and when it does it is too late. Topics whose
// configuration may not be asked for are not doubted.
func Doubts(ctx context.Context, p *pipeline.Pipeline, cluster Settings) (doubts []string, err error) {
	topics := neededTopics(p)
	var names []string
	for _, t := range topics {
		names = append(names, t.Name)
	}
	all, err := cluster.Settings(ctx, names)
	if err != nil {
		return nil, err
	}
	for _, t := range topics {
		have := all[t.Name]
		if have == nil {
			continue
		}
		if t.Role == "internal" {
			for _, key := range []string{"cleanup.policy", "retention.ms", "retention.bytes"} {
				if want := t.Config[key]; want != "" && have[key] != want {
					doubts = append(doubts, fmt.Sprintf("topic %s has %s=%s, expected %s: what the brokers remove of it by themselves may be needed to go on, behind a long stop say", t.Name, key, have[key], want))
				}
			}
		}
		least := compactionLags * p.Checkpoint.Remote
		if ms, _ := strconv.ParseInt(have["min.compaction.lag.ms"], 10, 64); t.Role == "source" && strings.Contains(have["cleanup.policy"], "compact") && ms < int64(least/time.Millisecond) {
			doubts = append(doubts, fmt.Sprintf("source topic %s is compacted, with min.compaction.lag.ms=%d: records that a restore has to read again may be gone, and it fails then; expected %d (%d times checkpoint.remote) or more",
				t.Name, ms, least/time.Millisecond, compactionLags))
		}
	}
	return doubts, nil
}
