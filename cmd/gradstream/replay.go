package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gradstream/gradstream/connectors/file"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/run"
	"github.com/gradstream/gradstream/state/memstore"
	"github.com/gradstream/gradstream/state/pebblestore"
)

// pastFlags are what the commands have in common that rebuild state from the log.
type pastFlags struct {
	fromCheckpoint bool
	fromRemote     bool
	stateDir       string
}

func (f *pastFlags) add(c *cobra.Command) {
	c.Flags().BoolVar(&f.fromCheckpoint, "from-checkpoint", false, "start from a local checkpoint instead of nothing, for a journal that no longer begins at step 1")
	c.Flags().BoolVar(&f.fromRemote, "from-remote", false, "start from the checkpoint in the state topic, which is quicker; done anyway where the journal no longer begins at step 1, or step 1 learnt a file, and no other checkpoint is given")
	c.Flags().StringVar(&f.stateDir, "state", "", "state folder that holds the checkpoint, `DIR/PIPELINE`: of a pipeline that is stopped, or a copy (default: that of the pipeline file)")
}

func (a *app) replayCommand() *cobra.Command {
	var task int
	var to int64
	var exports []string
	var asJSON bool
	flags := &pastFlags{}
	c := &cobra.Command{
		Use:   "replay FILE --task P",
		Short: "Rebuild a task's state, any version of its models, from the log and compare it",
		Long: `replay rebuilds the state of a task as it was behind one of its steps: it feeds the
operators exactly the input that the journal names and compares what comes of it,
the outputs of every step and the digest of every checkpoint, with what the journal
says was published. It only reads: the pipeline may run meanwhile.

It exits with 1 at the first step that comes out differently, and names it.`,
		Args: argFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("to") && to < 1 {
				return wrongInput("--to %d: expected a step, from 1", to)
			}
			if err := checkTask(cmd, task); err != nil {
				return err
			}
			p, err := a.load(args[0])
			if err != nil {
				return err
			}
			paths, err := assignments("--export", exports)
			if err != nil {
				return err
			}
			for _, node := range sortedKeys(paths) {
				if err := hasNode(p, node); err != nil {
					return err
				}
				if err := file.CheckOutput(paths[node]); err != nil { // before the replay, which may take long
					return wrongInput("--export %s: %w", node, err)
				}
			}
			if task < 0 {
				if p.Tasks != 1 {
					return wrongInput("--task is missing; expected the number of a task, from 0")
				}
				task = 0
			}
			return a.replay(cmd.Context(), p, flags, task, uint64(to), paths, asJSON)
		},
	}
	c.Flags().IntVar(&task, "task", -1, "number of the task, from 0")
	c.Flags().Int64Var(&to, "to", 0, "step to stop at (default: the last one committed)")
	c.Flags().StringArrayVar(&exports, "export", nil, "write the weights that a node has then: `NODE=PATH`, a .jsonl or .arrow file as of state export (repeatable)")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as one JSON object")
	flags.add(c)
	a.addSet(c)
	return c
}

func hasNode(p *pipeline.Pipeline, node string) error {
	var names []string
	for _, n := range p.Nodes {
		if n.Name == node {
			return nil
		}
		names = append(names, n.Name)
	}
	return wrongInput("--export %s: the pipeline has no operator %q; it has: %s", node, node, strings.Join(names, ", "))
}

// past opens what a pipeline left on its brokers, and the checkpoint to start
// from if one is asked for.
func (a *app) past(ctx context.Context, p *pipeline.Pipeline, flags *pastFlags) (b *broker, o run.RebuildOptions, closeAll func(), err error) {
	var store *pebblestore.Store
	o = run.RebuildOptions{Formats: formats, Log: a.log, Now: time.Now}
	switch {
	case flags.fromRemote && flags.fromCheckpoint:
		return nil, o, nil, wrongInput("--from-remote and --from-checkpoint: expected one of them")
	case flags.stateDir != "" && !flags.fromCheckpoint:
		return nil, o, nil, wrongInput("--state is of use with --from-checkpoint only")
	case flags.fromCheckpoint && flags.stateDir != "":
		store, err = a.openState(flags.stateDir, nil)
	case flags.fromCheckpoint:
		store, err = a.openState(filepath.Join(p.StateDir, p.Name), nil)
	}
	if errors.Is(err, pebblestore.ErrLocked) {
		err = fmt.Errorf("%w; or give a copy of the folder with --state", errors.Unwrap(err))
	}
	if err != nil {
		return nil, o, nil, err
	}
	closeAll = func() {
		if store != nil {
			_ = store.Close()
		}
	}
	if store != nil {
		if store.Pipeline() != p.Name {
			closeAll()
			return nil, o, nil, wrongInput("--state %s: it is of pipeline %s", flags.stateDir, store.Pipeline())
		}
		o.Checkpoint = store
	}
	if p.Kafka.Embedded() {
		if _, err := os.Stat(filepath.Join(p.StateDir, "broker")); errors.Is(err, fs.ErrNotExist) {
			closeAll()
			return nil, o, nil, wrongInput("there is no embedded broker in %s: the pipeline has never run there", p.StateDir)
		}
	}
	if b, err = a.connect(ctx, p, connectOptions{}); err != nil {
		closeAll()
		return nil, o, nil, err
	}
	closeStore := closeAll
	return b, o, func() { b.close(); closeStore() }, nil
}

