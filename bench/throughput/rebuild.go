package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// journaled is what the journal of a run says of it.
type journaled struct {
	Tasks        int     `json:"tasks"`
	Transactions int64   `json:"transactions"`
	PerTxn       float64 `json:"transactions_per_second"`
	Rebuilt      int     `json:"rebuilt,omitempty"` // tasks whose digest came out of the journal as the run left it
	Seconds      float64 `json:"rebuild_seconds,omitempty"`
}

func (j *journaled) String() string {
	s := fmt.Sprintf("%d tasks, %d transactions, %.0f/s", j.Tasks, j.Transactions, j.PerTxn)
	if j.Rebuilt > 0 {
		s += fmt.Sprintf(", %d tasks rebuilt in %.1f s with the run's own digests", j.Rebuilt, j.Seconds)
	}
	return s
}

// transactions counts a pipeline's tasks and the transactions that they have committed.
func (h *harness) transactions(ctx context.Context, name string) (tasks int, n int64, err error) {
	ends, err := h.adm.ListEndOffsets(ctx, name+".journal")
	if err == nil {
		err = ends.Error()
	}
	ends.Each(func(o kadm.ListedOffset) {
		tasks++
		n += o.Offset / 2 // each has one record and one marker there
	})
	return tasks, n, err
}

// journaled counts the transactions of a run over a topic, and rebuilds its tasks if that is asked for.
func (h *harness) journaled(ctx context.Context, variant, from, name string) (j *journaled, err error) {
	j = &journaled{}
	if j.Tasks, j.Transactions, err = h.transactions(ctx, name); err != nil || !h.rebuild {
		return j, err
	}
	begun := time.Now()
	env := append(os.Environ(), h.environment(name, variant, from, h.commit)...)
	for task := range j.Tasks {
		var past struct {
			Step, Last uint64
			Digest     string
		}
		out, err := h.command(ctx, env, "replay", h.pipelineFile(), "--task", strconv.Itoa(task), "--json")
		if err == nil {
			err = json.Unmarshal(out, &past)
		}
		if err != nil {
			return nil, fmt.Errorf("rebuilding task %d: %w", task, err)
		}
		shown, err := h.command(ctx, env, "state", "show", h.pipelineFile(), "--task", strconv.Itoa(task))
		if err != nil {
			return nil, err
		}
		m := regexp.MustCompile(`\n  digest +([0-9a-f]{16})\n`).FindSubmatch(shown)
		if m == nil || past.Step != past.Last || string(m[1]) != past.Digest {
			return nil, fmt.Errorf("task %d: rebuilt to step %d of %d with digest %s, the run's last checkpoint is\n%s", task, past.Step, past.Last, past.Digest, shown)
		}
		j.Rebuilt++
	}
	j.Seconds = time.Since(begun).Seconds()
	return j, nil
}

func (h *harness) command(ctx context.Context, env []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, h.binary, args...)
	var said bytes.Buffer
	cmd.Env, cmd.Stderr = env, &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("gradstream %s: %w\n%s", args[0], err, said.String())
	}
	return out, nil
}
