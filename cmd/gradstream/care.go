package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/gradstream/gradstream/pipeline/run"
)

// care is what gradstream run does about records and losses that it cannot cope
// with.
type care struct {
	policy      string
	quarantines int
	watchdog    time.Duration
}

func (r *care) add(c *cobra.Command) {
	c.Flags().StringVar(&r.policy, "policy", run.PolicyFail, "when state cannot be rebuilt or unread input is gone: fail, accept_gap (go on with the newest state there is) or from_scratch (go on with an empty state); what is lost is recorded in the journal")
	c.Flags().IntVar(&r.quarantines, "quarantines", 100, "records on which something fails that may be moved to an errors topic within an hour; one more, and the pipeline fails; 0 = none")
	c.Flags().DurationVar(&r.watchdog, "watchdog", time.Minute, "time an operator may take for a batch of records until the process gives up and exits; 0 = for ever")
}

// options checks the flags.
func (r *care) options(o *run.Options) error {
	switch r.policy {
	case "", run.PolicyFail, run.PolicyAcceptGap, run.PolicyFromScratch:
	default:
		return wrongInput("--policy %s: expected fail, accept_gap or from_scratch", r.policy)
	}
	if r.quarantines < 0 {
		return wrongInput("--quarantines %d: expected 0 or more", r.quarantines)
	}
	if r.watchdog < 0 || r.watchdog > 0 && r.watchdog < time.Second {
		return wrongInput("--watchdog %v: expected 0, or a second or more", r.watchdog)
	}
	o.Policy, o.MaxQuarantines, o.Watchdog = r.policy, r.quarantines, r.watchdog
	if r.quarantines == 0 {
		o.MaxQuarantines = -1
	}
	if r.watchdog == 0 {
		o.Watchdog = -1
	}
	return nil
}

// defaultCare is that of commands without the flags.
var defaultCare = care{policy: run.PolicyFail, quarantines: 100, watchdog: time.Minute}