// rebuilding calls rebuild, with the checkpoint of the state topic if that is asked
// for, or if the journal does not reach back to step 1, or begins with a file.
func (a *app) rebuilding(ctx context.Context, p *pipeline.Pipeline, b *broker, flags *pastFlags, o *run.RebuildOptions, rebuild func() error) error {
	fetch := func() error {
		store := memstore.New()
		m, err := run.ReadRemote(ctx, p, b.cluster, o.Task, store)
		if err != nil {
			return err
		}
		if o.To > 0 && o.To < m.Step {
			return inputError{fmt.Errorf("step %d comes before the checkpoint in the state topic, which is of step %d; start from an older checkpoint, or from nothing while the journal begins at step 1", o.To, m.Step)}
		}
		o.Checkpoint = store
		return nil
	}
	if flags.fromRemote {
		if err := fetch(); err != nil {
			return err
		}
	}
	err := rebuild()
	if !errors.Is(err, run.ErrTrimmed) && !errors.Is(err, run.ErrHistory) || o.Checkpoint != nil {
		return err
	}
	if e := fetch(); e != nil {
		return fmt.Errorf("%w; %w", err, e)
	}
	a.log.Info("the state cannot be rebuilt from nothing; starting from the checkpoint in the state topic", "reason", err)
	return rebuild()
}

// requested marks what was asked for in vain as wrong input.
func requested(err error) error {
	var wrong *run.WrongRequest
	if errors.As(err, &wrong) {
		return inputError{err}
	}
	return err
}

func (a *app) replay(ctx context.Context, p *pipeline.Pipeline, flags *pastFlags, task int, to uint64, exports map[string]string, asJSON bool) error {
	b, o, done, err := a.past(ctx, p, flags)
	if err != nil {
		return err
	}
	defer done()
	bar := newProgress(a.err)
	o.Task, o.To = task, to
	o.Progress = func(p run.RebuildProgress) { bar.show(int64(p.Step-p.From), int64(p.To-p.From), p.Rows) }
	begun := time.Now()
	var r *run.Rebuilt
	err = a.rebuilding(ctx, p, b, flags, &o, func() (err error) {
		r, err = run.Rebuild(ctx, p, b.cluster, o)
		return err
	})
	bar.done()
	if err != nil {
		return requested(err)
	}
	took := time.Since(begun)
	for _, node := range sortedKeys(exports) {
		if err := a.exportWeights(r, []int{task}, node, exports[node]); err != nil {
			return err
		}
	}
	if asJSON {
		return a.printJSON(replayReport{Pipeline: p.Name, Task: r.Task, From: r.From, Step: r.Step, Last: r.Last, Hash: fmt.Sprintf("%x", r.Hash),
			Time: stamp(r.Clock), Rows: r.Rows, Outputs: r.Outputs, Seconds: took.Seconds(),
			Digest: fmt.Sprintf("%016x", r.Digest), Journaled: hexDigest(r.Journaled), Digests: r.Digests})
	}
	start := "from nothing"
	if r.From > 0 {
		start = fmt.Sprintf("from the checkpoint of step %d", r.From)
	}
	fmt.Fprintf(a.out, "pipeline %s, task %d: replayed %s %s to step %d of %d\n", p.Name, r.Task, count(int(r.Step-r.From), "step"), start, r.Step, r.Last)
	fmt.Fprintf(a.out, "  rows       %d in %.2f s\n", r.Rows, took.Seconds())
	fmt.Fprintf(a.out, "  time       %s\n", stamp(r.Clock))
	fmt.Fprintf(a.out, "  hash       %x\n", r.Hash)
	if r.Step > r.From {
		fmt.Fprintf(a.out, "  outputs    %d, equal to the journal's in every step\n", r.Outputs)
	}
	if r.Digests > 0 {
		fmt.Fprintf(a.out, "  on the way %s of the state, equal to the journal's\n", count(r.Digests, "digest"))
	}
	fmt.Fprintf(a.out, "  digest     %016x%s\n", r.Digest, digestNote(r))
	return nil
}

// digestNote says what the journal has to say about the last step's digest.
func digestNote(r *run.Rebuilt) string {
	if r.Journaled == nil {
		return ", and the journal has none: no checkpoint was due at this step"
	}
	return ", equal to the journal's"
}

func hexDigest(d *uint64) *string {
	if d == nil {
		return nil
	}
	s := fmt.Sprintf("%016x", *d)
	return &s
}

// replayReport is what replay --json prints.
type replayReport struct {
	Pipeline  string  `json:"pipeline"`
	Task      int     `json:"task"`
	From      uint64  `json:"from"` // step of the checkpoint; 0 = from nothing
	Step      uint64  `json:"step"`
	Last      uint64  `json:"last"` // step of the journal
	Hash      string  `json:"hash"`
	Time      string  `json:"time"`
	Rows      int64   `json:"rows"`
	Outputs   int64   `json:"outputs"`
	Seconds   float64 `json:"seconds"`
	Digest    string  `json:"digest"`
	Journaled *string `json:"journal_digest"` // null: the journal has none for this step
	Digests   int     `json:"digests_compared"`
}

// stamp writes milliseconds since 1970 as RFC 3339.
func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }
