package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/pebblestore"
	"github.com/gradstream/gradstream/state/weights"
)

// stateFlags say which state folder a command is about.
type stateFlags struct {
	dir  string
	task int
}

func (a *app) stateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "state",
		Short: "Look at the saved state of a pipeline that is not running",
		Long: `state reads the local checkpoints of a pipeline: those of a pipeline file, or
those in a folder given with --dir. The pipeline must not be running, as a running
one has its folder locked.`,
		Args: argsUpTo(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(a.stateList(), a.stateShow(), a.stateExport())
	return c
}

// stateSub makes a subcommand on a state folder.
func (a *app) stateSub(use, short string, run func(s *pebblestore.Store, f *stateFlags) error) (*cobra.Command, *stateFlags) {
	f := &stateFlags{}
	c := &cobra.Command{
		Use:   use + " [FILE]",
		Short: short,
		Args:  argsUpTo(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkTask(cmd, f.task); err != nil {
				return err
			}
			s, err := a.openState(f.dir, args)
			if err != nil {
				return err
			}
			return errors.Join(run(s, f), s.Close())
		},
	}
	c.Flags().StringVar(&f.dir, "dir", "", "state folder of one pipeline, instead of a pipeline file: `DIR/PIPELINE`")
	a.addSet(c)
	return c, f
}

func (a *app) stateList() *cobra.Command {
	c, _ := a.stateSub("ls", "List the tasks: step, positions, size, weights of every learner", func(s *pebblestore.Store, _ *stateFlags) error {
		tasks, err := s.Tasks()
		if err != nil {
			return err
		}
		fmt.Fprintf(a.out, "pipeline %s: %s with a checkpoint\n", s.Pipeline(), count(len(tasks), "task"))
		for _, task := range tasks {
			if err := a.listTask(s, task); err != nil {
				return err
			}
		}
		return nil
	})
	return c
}

func (a *app) stateShow() *cobra.Command {
	c, f := a.stateSub("show", "Show the checkpoint of one task: manifest, handles, weights", func(s *pebblestore.Store, f *stateFlags) error {
		tasks, err := chosenTasks(s, f.task, false)
		if err != nil {
			return err
		}
		return a.showTask(s, tasks[0])
	})
	c.Flags().IntVar(&f.task, "task", -1, "number of the task; may be left out if there is only one")
	return c
}

// openState opens the state of a pipeline file or of a folder for reading.
func (a *app) openState(dir string, args []string) (*pebblestore.Store, error) {
	name := ""
	switch {
	case len(args) == 1 && dir != "":
		return nil, wrongInput("a pipeline file and --dir are both given; expected one of them")
	case len(args) == 1:
		p, err := a.load(args[0])
		if err != nil {
			return nil, err
		}
		name, dir = p.Name, filepath.Join(p.StateDir, p.Name)
	case dir == "":
		return nil, wrongInput("expected a pipeline file, or --dir DIR/PIPELINE")
	}
	folder := dir
	if sub := filepath.Join(dir, "state"); isDir(sub) {
		folder = sub
	} else if !isDir(dir) {
		return nil, wrongInput("no state in %s: no such folder; gradstream run makes it", dir)
	}
	s, err := pebblestore.Open(folder, pebblestore.Options{Pipeline: name, ReadOnly: true, Log: a.log})
	switch {
	case errors.Is(err, pebblestore.ErrLocked):
		return nil, fmt.Errorf("%w: of a pipeline that runs, /api/status, /api/metrics and /metrics of its HTTP listener tell the same", err)
	case errors.Is(err, fs.ErrNotExist):
		if subs := statesBelow(dir); len(subs) > 0 {
			return nil, wrongInput("no state in %s itself; below it there is: %s", dir, strings.Join(subs, ", "))
		}
		return nil, wrongInput("no state in %s; gradstream run makes it", dir)
	}
	return s, err
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// statesBelow lists the folders of pipelines in a state folder of several.
func statesBelow(dir string) []string {
	found, _ := filepath.Glob(filepath.Join(dir, "*", "state"))
	for i := range found {
		found[i] = filepath.Dir(found[i])
	}
	return found
}

// chosenTasks returns the task asked for, or what -1 stands for: all, or the only
// one.
func chosenTasks(s *pebblestore.Store, task int, all bool) ([]int, error) {
	tasks, err := s.Tasks()
	if err != nil {
		return nil, err
	}
	switch {
	case len(tasks) == 0:
		return nil, fmt.Errorf("pipeline %s has no checkpoint yet", s.Pipeline())
	case task < 0 && (all || len(tasks) == 1):
		return tasks, nil
	case task < 0:
		return nil, wrongInput("--task is missing; there are the tasks %s", joinInts(tasks))
	case !slices.Contains(tasks, task):
		return nil, wrongInput("--task %d has no checkpoint; there are the tasks %s", task, joinInts(tasks))
	}
	return []int{task}, nil
}

func (a *app) listTask(s *pebblestore.Store, task int) error {
	m, _, err := s.Manifest(task)
	if err != nil {
		return err
	}
	handles, err := s.Handles(task)
	if err != nil {
		return err
	}
	disk, err := s.DiskBytes(task)
	if err != nil {
		return err
	}
	var bytes int64
	for _, h := range handles {
		bytes += h.Bytes
	}
	fmt.Fprintf(a.out, "\ntask %d: step %d, %s of state", task, m.Step, humanBytes(bytes))
	if disk > 0 { // small or young state is not counted yet
		fmt.Fprintf(a.out, ", %s on disk", humanBytes(int64(disk)))
	}
	fmt.Fprintln(a.out)
	for _, p := range m.Positions {
		fmt.Fprintf(a.out, "  %s/%d: next offset %d\n", p.Topic, p.Partition, p.Next)
	}
	for _, h := range handles {
		t, err := readTable(s, task, h.ID)
		if err != nil {
			return err
		}
		if t != nil {
			fmt.Fprintf(a.out, "  %s: %s\n", h.ID, t.summary())
		}
	}
	return nil
}

func (a *app) showTask(s *pebblestore.Store, task int) error {
	m, _, err := s.Manifest(task)
	if err != nil {
		return err
	}
	handles, err := s.Handles(task)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "pipeline %s, task %d\n  step      %d\n  hash      %x\n  journal   from offset %d\n", s.Pipeline(), task, m.Step, m.Hash, m.Journal)
	for _, key := range sortedKeys(m.Meta) {
		fmt.Fprintf(a.out, "  %-9s %s\n", key, m.Meta[key])
	}
	for _, p := range m.Positions {
		fmt.Fprintf(a.out, "  position  %s/%d: next offset %d\n", p.Topic, p.Partition, p.Next)
	}
	digest, err := storedDigest(s, task, handles)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "  digest    %016x\n", digest)
	fmt.Fprintln(a.out)
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tSTATE\tVERSION\tENTRIES\tBYTES\tWEIGHTS\tPINNED")
	for _, h := range handles {
		t, err := readTable(s, task, h.ID)
		if err != nil {
			return err
		}
		about := "-"
		if t != nil {
			about = t.summary()
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%s\n", h.ID.Node, h.ID.Name, h.ID.Version, h.Entries, h.Bytes, about, cmp.Or(h.ID.Pinned, "-"))
	}
	return w.Flush()
}

