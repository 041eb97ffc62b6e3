package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/run"
)

func (a *app) migrateCommand() *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use:   "migrate FILE",
		Short: "Adopt partitions that were added to a pipeline's sources",
		Long: `migrate makes a stopped pipeline read partitions that were added to its sources.
gradstream run refuses to go on with them by itself, for they change which task
meets which key: Kafka's clients send a key to another partition once there are
more, and what was learnt from it stays with the task that has met it so far.

With a fixed number of tasks (tasks: T) partition p belongs to task p mod T, as
ever. With tasks: partitions there is a new task for each new partition, and it
starts with an empty state; the internal topics grow with it. New partitions are
read from their beginning, whatever start says. What the tasks there are have
learnt, and where they are, does not change.

It exits with 1 while workers run, and with 2 if the partitions cannot be adopted.`,
		Args: argFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.load(args[0])
			if err != nil {
				return err
			}
			return a.migrate(cmd.Context(), p, dry)
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "print what would be done, and change nothing")
	a.addSet(c)
	return c
}

func (a *app) migrate(ctx context.Context, p *pipeline.Pipeline, dry bool) error {
	b, err := a.connect(ctx, p, connectOptions{look: true})
	if err != nil {
		return err
	}
	defer b.close()
	m, err := run.PlanMigration(ctx, p, b.cluster)
	if err != nil {
		return requested(err)
	}
	if !m.Needed() {
		fmt.Fprintf(a.out, "pipeline %s: nothing to do: all partitions of its sources are adopted\n", p.Name)
		return nil
	}
	a.printMigration(p, m)
	if dry {
		if m.Workers > 0 {
			fmt.Fprintf(a.out, "%s of the pipeline run: they must be stopped for it\n", count(m.Workers, "worker"))
		}
		fmt.Fprintln(a.out, "dry run: nothing was changed")
		return nil
	}
	if m.Workers > 0 {
		return run.ErrWorkersRun
	}
	w, err := a.connect(ctx, p, connectOptions{addrs: b.addrs, topo: m.Topology})
	if err != nil {
		return err
	}
	defer w.close()
	o := run.Options{Log: a.log, Now: time.Now, InstanceID: "migrate", Version: version}
	if err := run.Migrate(ctx, p, m, w.cluster, o); err != nil {
		return err
	}
	fmt.Fprintln(a.out, "adopted; gradstream run goes on")
	return nil
}

// printMigration says what will be, and what it means.
func (a *app) printMigration(p *pipeline.Pipeline, m *run.Migration) {
	fmt.Fprintf(a.out, "pipeline %s:\n", p.Name)
	for _, g := range m.Grown {
		fmt.Fprintf(a.out, "  source %s: topic %s has grown from %d to %d partitions\n", g.Source.Name, g.Source.Topic, g.Was, g.Now)
		for q := g.Was; q < g.Now; q++ {
			task := m.Topology.TaskOf(g.Source.Topic, int32(q))
			note := "which goes on with its state"
			if m.IsNew(task) {
				note = "which is new and starts with an empty state"
			}
			fmt.Fprintf(a.out, "    partition %d is read from its beginning by task %d, %s\n", q, task, note)
		}
	}
	if len(m.Grown) == 0 {
		fmt.Fprintln(a.out, "  an adoption that was begun is completed, or repeated")
		return
	}
	text := []string{
		"Keys that now fall on another partition may be met by a task that has not learnt from",
		"them; what was learnt from them so far stays where it is.",
	}
	if m.Unread > 0 {
		text = append(text,
			fmt.Sprintf("About %s before the new partitions are not processed yet: events of one key", count(int(m.Unread), "record")),
			"that lie there and in a new partition may be processed in another order.")
	}
	fmt.Fprintln(a.out, "  "+strings.Join(text, "\n  "))
}
