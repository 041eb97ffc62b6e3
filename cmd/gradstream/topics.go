package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline/run"
)

func (a *app) topicsCommand() *cobra.Command {
	var dry, list bool
	var principal string
	c := &cobra.Command{
		Use:   "topics FILE",
		Short: "Create the missing topics of a pipeline with the right partitions and policies",
		Args:  argFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.load(args[0])
			if err != nil {
				return err
			}
			if list {
				return writeACLs(cmd.Context(), a.out, p, principal)
			}
			b, err := a.connect(cmd.Context(), p, connectOptions{look: dry})
			if err != nil {
				return err
			}
			defer b.close()
			_, _, topics, err := run.Topics(cmd.Context(), p, b.cluster)
			if err != nil {
				return err
			}
			var missing []connectors.Topic
			for _, t := range topics {
				state := "exists"
				if t.Missing {
					missing = append(missing, t.Topic)
					state = "created"
					if dry {
						state = "missing"
					}
				}
				fmt.Fprintf(a.out, "%-8s %-9s %s: %s\n", state, t.Role, t.Name, topicSettings(t))
			}
			if dry || len(missing) == 0 {
				return nil
			}
			return b.cluster.Create(cmd.Context(), missing)
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "print what would be created")
	c.Flags().BoolVar(&list, "acls", false, "print the least ACLs that running the pipeline needs, as a script of kafka-acls.sh, and change nothing")
	c.Flags().StringVar(&principal, "principal", "User:PRINCIPAL", "whom --acls are for")
	a.addSet(c)
	return c
}

// topicSettings describes a topic: an existing one as the broker has it, a missing
// one as it is created.
func topicSettings(t run.TopicState) string {
	text := fmt.Sprintf("partitions %d", t.Partitions)
	if t.Replication > 0 {
		text += fmt.Sprintf(", replication %d", t.Replication)
	} else {
		text += ", replication the broker's default"
	}
	if policy := t.Config["cleanup.policy"]; t.Missing && policy != "" {
		text += ", cleanup " + policy
	}
	return text
}