// storedDigest is the digest of a stored state: that of gradstream replay to its
// step.
func storedDigest(s state.Inspector, task int, handles []state.HandleInfo) (sum uint64, err error) {
	for _, h := range handles {
		e := &storedEntries{s: s, task: task, id: h.ID}
		sum ^= state.Digest(h.ID, e)
		err = errors.Join(err, e.err)
	}
	return sum, err
}

// storedEntries is a handle that can only be read.
type storedEntries struct {
	state.Stateful // nil: nothing but All is called
	s              state.Inspector
	task           int
	id             state.ID
	err            error
}

func (e *storedEntries) All(yield func(key, value []byte) bool) {
	e.err = e.s.Entries(e.task, e.id, yield)
}

// table is a stored table of weights.
type table struct {
	id           state.ID
	task         int
	rows, stride int
	data         []float32
}

// weightTables reads the tables of a node. Without a node there must be only one
// that has any.
func weightTables(s state.Inspector, tasks []int, node string) ([]*table, error) {
	var tables []*table
	var nodes []string
	for _, task := range tasks {
		handles, err := s.Handles(task)
		if err != nil {
			return nil, err
		}
		for _, h := range handles {
			if node != "" && h.ID.Node != node {
				continue
			}
			t, err := readTable(s, task, h.ID)
			if err != nil {
				return nil, err
			}
			if t == nil {
				continue
			}
			tables = append(tables, t)
			if !slices.Contains(nodes, h.ID.Node) {
				nodes = append(nodes, h.ID.Node)
			}
		}
	}
	switch {
	case len(tables) == 0 && node != "":
		return nil, wrongInput("--node %s: no weights are stored under this name; gradstream state ls shows what there is", node)
	case len(tables) == 0:
		return nil, wrongInput("no node has weights")
	case node == "" && len(nodes) > 1:
		return nil, wrongInput("--node is missing; these nodes have weights: %s", strings.Join(nodes, ", "))
	}
	return tables, nil
}

// readTable reads a handle that holds a table of weights; nil if it holds
// something else.
func readTable(s state.Inspector, task int, id state.ID) (*table, error) {
	var t *table
	page := make([]float32, weights.PageLen)
	first := true
	var bad error
	err := s.Entries(task, id, func(key, value []byte) bool {
		if first {
			first = false
			if !weights.IsHeader(key) {
				return false
			}
			rows, stride, err := weights.ReadHeader(value)
			if err != nil {
				return false // of another kind with a key that looks alike
			}
			t = &table{id: id, task: task, rows: int(rows), stride: int(stride), data: make([]float32, int(rows)*int(stride))}
			return true
		}
		values, at, err := weights.ReadPage(page, key, value)
		if err == nil && at+len(values) > len(t.data) {
			err = fmt.Errorf("%w: a page lies beyond the table", state.ErrDamaged)
		}
		if err != nil {
			bad = fmt.Errorf("task %d, %s: %w", task, id, err)
			return false
		}
		copy(t.data[at:], values)
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, err
	}
	return t, nil
}

// summary counts the weights that are not zero and gives their Euclidean norm.
func (t *table) summary() string {
	n, sum := 0, 0.0
	for i := 0; i < len(t.data); i += t.stride {
		w := float64(t.data[i])
		if w != 0 {
			n++
		}
		sum += float64(w * w)
	}
	return fmt.Sprintf("%d of %d weights are not zero, L2 norm %s", n, t.rows, strconv.FormatFloat(math.Sqrt(sum), 'g', 6, 64))
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func joinInts(v []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(v), " ", ", "), "[]")
}

// humanBytes formats a size in binary units.
func humanBytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1024 && unit < 3 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGT"[unit])
}
